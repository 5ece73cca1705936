//! Shutdown: queued work is written, the order of use saved, lost values removed, the file closed.
//!
//! It takes at most two seconds as a rule, and longer if the disk is slow or fails: the file may have to be reopened.

use std::time::Duration;

use cache_core::{Clock, SystemClock};

use super::flush::remove_all;
use super::{FileState, Remedy, Writer};
use crate::budget;
use crate::error::Fault;
use crate::queue::{Command, QueuedValue, WriteBehind};

/// How long values are still written. The values that are left then are dropped, with older ones of their keys.
const DRAIN_FOR: Duration = Duration::from_millis(1500);

impl Writer {
    /// Executes `commands`, writes the queued values, and closes the file.
    pub(super) fn shut_down(&mut self, commands: Vec<Command>) {
        let deadline = SystemClock.monotonic().saturating_add(DRAIN_FOR);
        // Though it may not be time to try again: there is no later try.
        self.recover();
        self.serve(commands);
        self.engine.load.wait(DRAIN_FOR);
        self.replaced.wait(DRAIN_FOR);
        while SystemClock.monotonic() < deadline && self.work() {
            self.answer_flushes_when_due();
        }
        self.answer_flushes_when_due();
        self.serve(self.engine.queue.take_commands());
        while !self.unfinished.is_empty() {
            self.serve(Vec::new());
        }
        if self.engine.is_complete() {
            self.save_order();
        }
        self.drop_unwritten();
        self.free_again();
        while self.free_blocks() {}
        if let Err(cause) = self.sync_values() {
            cache_core::log::warn!(%cause, "disk cache values may be lost with the power");
        }
        self.engine.snapshot.store(None);
        let file = std::mem::replace(&mut self.file, FileState::Closed(Remedy::Reopen));
        if let FileState::Open(file) = file
            && let Err(fault) = file.store.close()
        {
            cache_core::log::warn!(cause = %fault, "disk cache did not close cleanly");
        }
    }

    /// Makes the last durable commit. It removes older values for the keys of values that are not written any more, or were
    /// lost.
    fn drop_unwritten(&mut self) {
        if self.engine.is_suspended() {
            return;
        }
        let unwritten = self.engine.queue.write_behind(WriteBehind::take_values);
        self.pending_removals.extend(unwritten.iter().map(QueuedValue::to_removal));
        for _ in 0..3 {
            match self.commit_pending_removals() {
                Ok(()) => return,
                Err(fault) => self.fail(&fault),
            }
            if self.pending_removals.is_empty() {
                return;
            }
            // Reopening the file commits them, too.
            self.recover();
        }
    }

    /// Commits the pending removals, and makes every commit so far durable.
    fn commit_pending_removals(&mut self) -> Result<(), Fault> {
        let removals = std::mem::take(&mut self.pending_removals);
        let most = usize::try_from(self.interval() / budget::written(0, 1)).unwrap_or(usize::MAX);
        let mut commits = removals.chunks(most).map(|some| {
            self.commit(budget::written(0, some.len()), |batch| remove_all(batch, some)).map(drop)
        });
        let done = commits.try_for_each(|done| done).and_then(|()| self.sync());
        if done.is_err() {
            self.pending_removals.extend(removals);
        }
        done
    }
}
