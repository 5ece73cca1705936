//! Space: how much the live entries may cost, compaction of the database, and removals when there is no space left.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cache_core::sync::atomic::Ordering;
use cache_core::{Clock, SystemClock};

use super::flush::remove_all;
use super::{FileState, Remedy, Writer};
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

    /// The cost of everything in the database, in bytes.
    pub(super) fn rows_cost(&self) -> u64 {
        self.engine.index.rows_cost() + self.counter_bytes() + self.garbage_cost()
    }

    /// Bytes that may be written between two durable commits, as [`budget::written`](crate::budget::written) counts them.
    pub(super) fn interval(&self) -> u64 {
        self.budget.interval(self.engine.index.rows_cost())
    }

    /// The space that is kept for removals, in bytes.
    pub(super) fn reserve(&self) -> u64 {
        self.budget.reserve(self.engine.index.rows_cost())
    }

    /// The space of the database and the values files together, in bytes.
    pub(super) fn whole(&self) -> u64 {
        self.budget.whole(self.directory.quarantined_bytes())
    }

    /// Tells callers how much the live entries may cost, and redb how much its file may take.
    pub(super) fn set_allowance(&self) {
        let Some(file) = self.file.get() else { return };
        let (space, taken) = (self.engine.space.load(), file.store.values.taken_bytes());
        // redb may prefer pages that were never written to free ones: a removal needs some where everything else finds none.
        let reserve = if self.freeing.is_some() { 0 } else { self.reserve() };
        space.set_most(self.whole().saturating_sub(taken + reserve));
        // While there is more garbage and no room beside it, nothing is written: no entry has to go for it.
        let beside = self.counter_bytes() + self.garbage_cost().min(self.interval());
        let rows = self.engine.index.rows_cost();
        let live = self.budget.live_bytes(rows + beside);
        self.engine.allowance.store(live.saturating_sub(beside), Ordering::Relaxed);
    }

    /// Has the next transaction take the pages that are kept for removals, too.
    fn allow_reserve(&self) {
        self.engine.space.load().set_most(self.whole().saturating_sub(self.values_bytes()));
    }

    /// Whether so much of the database's file is free pages that values in blocks should have their space.
    fn has_free_pages_for_blocks(&self) -> bool {
        let taken = self.engine.space.load().written_bytes();
        let free = taken.saturating_sub(self.budget.needed(self.rows_cost()));
        free > (taken / 4).max(self.budget.whole(0) / 64)
    }

    /// Whether the next transactions may find no page that was written before and is free.
    ///
    /// redb takes the smallest run of free pages that is long enough, whether they were ever written or not: once the file
    /// takes what it may, a transaction can be refused while most of the pages that were written are free.
    fn is_database_full(&self) -> bool {
        let space = self.engine.space.load();
        space.written_bytes() + self.interval() > space.most()
    }

    /// Compacts a full database before something is written to it, unless the cache is being closed; returns whether that
    /// gave space back.
    pub(super) fn compact_when_full(&mut self) -> bool {
        let is_work = self.engine.queue.write_behind(|queued| !queued.is_empty());
        let is_closing = self.engine.is_closed.load(Ordering::SeqCst);
        is_work && !is_closing && self.is_database_full() && self.compact()
    }

    /// Compacts the database for values in blocks; returns whether that gave space back.
    pub(super) fn compact_for_blocks(&mut self) -> bool {
        self.has_free_pages_for_blocks() && self.compact()
    }

    /// Moves the pages of the database together and gives those behind them back, unless little was written since the last
    /// time; returns whether the file takes less.
    ///
    /// # Cost
    /// Reads every page of the database, and writes those behind the new end of the file. Commands wait, and readers miss.
    fn compact(&mut self) -> bool {
        if self.compacts_after > 0 {
            return false;
        }
        let before = self.engine.space.load().written_bytes();
        let start = SystemClock.monotonic();
        self.allow_reserve();
        let done = self.sync().and_then(|()| {
            let last = self.engine.snapshot.swap(None);
            if let (Some(last), Some(file)) = (last, self.file.get_mut()) {
                file.retired.push_back((Arc::downgrade(&last), file.written_bytes));
            }
            self.wait_for_readers(0);
            self.allow_reserve();
            let FileState::Open(file) = &mut self.file else { return Err(Fault::Unavailable) };
            file.retired.clear();
            let is_compact = file.store.compact()?;
            self.publish()?;
            // The commits of a compaction do not write the list of free pages, without which opening takes long after a crash.
            self.sync()?;
            Ok(is_compact)
        });
        let is_compact = match done {
            Ok(is_compact) => is_compact,
            Err(fault) => {
                self.fail(&fault);
                // What failed may fail again: other writes come first.
                self.compacts_after = 4 * self.interval();
                return true;
            }
        };
        self.set_allowance();
        let after = self.engine.space.load().written_bytes();
        // A reader that stalls may go away soon; rows that lie apart do not come together however often pages are moved.
        self.compacts_after = if is_compact { (after / 4).max(4 * self.interval()) } else { self.interval() };
        cache_core::log::debug!(
            before_bytes = before, after_bytes = after, elapsed = ?SystemClock.monotonic().saturating_since(start),
            "disk cache database compacted"
        );
        after < before
    }

    /// Waits for readers of snapshots before which more than `most` bytes were written, because their pages cannot be used
    /// again; after 250 ms the writer continues with the pages that are free.
    pub(super) fn wait_for_readers(&mut self, most: u64) {
        let deadline = SystemClock.monotonic().saturating_add(LONGEST_WAIT_FOR_READERS);
        while let Some(file) = self.file.get_mut() {
            while file.retired.front().is_some_and(|(snapshot, _)| snapshot.strong_count() == 0) {
                file.retired.pop_front();
            }
            let kept = file.retired.front().map(|(_, written)| file.written_bytes - written);
            if kept.is_none_or(|kept| kept < most) || SystemClock.monotonic() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the limit allows `more` bytes beside the live entries.
    pub(super) fn is_room_beside(&self, more: u64) -> bool {
        self.engine.index.cost() + more <= self.engine.allowance.load(Ordering::Relaxed)
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
        self.remove_quarantined();
        if self.freeing.is_none() {
            self.budget.refused();
            self.compacts_after = 0;
        }
        self.out_of_space()
    }

    /// Handles a write for which the disk had no space, when the files took `taken` bytes of it; returns how to reopen the file.
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
        let before = self.freeing.replace(FREED_AT_FIRST);
        self.set_allowance();
        if before != Some(FREED_AT_FIRST) {
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
    fn remove_quarantined(&self) {
        if let Err(error) = self.directory.shrink_quarantined(0) {
            cache_core::log::warn!(
                limit: self.directory.path(), %error, "cannot remove the damaged disk cache"
            );
        }
    }
}
