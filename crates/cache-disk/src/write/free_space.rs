//! Space: how much the live entries may cost, when the file gets its whole length, and removals when there is no space left.

use std::thread;
use std::time::Duration;

use cache_core::sync::atomic::Ordering;
use cache_core::{Clock, SystemClock};

use super::flush::remove_all;
use super::{FileState, Remedy, Writer};
use crate::database_file::OpenDatabase;
use crate::error::Fault;
use crate::store::{Batch, CommitMode};

/// Entries that the first transaction removes when there is no space; each later one removes two more.
const FREED_AT_FIRST: usize = 2;
/// The most entries that one of them removes.
const FREED_AT_MOST: usize = 64;
/// How long commands wait while space is freed.
const FREES_FOR: Duration = Duration::from_millis(20);
/// How long the writer waits for a reader.
const LONGEST_WAIT_FOR_READERS: Duration = Duration::from_millis(250);

impl Writer {
    /// The cost of counters and claims, in bytes.
    pub(super) fn counter_bytes(&self) -> u64 {
        self.file.get().map_or(0, |file| file.counter_bytes)
    }

    /// Tells callers how much the live entries may cost.
    pub(super) fn set_allowance(&self) {
        // While there is more garbage and no room beside it, nothing is written: no entry has to go for it.
        let garbage = self.garbage_cost().min(self.budget.interval);
        let live = self.budget.live_bytes().saturating_sub(self.counter_bytes()).saturating_sub(garbage);
        self.engine.allowance.store(live, Ordering::Relaxed);
    }

    /// Gives the file its whole length when redb is about to double it and would be refused.
    pub(super) fn lengthen_when_needed(&mut self) {
        let space = self.engine.space.load();
        let (length, whole) = (space.length(), self.budget.file_bytes(0));
        let leaving = self.garbage_cost() + self.engine.queue.write_behind(|queued| queued.removal_cost());
        let needed = self.engine.index.cost() + leaving + self.counter_bytes() + 4 * self.budget.interval;
        let is_filling = needed > length / 10 * 9;
        if self.is_open()
            && is_filling
            && length < whole
            && length * 2 > space.most
            && let Err(fault) = self.lengthen()
        {
            self.fail(&fault);
        }
    }

    /// Closes the file and opens it with its whole length, for which a quarantined one beside it is removed. Readers miss
    /// meanwhile, for a few milliseconds; the index stays as it is.
    fn lengthen(&mut self) -> Result<(), Fault> {
        self.sync()?;
        self.engine.snapshot.store(None);
        if let FileState::Open(file) = std::mem::replace(&mut self.file, FileState::Closed(Remedy::Reopen)) {
            file.store.close()?;
        }
        self.remove_quarantined();
        let opened = OpenDatabase::open_lengthened(&self.directory, &self.engine.config)?;
        if opened.is_new {
            return self.install(opened).map(drop);
        }
        self.open(opened);
        self.publish()
    }

    /// Waits for readers of old snapshots, because their pages cannot be used again; after 250 ms the writer continues
    /// with the pages that are free.
    pub(super) fn wait_for_readers(&mut self) {
        let deadline = SystemClock.monotonic().saturating_add(LONGEST_WAIT_FOR_READERS);
        while let Some(file) = self.file.get_mut() {
            while file.retired.pop_front_if(|(snapshot, _)| snapshot.strong_count() == 0).is_some() {}
            let kept = file.retired.front().map_or(0, |(_, written)| file.written_bytes - written);
            if kept < self.budget.interval || SystemClock.monotonic() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the limit allows `more` bytes beside the live entries.
    pub(super) fn is_room_beside(&self, more: u64) -> bool {
        self.engine.index.cost() + more + self.counter_bytes() <= self.budget.live_bytes()
    }

    /// Removes entries that left the index while hardly any page is free; commands are served in between.
    pub(super) fn free_some(&mut self) {
        let until = SystemClock.monotonic().saturating_add(FREES_FOR);
        while let Some(at_a_time) = self.freeing {
            let few = self.engine.queue.write_behind(|queued| queued.take_removals(at_a_time));
            let done = if few.is_empty() { self.freed() } else { self.in_steps(&few, remove_all) };
            if let Err(fault) = done {
                self.undo_later(&[], &few);
                return self.fail(&fault);
            }
            if SystemClock.monotonic() >= until {
                return;
            }
        }
    }

    /// Ends the removals: syncs twice, after which the freed pages can be used again, and allows values again.
    pub(super) fn freed(&mut self) -> Result<(), Fault> {
        self.sync()?;
        self.sync()?;
        self.freeing = None;
        Ok(())
    }

    /// Runs `step` for a few of `items` at a time, so that each commit finds the few pages that it needs: they are free
    /// again for the commit after the next one, with those that it frees.
    pub(super) fn in_steps<T>(
        &mut self,
        mut items: &[T],
        step: impl Fn(&mut Batch<'_>, &[T]) -> Result<(), redb::Error>,
    ) -> Result<(), Fault> {
        while !items.is_empty() {
            let at_a_time = self.freeing.unwrap_or(FREED_AT_FIRST);
            let (few, rest) = items.split_at(at_a_time.min(items.len()));
            items = rest;
            self.commit_as(CommitMode::Durable, 0, |batch| step(batch, few))?;
            self.freeing = Some((at_a_time + FREED_AT_FIRST).min(FREED_AT_MOST));
        }
        Ok(())
    }

    /// Handles a write that the limit refused; returns how to reopen the file.
    pub(super) fn refused(&mut self) -> Remedy {
        if self.engine.space.load().length() < self.budget.file_bytes(0) {
            return Remedy::Lengthen;
        }
        if self.freeing.is_none() {
            self.budget.refused();
        }
        self.out_of_space()
    }

    /// Handles a write for which the disk had no space, when the file took `taken` bytes of it; returns how to reopen the file.
    pub(super) fn disk_is_full(&mut self, taken: u64) -> Remedy {
        // Less than is live, so that each failure evicts.
        let live = self.engine.index.cost();
        self.budget.disk_is_full(taken.min(live.max(taken / 4)));
        if live < taken / 4 {
            // Nearly all of the space is free pages. Eviction does not give them back, and redb may prefer pages that were
            // never written: each write would fail for as long as the disk is full.
            self.freeing = Some(FREED_AT_FIRST);
        }
        self.out_of_space()
    }

    /// Limits the writer to removals after a write found no space; returns how to reopen the file. If not even the smallest
    /// removal found space, the file is replaced.
    pub(super) fn out_of_space(&mut self) -> Remedy {
        self.set_allowance();
        if self.freeing.replace(FREED_AT_FIRST) != Some(FREED_AT_FIRST) {
            return Remedy::Reopen;
        }
        cache_core::log::warn!(
            limit: self.directory.path(), directory = %self.directory.path().display(),
            "disk cache has no room left to remove anything, starting empty"
        );
        self.freeing = None;
        Remedy::Replace
    }

    /// Removes a quarantined file for its space.
    pub(super) fn remove_quarantined(&self) {
        if let Err(error) = self.directory.shrink_quarantined(0) {
            cache_core::log::warn!(
                limit: self.directory.path(), %error, "cannot remove the damaged disk cache"
            );
        }
    }
}
