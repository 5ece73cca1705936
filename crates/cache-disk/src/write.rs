//! [`Writer`]: the thread that owns every write transaction.
//!
//! Commands (invalidations, counters) are served first and are durable before they are acknowledged; all that are queued
//! share one commit. Values are written behind them in lazy commits; a durable commit follows every second or every few
//! megabytes. A lost lazy commit loses values, never an invalidation.

mod blocks;
mod commands;
mod flush;
mod free_space;
mod recover;
mod shutdown;
mod vacuum;

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::panics::{caught, contained, count};
use cache_core::{Clock, Monotonic, SystemClock};

use self::flush::Flush;
use self::vacuum::GarbageQueue;
use crate::budget::Budget;
use crate::database_file::OpenDatabase;
use crate::engine::DiskEngine;
use crate::error::Fault;
use crate::fs::Directory;
use crate::index::PendingRemoval;
use crate::latch::Latch;
use crate::queue::{Command, Invalidate};
use crate::store::{Snapshot, Store};

/// How often the directory is checked, garbage removed, and lazy commits made durable.
const TICK: Duration = Duration::from_secs(1);
/// How often the order of use is saved.
const SAVE_ORDER_EVERY: Duration = Duration::from_secs(5 * 60);
/// How often the writer tries to reopen a file that cannot be reopened at once.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// The state of the writer thread.
#[derive(Debug)]
pub(crate) struct Writer {
    engine: Arc<DiskEngine>,
    directory: Directory,
    file: FileState,
    /// Set unless a file that was replaced is still being closed.
    replaced: Arc<Latch>,
    budget: Budget,
    /// The values that were committed lazily since the last durable commit, as the removals that undo them.
    unsynced: Vec<PendingRemoval>,
    /// Removals for values that were lost before they were durable: the file may hold older values of their keys.
    pending_removals: Vec<PendingRemoval>,
    /// How many entries a commit removes after a write was refused for lack of space: until all queued removals are done,
    /// nothing else is written.
    freeing: Option<usize>,
    /// Bytes that are still written to the database before it is compacted again.
    compacts_after: u64,
    flushes: Vec<Flush>,
    /// Invalidations of which a part is done.
    unfinished: Vec<Invalidate>,
    next_tick: Monotonic,
    next_order: Monotonic,
    /// When a closed file is reopened.
    retry_at: Monotonic,
}

/// The state of the database file.
#[derive(Debug)]
enum FileState {
    Open(OpenFile),
    Closed(Remedy),
}

/// How a closed file is reopened; a later remedy includes the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Remedy {
    Reopen,
    /// Damaged: set aside and replaced by an empty one.
    SetAside,
    /// Removed and replaced by an empty one: it may hold entries that an invalidation could not remove.
    Replace,
}

/// An open database file.
#[derive(Debug)]
struct OpenFile {
    store: Store,
    /// Whether there is a lazy commit since the last durable one.
    is_dirty: bool,
    /// Bytes written since the last durable commit.
    unsynced_bytes: u64,
    /// Bytes written since the opening.
    written_bytes: u64,
    /// Snapshots that were replaced, and the bytes that had been written then. While a reader uses one, pages that were
    /// freed since are not used again.
    retired: VecDeque<(Weak<Snapshot>, u64)>,
    garbage: GarbageQueue,
    /// Blocks that are still to be freed.
    freed: Vec<Range<u64>>,
    /// Those that the file system refused to free: the next try is at the next tick.
    refused: Vec<Range<u64>>,
    /// An id above those of all written entries.
    next_id: u64,
    /// The cost of counters and claims, in bytes.
    counter_bytes: u64,
}

impl Writer {
    /// Creates the writer and publishes the database to readers.
    pub(crate) fn start(
        engine: Arc<DiskEngine>,
        directory: Directory,
        opened: OpenDatabase,
    ) -> Result<Self, Fault> {
        let now = SystemClock.monotonic();
        let replaced = Arc::new(Latch::default());
        replaced.set();
        let mut writer = Self {
            budget: Budget::new(engine.config.limit_bytes),
            engine,
            directory,
            file: FileState::Closed(Remedy::Reopen),
            replaced,
            unsynced: Vec::new(),
            pending_removals: Vec::new(),
            freeing: None,
            compacts_after: 0,
            flushes: Vec::new(),
            unfinished: Vec::new(),
            next_tick: now.saturating_add(TICK),
            next_order: now.saturating_add(SAVE_ORDER_EVERY),
            retry_at: now,
        };
        if opened.is_new {
            writer.install(opened)?;
        } else {
            let order = writer.open(opened);
            writer.load_index(order)?;
        }
        Ok(writer)
    }

