//! The writer: one thread that owns every write transaction.
//!
//! What somebody waits for (invalidations, counters) goes first and is durable before it is acknowledged, all that have
//! gathered in one commit. Values are written behind it in batches, lazily; a durable commit follows every second or
//! every few megabytes. Losing a lazy commit loses values, never an invalidation.

mod finish;
mod heal;
mod space;
mod suspension;
mod sweep;
mod urgent;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::panics::{caught, contained, count};
use cache_core::{CacheKey, Clock, Monotonic, SystemClock};

use self::sweep::Unswept;
use crate::budget::{self, Budget};
use crate::engine::Engine;
use crate::error::Fault;
use crate::files::Directory;
use crate::index::Removed;
use crate::lazy::{Mark, Taken, Value};
use crate::queue::{Ack, Urgent};
use crate::recovery::Opened;
use crate::store::{Batch, Commit, Meta, Snapshot, Store};

/// How long a lazy commit may stay lazy.
const DURABLE_EVERY: Duration = Duration::from_secs(1);
/// How often the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the order of use is saved.
const SAVE_ORDER_EVERY: Duration = Duration::from_mins(5);
/// Most bytes of values in one transaction.
const MOST_BATCH_BYTES: u64 = 1 << 20;

/// The state of the writer thread.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the file, not a state of one machine"
)]
pub(crate) struct Writer {
    engine: Arc<Engine>,
    directory: Directory,
    /// `None` while the database cannot be opened.
    store: Option<Store>,
    budget: Budget,
    /// What was committed lazily since the last durable commit.
    unsynced: Vec<Unsynced>,
    /// Values that were lost before they were durable: older ones of their keys may stand in the file.
    owed: Vec<Owed>,
    /// Whether the file may still hold what an invalidation could not remove: it must not be opened again.
    is_condemned: bool,
    /// Whether the file turned out to be damaged: it must be set aside.
    is_damaged: bool,
    /// Whether the file was too short for a write, and may be longer.
    is_short: bool,
    is_dirty: bool,
    /// How many entries a commit removes, after a write was refused at the limit: until what left the index is gone,
    /// nothing is written.
    freeing: Option<usize>,
    /// Bytes written since the last durable commit.
    written: u64,
    /// Bytes written since the opening.
    written_ever: u64,
    /// What readers may still be reading.
    retired: VecDeque<Retired>,
    /// Rows whose keys are gone.
    unswept: Unswept,
    /// What counters and claims cost, in bytes.
    counter_bytes: u64,
    /// Those who wait until what was queued before them is written.
    flushes: Vec<Flush>,
    durable_at: Monotonic,
    order_saved_at: Monotonic,
    /// When the directory was looked at last.
    looked_at: Monotonic,
    retry_at: Monotonic,
    retry_after: Duration,
}

/// An entry that a lazy commit wrote, or whose predecessor it removed.
#[derive(Debug)]
struct Unsynced {
    key: CacheKey,
    hash: u64,
    id: u64,
}

/// The removal of what stands in the file for a key, up to a value that was lost.
#[derive(Debug)]
struct Owed {
    key: CacheKey,
    id: u64,
}

/// Somebody who waits until what was queued before `mark` is on the disk.
#[derive(Debug)]
struct Flush {
    mark: Mark,
    ack: Ack<()>,
}

/// A snapshot that was replaced: as long as somebody reads it, no page that was freed since is used again.
#[derive(Debug)]
struct Retired {
    snapshot: Weak<Snapshot>,
    /// What had been written when it was replaced.
    written: u64,
}

/// A value that is being written.
struct Put {
    key: CacheKey,
    hash: u64,
    meta: Meta,
    entry: cache_core::Entry,
}

impl Writer {
    pub(crate) fn new(engine: Arc<Engine>, directory: Directory, opened: Opened) -> Self {
        let now = SystemClock.monotonic();
        Self {
            budget: Budget::new(engine.config.limit_bytes),
            engine,
            directory,
            store: Some(opened.store),
            unsynced: Vec::new(),
            owed: Vec::new(),
            is_condemned: false,
            is_damaged: false,
            is_short: false,
            is_dirty: false,
            freeing: None,
            written: 0,
            written_ever: 0,
            retired: VecDeque::new(),
            unswept: Unswept::new(opened.remains),
            counter_bytes: opened.counter_bytes,
            flushes: Vec::new(),
            durable_at: now,
            order_saved_at: now,
            looked_at: now,
            retry_at: now,
            retry_after: heal::FIRST_RETRY,
        }
    }

