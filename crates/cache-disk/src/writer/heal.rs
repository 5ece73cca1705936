//! After a fault: redb refuses everything until its file is reopened, so the writer reopens it, or starts anew.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::{contained, count};
use cache_core::{Clock, Error, ErrorKind, SystemClock};

use super::sweep::Unswept;
use super::{Owed, Unsynced, Writer};
use crate::error::Fault;
use crate::guard::Space;
use crate::loader;
use crate::recency::Order;
use crate::recovery::{self, Opened};
use crate::store::Commit;

pub(super) const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

impl Writer {
    /// Notes a fault: the handle is dropped, and what was not durable is gone.
    pub(super) fn fail(&mut self, fault: &Fault) {
        self.engine.degrade(fault);
        self.store = None;
        let space = self.engine.space.load();
        let is_disk_full = space.take_disk_full();
        // What could not be written is not damaged, whatever redb makes of it.
        self.is_damaged |= fault.is_damage() && !is_disk_full;
        if is_disk_full {
            // Less than is live, so that each failure evicts: free pages within the file may be holes, which take room too.
            let taken = space.taken_bytes();
            self.budget.disk_is_full(taken.min(self.engine.index.cost().max(taken / 4)));
            self.out_of_room();
        } else if space.take_refused() {
            self.refused();
        }
        for Unsynced { key, hash, id } in self.unsynced.drain(..) {
            self.engine.index.shard(hash).remove_if(hash, id);
            self.owed.push(Owed { key, id });
        }
        self.is_dirty = false;
        self.written = 0;
        self.retry_at = SystemClock.monotonic();
    }

    /// Notes that a panic interrupted the work. What it left half done is not known: the file goes, and with it all that
    /// could come back. The calls that it was serving fail.
    pub(super) fn interrupted(&mut self, message: Arc<str>) {
        self.engine.snapshot.store(None);
        self.is_condemned = true;
        self.freeing = None;
        self.store = None;
        self.unsynced.clear();
        self.is_dirty = false;
        self.written = 0;
        self.retry_at = SystemClock.monotonic().saturating_add(self.retry_after);
        self.retry_after = (self.retry_after * 2).min(LONGEST_RETRY);
        let cause = Error::new(ErrorKind::Unavailable, format!("its writer panicked: {message}"));
        count(message);
        contained(|| self.engine.degrade(&Fault::Refused(cause)));
        // Values that were taken out of the queue and not written would stay in memory.
        contained(|| {
            for mut shard in self.engine.index.shards() {
                shard.remove_pending(|_| true, |key| self.engine.index.hash(key));
            }
        });
    }

    /// A reader met a fault: drops the handle, unless that was done already.
    pub(super) fn reopen_if_open(&mut self, opening: u64, fault: &Fault) {
        if self.store.as_ref().is_some_and(|store| store.opening() == opening) {
            self.fail(fault);
            self.heal_when_due();
        }
    }

    /// Reopens the file if it is closed and the time has come to try again.
    pub(super) fn heal_when_due(&mut self) {
        let now = SystemClock.monotonic();
        if self.store.is_some() || now < self.retry_at || self.engine.is_suspended() {
            return;
        }
        let healed = if self.is_condemned { self.start_anew().map(drop) } else { self.reopen() };
        match healed {
            Ok(()) => self.retry_after = FIRST_RETRY,
            Err(error) => {
                cache_core::log::emit(|| tracing::debug!(%error, "disk cache cannot be reopened yet"));
                self.retry_at = now.saturating_add(self.retry_after);
                self.retry_after = (self.retry_after * 2).min(LONGEST_RETRY);
            }
        }
    }

    /// Reopens the file if it is closed, though it may not be the time to try again: there will be no other.
    pub(super) fn heal_at_last(&mut self) {
        self.retry_at = SystemClock.monotonic();
        self.heal_when_due();
    }

