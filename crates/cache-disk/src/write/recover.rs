//! Recovery after a fault: redb refuses every call until its file is reopened, so the writer reopens or replaces it. If the
//! directory is lost, the cache is suspended until an empty database is begun in a new directory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::{contained, count};
use cache_core::{Clock, Error, ErrorKind, MissCause, SystemClock};

use super::flush::remove_all;
use super::vacuum::GarbageQueue;
use super::{FileState, OpenFile, RETRY_EVERY, Remedy, Writer};
use crate::database_file::OpenDatabase;
use crate::error::Fault;
use crate::fs::{Directory, Shortage};
use crate::index::UsageOrder;
use crate::index_load;
use crate::queue::WriteBehind;
use crate::store::{CommitMode, Store};

/// How long a second file that is replaced waits until the one before it is closed.
const CLOSES_WITHIN: Duration = Duration::from_secs(10);

impl Writer {
    /// Closes the file after a fault; values that were not durable are lost.
    pub(super) fn fail(&mut self, fault: &Fault) {
        self.engine.degrade(fault);
        let space = self.engine.space.load_full();
        let damaged = if fault.is_damage() { Remedy::SetAside } else { Remedy::Reopen };
        let remedy = match space.take_shortage() {
            // The file is not damaged, whatever redb reports.
            Some(Shortage::Disk) => self.disk_is_full(space.taken_bytes() + self.values_bytes()),
            Some(Shortage::Limit) => self.refused().max(damaged),
            None => damaged,
        };
        self.close(remedy);
        for removal in self.unsynced.drain(..) {
            self.engine.index.shard(removal.hash).remove_if(removal.hash, removal.at.id, MissCause::Absent);
            self.pending_removals.push(removal);
        }
    }

    /// Closes the file after a panic, whose effects are not known: the file is replaced, and with it everything that could
    /// come back. The calls that were being served fail.
    pub(super) fn interrupted(&mut self, message: Arc<str>) {
        self.engine.snapshot.store(None);
        self.close(Remedy::Replace);
        self.retry_at = SystemClock.monotonic().saturating_add(RETRY_EVERY);
        self.freeing = None;
        self.unfinished.clear();
        self.unsynced.clear();
        let cause = Error::new(ErrorKind::Unavailable, format!("its writer panicked: {message}"));
        count(message);
        contained(|| self.engine.degrade(&Fault::Refused(cause)));
        // Values that were taken from the queue and not written would stay in memory.
        contained(|| self.engine.index.remove_unwritten());
        contained(|| self.engine.forget_all_near());
    }

    /// Reopens the file after a read from this opening of it failed.
    pub(super) fn read_failed(&mut self, opening: u64, fault: &Fault) {
        if self.store().is_ok_and(|store| store.opening == opening) {
            self.fail(fault);
            self.recover();
        }
    }

    /// Reopens the file if it is closed.
    pub(super) fn recover(&mut self) {
        if !self.is_open()
            && !self.engine.is_suspended()
            && let Err(error) = self.reopen()
        {
            cache_core::log::debug!(%error, "disk cache cannot be reopened yet");
            self.retry_at = SystemClock.monotonic().saturating_add(RETRY_EVERY);
        }
    }

    /// Reopens the file, commits the pending removals, and loads the index again.
    pub(super) fn reopen(&mut self) -> Result<(), Fault> {
        let reopened = self.try_reopen();
        // Also a first commit that finds no space is a fault like any other: otherwise the same file would be reopened, and
        // fail, for as long as the disk is full.
        if let Err(fault) = &reopened
            && self.is_open()
        {
            self.fail(fault);
        }
        reopened
    }

    fn try_reopen(&mut self) -> Result<(), Fault> {
        let FileState::Closed(remedy) = self.file else { return Ok(()) };
        let (directory, config) = (&self.directory, &self.engine.config);
        let opened = match remedy {
            _ if self.engine.is_suspended() => return Err(Fault::Unavailable),
            Remedy::Reopen => OpenDatabase::open(directory, config)?,
            Remedy::SetAside => OpenDatabase::set_aside(directory, config, &"it is damaged")?,
            Remedy::Replace => return self.replace().map(drop),
        };
        if opened.is_new {
            return self.install(opened).map(drop);
        }
        let order = self.open(opened);
        let written =
            self.store()?.write(CommitMode::Durable, |batch| remove_all(batch, &self.pending_removals))?;
        if let Some(file) = self.file.get_mut() {
            file.free(&written.freed);
        }
        self.pending_removals.clear();
        self.load_index(order)
    }

    /// Makes `opened` the current file, which readers do not see yet; returns its order of use.
    pub(super) fn open(&mut self, opened: OpenDatabase) -> UsageOrder {
        self.engine.space.store(opened.space);
        self.file = FileState::Open(OpenFile {
            store: opened.store,
            is_dirty: false,
            unsynced_bytes: 0,
            written_bytes: 0,
            retired: VecDeque::new(),
            garbage: GarbageQueue::new(opened.garbage),
            freed: Vec::new(),
            refused: Vec::new(),
            next_id: opened.next_id,
            counter_bytes: opened.counter_bytes,
        });
        self.set_allowance();
        opened.order
    }