    /// Works until the queue is closed, then finishes what is in it; a panic on the way does not end it.
    pub(crate) fn run(mut self) {
        let urgent = loop {
            match caught(|| self.work_until_closed()) {
                Ok(urgent) => break urgent,
                Err(message) => self.interrupted(message),
            }
        };
        if let Err(message) = caught(|| self.finish(urgent)) {
            count(message);
            // What was to be removed from the file may still be there.
            self.store = None;
            contained(|| self.directory.remove_database());
        }
    }

    /// Works until the queue is closed; what was urgent then.
    fn work_until_closed(&mut self) -> Vec<Urgent> {
        loop {
            let work = self.engine.queue.wait(|| self.may_write(), self.patience());
            if work.closing {
                return work.urgent;
            }
            self.look_when_due();
            self.heal_when_due();
            self.serve(work.urgent);
            // Taken behind the urgent: whoever reopens the file must see in the queue all that is not written.
            self.work();
            self.answer_flushes_when_due();
            self.sync_when_due();
        }
    }

    fn may_write(&self) -> bool {
        self.store.is_some() && self.engine.is_complete()
    }

    /// Sweeps a part of what is unswept, if that is much, and writes a part of what waits, unless it is in the way; whether
    /// there was anything to do.
    fn work(&mut self) -> bool {
        if !self.may_write() {
            return false;
        }
        let is_much = self.has_much_to_sweep();
        if is_much {
            self.sweep();
        }
        if !self.may_write() || self.is_unswept_in_the_way() {
            return true;
        }
        // The allowance may have shrunk since values were admitted.
        self.engine.discard(self.engine.make_room(0));
        if self.freeing.is_some() {
            self.free_some();
            return true;
        }
        let lazy = self.take_lazy();
        let is_any = !lazy.is_empty();
        self.write(lazy);
        is_any || is_much
    }

    /// What goes into the next transaction.
    fn take_lazy(&self) -> Taken {
        let most = MOST_BATCH_BYTES.min(self.budget.interval);
        self.engine.queue.lazy(|lazy| {
            let is_room = self.is_room_beside(self.unswept.cost() + lazy.discarded());
            lazy.take(most, is_room)
        })
    }

    /// How long there is nothing to do but to wait for work.
    fn patience(&self) -> Duration {
        let now = SystemClock.monotonic();
        if self.engine.is_suspended() {
            LOOK_EVERY
        } else if self.store.is_none() {
            self.retry_at.saturating_since(now).max(Duration::from_millis(1))
        } else if self.has_much_to_sweep() && self.may_write() {
            Duration::ZERO
        } else if self.is_dirty || (!self.unswept.is_empty() && self.may_write()) {
            DURABLE_EVERY.saturating_sub(now.saturating_since(self.durable_at)).max(Duration::from_millis(1))
        } else {
            LOOK_EVERY
        }
    }

    /// Writes values and removes what left the index, in one lazy commit.
    fn write(&mut self, lazy: Taken) {
        if lazy.is_empty() {
            return;
        }
        self.lengthen_when_needed();
        self.wait_for_readers();
        let mut gone = lazy.discards;
        let mut puts = Vec::new();
        let mut places = Vec::new();
        for Value { key, hash, id, replaced, entry, cost, place } in lazy.values {
            gone.extend(replaced.map(|id| Removed { hash, id, cost, unwritten: None }));
            places.push(place);
            if self.engine.index.shard(hash).holds(hash, id) {
                let meta = Meta { id, cost, expires_at: entry.expires_at };
                puts.push(Put { key, hash, meta, entry });
            } else {
                // Superseded, invalidated or evicted while it waited: it must not reach the file, and the value before
                // it must not stay there.
                gone.push(Removed { hash, id, cost, unwritten: Some(key) });
            }
        }
        let bytes: u64 = puts.iter().map(|put| u64::from(put.meta.cost)).sum();
        let done = if bytes > self.budget.interval {
            // More than is written between two durable commits: what leaves is freed first, or old and new would stand
            // side by side. Freed pages are used again after the second durable commit.
            self.commit_values(&[], &gone, 0).and_then(|()| {
                self.sync()?;
                self.sync()?;
                self.commit_values(&puts, &[], bytes)
            })
        } else {
            self.commit_values(&puts, &gone, bytes)
        };
        if let Err(fault) = done {
            for Put { key, hash, meta, .. } in puts {
                // It would stay in memory alone for as long as it is used.
                self.engine.index.shard(hash).remove_if(hash, meta.id);
                self.owed.push(Owed { key, id: meta.id });
            }
            self.owe(gone);
            self.fail(&fault);
        }
        drop(places);
    }