    /// Works until the queue is closed, then finishes the queued work; a panic does not end the thread.
    pub(crate) fn run(mut self) {
        let commands = loop {
            match caught(|| self.work_until_closed()) {
                Ok(commands) => break commands,
                Err(message) => self.interrupted(message),
            }
        };
        if let Err(message) = caught(|| self.shut_down(commands)) {
            count(message);
            // The file may still hold entries that were to be removed.
            self.close(Remedy::Replace);
            contained(|| self.directory.remove_database());
        }
    }

    /// Works until the queue is closed; returns the commands that were queued then.
    fn work_until_closed(&mut self) -> Vec<Command> {
        loop {
            let commands = match self.engine.queue.wait(|| self.may_write(), self.idle_time()) {
                ControlFlow::Continue(commands) => commands,
                ControlFlow::Break(commands) => return commands,
            };
            if self.retry_at <= SystemClock.monotonic() {
                self.recover();
            }
            self.serve(commands);
            // Taken after the commands: when the file is reopened, the queue still holds everything that is not written.
            self.work();
            self.answer_flushes_when_due();
            self.tick_when_due();
        }
    }

    /// Whether the file is open, the index is complete, and no replaced file takes space beside it.
    fn may_write(&self) -> bool {
        self.is_open() && self.engine.is_complete() && self.replaced.is_set()
    }

    /// Removes garbage that is over its part of the space, then writes one batch of the queue if there is room for it.
    /// Returns whether there was anything to do.
    fn work(&mut self) -> bool {
        if !self.may_write() {
            return false;
        }
        let is_much_garbage = self.has_much_garbage();
        if is_much_garbage {
            self.vacuum();
        }
        if !self.may_write() || self.is_garbage_in_the_way() {
            return true;
        }
        // The allowance may have shrunk since the values were stored.
        self.set_allowance();
        self.engine.make_room(0);
        let is_freeing = self.free_blocks();
        if self.freeing.is_some() {
            self.free_some();
            return true;
        }
        if self.compact_when_full() {
            return true;
        }
        let batch = self.take_batch();
        if batch.is_empty() {
            return is_much_garbage || is_freeing || self.make_space();
        }
        self.write(batch);
        true
    }

    /// Does the work of every second: checks the directory, removes garbage, and makes lazy commits durable.
    fn tick_when_due(&mut self) {
        let now = SystemClock.monotonic();
        if now < self.next_tick {
            return;
        }
        self.next_tick = now.saturating_add(TICK);
        self.budget.recover_slowly();
        self.free_again();
        self.check_directory();
        if self.engine.is_suspended() && !self.engine.config.is_watched {
            self.release_directory();
            if let Err(error) = self.resume() {
                cache_core::log::debug!(%error, "the disk cache's directory cannot be made anew yet");
            }
        }
        if self.may_write() {
            self.vacuum();
            self.close_empty_files();
        }
        if self.file.get().is_some_and(|file| file.is_dirty) {
            if now >= self.next_order {
                self.next_order = now.saturating_add(SAVE_ORDER_EVERY);
                self.save_order();
            }
            if let Err(fault) = self.sync() {
                self.fail(&fault);
            }
        }
    }

    /// How long the writer may wait for work.
    fn idle_time(&self) -> Duration {
        if !self.unfinished.is_empty()
            || self.may_write() && (self.has_much_garbage() || self.has_blocks_to_free())
        {
            return Duration::ZERO;
        }
        let is_failed = !self.is_open() && !self.engine.is_suspended();
        let next = if is_failed { self.retry_at.min(self.next_tick) } else { self.next_tick };
        next.saturating_since(SystemClock.monotonic()).max(Duration::from_millis(1))
    }

    fn is_open(&self) -> bool {
        self.file.get().is_some()
    }

    /// The store of the open file.
    ///
    /// # Errors
    /// `Unavailable` while the file is closed.
    fn store(&self) -> Result<&Store, Fault> {
        self.file.get().map(|file| &file.store).ok_or(Fault::Unavailable)
    }

    /// Closes the file until it is reopened by `remedy`, or by a more drastic one that was necessary before.
    fn close(&mut self, remedy: Remedy) {
        let earlier = match std::mem::replace(&mut self.file, FileState::Closed(remedy)) {
            FileState::Open(file) => {
                if remedy == Remedy::SetAside {
                    file.store.abandon();
                }
                Remedy::Reopen
            }
            FileState::Closed(earlier) => earlier,
        };
        self.file = FileState::Closed(remedy.max(earlier));
        self.retry_at = SystemClock.monotonic();
    }
}

impl FileState {
    fn get(&self) -> Option<&OpenFile> {
        match self {
            Self::Open(file) => Some(file),
            Self::Closed(_) => None,
        }
    }

    fn get_mut(&mut self) -> Option<&mut OpenFile> {
        match self {
            Self::Open(file) => Some(file),
            Self::Closed(_) => None,
        }
    }
}