    /// Publishes the file to readers, and loads the index from it, in the `saved` order of use or the one until now.
    ///
    /// What the index knew of an earlier opening goes first: an invalidation whose commit failed may have been committed all
    /// the same, and the blocks of the entries that it removed can still be read.
    pub(super) fn load_index(&mut self, saved: UsageOrder) -> Result<(), Fault> {
        // Before readers see the file: an entry that the running load has read may have been invalidated.
        let load = index_load::begin(&self.engine);
        let until_now = self.engine.index.packed_usage_order();
        let known = self.engine.index.remove_stored();
        let order = if known > 0 { UsageOrder::unpack(&until_now) } else { saved };
        self.publish()?;
        self.synced();
        index_load::spawn(&self.engine, order, load)
    }

    /// Removes the file and starts an empty one; returns how many entries left the index.
    ///
    /// If no new file can be created, the cache is off until one can be.
    pub(super) fn replace(&mut self) -> Result<u64, Fault> {
        self.close(Remedy::Replace);
        self.engine.snapshot.store(None);
        self.directory.remove_database()?;
        // From here on nothing can come back, whether the new file can be created or not.
        self.file = FileState::Closed(Remedy::Reopen);
        self.pending_removals.clear();
        match OpenDatabase::replace(&self.directory, &self.engine.config) {
            Ok(opened) => self.install(opened),
            Err(error) => {
                cache_core::log::warn!(
                    limit: self.directory.path(), %error, "disk cache is off until a new file can be written"
                );
                self.unsynced.clear();
                Ok(self.engine.index.remove_stored())
            }
        }
    }

    /// Makes an empty database the current one; returns how many entries left the index.
    pub(super) fn install(&mut self, opened: OpenDatabase) -> Result<u64, Fault> {
        let old = std::mem::replace(&mut self.file, FileState::Closed(Remedy::Reopen));
        self.compacts_after = 0;
        self.budget.begin_empty();
        self.open(opened);
        self.unsynced.clear();
        self.pending_removals.clear();
        // Readers first, then the index, then the old file: its space is free once no reader uses it.
        if let Err(fault) = self.publish() {
            self.fail(&fault);
            return Err(fault);
        }
        // A load that is still running must stop first: the entries that it has read are not in this file.
        let load = index_load::begin(&self.engine);
        let removed = self.engine.index.remove_stored();
        index_load::end(&self.engine, load);
        if let FileState::Open(old) = old {
            self.close_replaced(old.store);
        }
        self.synced();
        Ok(removed)
    }

    /// Closes a database that was replaced, and removes its values files, in a thread of its own: redb commits once more, and the
    /// blocks are freed, which takes tenths of a second for some hundred megabytes. Until then they take space, and no value is
    /// written.
    fn close_replaced(&self, old: Store) {
        let values = Arc::clone(&old.values);
        let remove = move || {
            if let Err(error) = values.remove_all() {
                // The next opening removes them.
                cache_core::log::warn!(%error, "disk cache cannot remove old values");
            }
        };
        self.replaced.wait(CLOSES_WITHIN);
        self.replaced.unset();
        let (replaced, engine) = (Arc::clone(&self.replaced), Arc::clone(&self.engine));
        let removed = remove.clone();
        let close = move || {
            removed();
            drop(old);
            replaced.set();
            engine.queue.wake();
        };
        if cache_core::sync::spawn("cache-disk-close", close).is_err() {
            // The database was closed here, with the work of the thread.
            remove();
            self.replaced.set();
        }
    }

    /// Suspends the cache if its directory is gone or was replaced, unless the caller checks that.
    pub(super) fn check_directory(&self) {
        let engine = &self.engine;
        if engine.config.is_watched || engine.is_suspended() {
            return;
        }
        if let Err(cause) = self.directory.check_in_place() {
            cache_core::log::warn!(
                limit: &engine.config.directory, %cause, "disk cache directory lost, starting empty"
            );
            engine.suspend(&cause.to_string());
        }
    }

    /// Closes the file, then releases the lock: the next process that takes the directory is not disturbed.
    pub(super) fn release_directory(&mut self) {
        self.file = FileState::Closed(Remedy::Reopen);
        // Entries that a running load has read are not to be served.
        let load = index_load::begin(&self.engine);
        index_load::end(&self.engine, load);
        drop(self.engine.queue.write_behind(std::mem::take::<WriteBehind>));
        self.answer_flushes_when_due();
        self.unsynced.clear();
        self.pending_removals.clear();
        self.freeing = None;
        self.directory.unlock();
    }

    /// Begins an empty database in the directory, if the cache is suspended.
    pub(super) fn resume(&mut self) -> Result<(), Fault> {
        if !self.engine.is_suspended() {
            return Ok(());
        }
        let path = self.directory.path().to_owned();
        self.directory = Directory::open(&path)?;
        let opened = OpenDatabase::replace(&self.directory, &self.engine.config)?;
        self.engine.end_suspension();
        self.install(opened).map(drop)
    }
}