    /// What could not be removed: the value before one that never reached the file stands there still.
    fn owe(&mut self, gone: impl IntoIterator<Item = Removed>) {
        let owed = |removed: Removed| removed.unwritten.map(|key| Owed { key, id: removed.id });
        self.owed.extend(gone.into_iter().filter_map(owed));
    }

    fn commit_values(&mut self, puts: &[Put], gone: &[Removed], bytes: u64) -> Result<(), Fault> {
        let written = budget::written(bytes, puts.len() + gone.len());
        let commit = self.commit_for(written)?;
        let Some(store) = &self.store else { return Err(Fault::Unavailable) };
        store.write(commit, |batch| {
            remove(batch, gone)?;
            for Put { key, meta, entry, .. } in puts {
                batch.insert(key.as_str(), self.engine.key_hash(key.as_str()), *meta, entry)?;
            }
            Ok(((), commit))
        })?;
        self.committed(commit, written)?;
        for Put { hash, meta, .. } in puts {
            self.engine.index.shard(*hash).settle(*hash, meta.id);
        }
        if commit == Commit::Lazy {
            let of_put =
                |Put { key, hash, meta, .. }: &Put| Unsynced { key: key.clone(), hash: *hash, id: meta.id };
            self.unsynced.extend(puts.iter().map(of_put));
            for Removed { hash, id, unwritten, .. } in gone {
                let key = unwritten.clone();
                self.unsynced.extend(key.map(|key| Unsynced { key, hash: *hash, id: *id }));
            }
        }
        Ok(())
    }

    /// How far a commit that writes so much may reach; what was written before is synced first where it must be.
    fn commit_for(&mut self, written: u64) -> Result<Commit, Fault> {
        if self.written > 0 && self.written + written > self.budget.interval {
            self.sync()?;
        }
        Ok(if written > self.budget.interval { Commit::Durable } else { Commit::Lazy })
    }

    /// Notes a commit, and lets readers see it.
    fn committed(&mut self, commit: Commit, written: u64) -> Result<(), Fault> {
        self.publish()?;
        self.is_dirty = true;
        self.written += written;
        self.written_ever += written;
        if commit == Commit::Durable {
            self.synced();
        }
        Ok(())
    }

    /// Lets readers see the last commit.
    fn publish(&mut self) -> Result<(), Fault> {
        if let Some(store) = &self.store {
            let before = self.engine.restore(store.snapshot()?);
            self.retired.push_back(Retired { snapshot: before, written: self.written_ever });
        }
        Ok(())
    }

    fn sync_when_due(&mut self) {
        let now = SystemClock.monotonic();
        let is_due = now.saturating_since(self.durable_at) >= DURABLE_EVERY;
        if is_due && self.may_write() && !self.unswept.is_empty() {
            self.sweep();
        }
        if is_due && self.is_dirty {
            if now.saturating_since(self.order_saved_at) >= SAVE_ORDER_EVERY {
                self.save_order();
            }
            if let Err(fault) = self.sync() {
                self.fail(&fault);
            }
        }
    }

    /// Makes every commit so far durable.
    fn sync(&mut self) -> Result<(), Fault> {
        if let Some(store) = &self.store {
            store.write(Commit::Durable, |_| Ok(((), Commit::Durable)))?;
            self.synced();
        }
        Ok(())
    }

    /// Notes that a durable commit succeeded.
    fn synced(&mut self) {
        self.unsynced.clear();
        self.is_dirty = false;
        self.written = 0;
        self.durable_at = SystemClock.monotonic();
        self.budget.recover();
        self.set_allowance();
    }
}

/// Removes the rows of what left the index.
fn remove(batch: &mut Batch<'_>, gone: &[Removed]) -> Result<(), redb::Error> {
    for Removed { id, unwritten, .. } in gone {
        match unwritten {
            // Its own rows were never written; those of the value before it may stand, or of one that came since.
            Some(key) => batch.remove_key_up_to(key.as_str(), *id)?,
            None => drop(batch.remove_id(*id)?),
        }
    }
    Ok(())
}