    /// Opens the file again, makes the losses of the last handle good, and has the index complete itself.
    pub(super) fn reopen(&mut self) -> Result<(), Error> {
        if self.engine.is_suspended() {
            return Err(self.engine.suspended());
        }
        let opened = if self.is_damaged {
            recovery::replace_damaged(&self.directory, &self.engine.config)?
        } else if self.is_short {
            self.give_up_quarantined();
            recovery::open_lengthened(&self.directory, &self.engine.config)?
        } else {
            recovery::open(&self.directory, &self.engine.config)?
        };
        self.is_damaged = false;
        self.is_short = false;
        let owed = std::mem::take(&mut self.owed);
        let done = opened.store.write(Commit::Durable, |batch| {
            for Owed { key, id } in &owed {
                batch.remove_key_up_to(key.as_str(), *id)?;
            }
            Ok(((), Commit::Durable))
        });
        if let Err(fault) = done {
            self.owed = owed;
            return Err(fault.into_error("cannot write to the reopened disk cache"));
        }
        let is_new = opened.is_new;
        // Before anything of this file is known: what the loader at work has read may be what an invalidation took out.
        let generation = loader::begin(&self.engine);
        self.engine.space.store(opened.space);
        self.counter_bytes = opened.counter_bytes;
        self.unswept = Unswept::new(opened.remains);
        self.forget_remains();
        let snapshot =
            opened.store.snapshot().map_err(|fault| fault.into_error("cannot read the disk cache"))?;
        self.store = Some(opened.store);
        if is_new {
            self.forget_stored();
        }
        self.engine.restore(snapshot);
        self.synced();
        // Without a loader the index would stay incomplete: the file is opened again then.
        loader::spawn(&self.engine, Order::default(), generation).map_err(|fault| {
            self.store = None;
            self.engine.degrade(&fault);
            fault.into_error(loader::NOT_STARTED)
        })
    }

    /// Removes the file and starts an empty one; how many entries that removed.
    pub(super) fn start_anew(&mut self) -> Result<u64, Error> {
        self.store = None;
        self.engine.snapshot.store(None);
        self.is_condemned = true;
        self.directory.remove_database()?;
        self.engine.space.store(Space::none());
        // From here on nothing can come back, whether the new file can be written or not.
        self.is_condemned = false;
        self.owed.clear();
        self.counter_bytes = 0;
        self.unswept = Unswept::default();
        let opened = match recovery::start_anew(&self.directory, &self.engine.config) {
            Ok(opened) => opened,
            Err(error) => {
                cache_core::log::limited(
                    self.directory.path(),
                    |suppressed| tracing::warn!(%error, suppressed, "disk cache is off until a new file can be written"),
                );
                return Ok(self.forget_stored());
            }
        };
        self.install(opened).map_err(|fault| fault.into_error("cannot read the new disk cache"))
    }

    /// Makes an empty database the current one; how many entries were forgotten.
    pub(super) fn install(&mut self, opened: Opened) -> Result<u64, Fault> {
        let snapshot = opened.store.snapshot()?;
        let old = self.store.replace(opened.store);
        self.unswept = Unswept::new(opened.remains);
        self.engine.space.store(opened.space);
        // Readers first, then the index, then the old file: its space is free once nobody reads it.
        self.engine.restore(snapshot);
        // First a loader that is still at work must stop: what it read is not in this file.
        let generation = loader::begin(&self.engine);
        let removed = self.forget_stored();
        self.is_damaged = false;
        loader::end(&self.engine, generation);
        drop(old);
        self.synced();
        Ok(removed)
    }

    /// An invalidation that failed may have been committed all the same, and nobody took what it removed out of the index:
    /// its rows are still there.
    fn forget_remains(&self) {
        let gone: HashSet<u64> = self.unswept.ids().collect();
        if !gone.is_empty() {
            for mut shard in self.engine.index.shards() {
                shard.remove_stored(|id| gone.contains(&id));
            }
        }
    }

    fn forget_stored(&mut self) -> u64 {
        self.unsynced.clear();
        self.engine.index.shards().map(|mut shard| shard.remove_stored(|_| true)).sum()
    }
}
