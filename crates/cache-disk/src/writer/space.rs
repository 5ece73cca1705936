//! Space: how much may live, and when the file gets its whole share.

use std::thread;
use std::time::Duration;

use cache_core::sync::atomic::Ordering;
use cache_core::{Clock, SystemClock};

use super::{Writer, remove};
use crate::error::Fault;
use crate::recovery;
use crate::store::{Batch, Commit};

/// Entries that are removed in one transaction when there is no room, and as many more in each that follows.
const FREED_AT_FIRST: usize = 2;
/// The most of them.
const FREED_AT_MOST: usize = 64;
/// How long others wait while room is made.
const FREES_FOR: Duration = Duration::from_millis(20);

/// How long a reader is waited for; then room is taken as it comes.
const LONGEST_WAIT_FOR_READERS: Duration = Duration::from_millis(250);

impl Writer {
    /// What all counters and claims together may cost.
    pub(super) fn most_counter_bytes(&self) -> u64 {
        self.engine.config.limit_bytes / 16
    }

    /// Tells callers how much may live.
    pub(super) fn set_allowance(&self) {
        // While there is more and no room beside it, nothing is written: nobody has to go for it.
        let unswept = self.unswept.cost().min(self.budget.interval);
        let live = self.budget.live_bytes().saturating_sub(self.counter_bytes).saturating_sub(unswept);
        self.engine.allowance.store(live, Ordering::Relaxed);
    }

    /// Gives the file its whole share, when redb is about to double it and would be refused.
    pub(super) fn lengthen_when_needed(&mut self) {
        let space = self.engine.space.load();
        let (length, whole) = (space.length(), self.budget.file_bytes(0));
        let leaving = self.unswept.cost() + self.engine.queue.lazy(|lazy| lazy.discarded());
        let needed = self.engine.index.cost() + leaving + self.counter_bytes + 4 * self.budget.interval;
        let is_filling = needed > length / 10 * 9;
        if self.store.is_some()
            && is_filling
            && length < whole
            && length * 2 > space.most()
            && let Err(fault) = self.lengthen()
        {
            self.fail(&fault);
        }
    }

    /// Closes the file and opens it with its whole share; what stands of a damaged one beside it goes. Readers miss
    /// meanwhile, for a few milliseconds; the index stays as it is.
    fn lengthen(&mut self) -> Result<(), Fault> {
        self.sync()?;
        let Some(store) = self.store.take() else { return Ok(()) };
        self.engine.snapshot.store(None);
        store.close()?;
        self.give_up_quarantined();
        let opened =
            recovery::open_lengthened(&self.directory, &self.engine.config).map_err(Fault::Refused)?;
        if opened.is_new {
            return self.install(opened).map(drop);
        }
        self.engine.space.store(opened.space);
        self.engine.restore(opened.store.snapshot()?);
        self.store = Some(opened.store);
        Ok(())
    }

    /// Waits for a reader that stands still in the middle of a read, as one does whose thread is not scheduled: the pages
    /// that he keeps from being used again would be missing.
    pub(super) fn wait_for_readers(&mut self) {
        let deadline = SystemClock.monotonic().saturating_add(LONGEST_WAIT_FOR_READERS);
        loop {
            while self.retired.front().is_some_and(|retired| retired.snapshot.strong_count() == 0) {
                self.retired.pop_front();
            }
            let kept = self.retired.front().map_or(0, |retired| self.written_ever - retired.written);
            if kept < self.budget.interval || SystemClock.monotonic() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether what is live and `more` bytes have room beside each other.
    pub(super) fn is_room_beside(&self, more: u64) -> bool {
        self.engine.index.cost() + more + self.counter_bytes <= self.budget.live_bytes()
    }

    /// Removes what left the index while next to no page is free, for a moment: in between, others are served.
    pub(super) fn free_some(&mut self) {
        let until = SystemClock.monotonic().saturating_add(FREES_FOR);
        while let Some(at_a_time) = self.freeing {
            let few = self.engine.queue.lazy(|lazy| lazy.take_discards(at_a_time));
            let done = if few.is_empty() { self.freed() } else { self.in_steps(&few, remove) };
            if let Err(fault) = done {
                self.owe(few);
                return self.fail(&fault);
            }
            if SystemClock.monotonic() >= until {
                return;
            }
        }
    }

    /// Everything was removed: its pages serve again after the second commit.
    pub(super) fn freed(&mut self) -> Result<(), Fault> {
        self.sync()?;
        self.sync()?;
        self.freeing = None;
        Ok(())
    }

    /// Does `step` for all of `items`, so few at a time that each commit finds the few pages it needs, which the one after
    /// the next has again, and those that it frees besides.
    pub(super) fn in_steps<T>(
        &mut self,
        mut items: &[T],
        step: impl Fn(&mut Batch<'_>, &[T]) -> Result<(), redb::Error>,
    ) -> Result<(), Fault> {
        while !items.is_empty() {
            let at_a_time = self.freeing.unwrap_or(FREED_AT_FIRST);
            let (few, rest) = items.split_at(at_a_time.min(items.len()));
            items = rest;
            let Some(store) = &self.store else { return Err(Fault::Unavailable) };
            store.write(Commit::Durable, |batch| {
                step(batch, few)?;
                Ok(((), Commit::Durable))
            })?;
            self.publish()?;
            self.synced();
            self.freeing = Some((at_a_time + FREED_AT_FIRST).min(FREED_AT_MOST));
        }
        Ok(())
    }

    /// redb found no room for a write within the file.
    pub(super) fn refused(&mut self) {
        if self.engine.space.load().length() < self.budget.file_bytes(0) {
            self.is_short = true;
        } else {
            if self.freeing.is_none() {
                self.budget.refused();
            }
            self.out_of_room();
        }
    }

    /// The next commits only remove. Where not even the smallest of them finds room, nothing but a new file helps.
    pub(super) fn out_of_room(&mut self) {
        self.set_allowance();
        if self.freeing == Some(FREED_AT_FIRST) {
            cache_core::log::limited(self.directory.path(), |suppressed| {
                tracing::warn!(
                    directory = %self.directory.path().display(),
                    suppressed, "disk cache has no room left to remove anything, starting empty"
                );
            });
            self.is_condemned = true;
            self.freeing = None;
        } else {
            self.freeing = Some(FREED_AT_FIRST);
        }
    }

    /// Removes a damaged file, for its space.
    pub(super) fn give_up_quarantined(&self) {
        if self.directory.quarantined_bytes() > 0
            && let Err(error) = self.directory.shrink_quarantined(0)
        {
            cache_core::log::limited(
                self.directory.path(),
                |suppressed| tracing::warn!(%error, suppressed, "cannot remove the damaged disk cache"),
            );
        }
    }
}
