//! The end: what is queued is written, the order of use saved, what is owed settled, the file closed.
//!
//! Within two seconds as a rule; a disk that is slow or fails may take longer, since the file is opened again for what is owed.

use std::time::Duration;

use cache_core::{Clock, SystemClock};

use super::{Owed, Writer};
use crate::budget;
use crate::error::Fault;
use crate::lazy::{Lazy, Value};
use crate::queue::Urgent;
use crate::recency;
use crate::recovery;
use crate::store::Commit;

/// How long values are still written; what is left then is dropped, and with it the value before it.
const DRAIN_FOR: Duration = Duration::from_millis(1500);

impl Writer {
    /// Finishes the work at hand and all that is queued, and closes the file.
    pub(super) fn finish(&mut self, urgent: Vec<Urgent>) {
        let deadline = SystemClock.monotonic().saturating_add(DRAIN_FOR);
        self.heal_at_last();
        self.serve(urgent);
        self.engine.filling.wait(DRAIN_FOR);
        while SystemClock.monotonic() < deadline && self.work() {
            self.answer_flushes_when_due();
        }
        self.answer_flushes_when_due();
        self.serve(self.engine.queue.take_urgent());
        if self.engine.is_complete() {
            self.save_order();
        }
        self.drop_unwritten();
        self.engine.snapshot.store(None);
        if let Some(store) = self.store.take()
            && let Err(fault) = store.close()
        {
            cache_core::log::emit(|| tracing::warn!(cause = %fault, "disk cache did not close cleanly"));
        }
    }

    /// Saves the order of use in a lazy commit.
    pub(super) fn save_order(&mut self) {
        let mut order: Vec<(u32, u64)> = Vec::new();
        let now = self.engine.index.tick();
        for mut shard in self.engine.index.shards() {
            order.extend(shard.order().map(|(tick, id)| (now.wrapping_sub(tick), id)));
        }
        order.sort_unstable_by_key(|(age, id)| (std::cmp::Reverse(*age), *id));
        let ids: Vec<u64> = order.into_iter().map(|(_, id)| id).collect();
        let packed = recency::pack(&ids);
        let Some(store) = &self.store else { return };
        let saved = store.write(Commit::Lazy, |batch| {
            batch.clear_state(recovery::ORDER_ROWS)?;
            for (name, part) in recovery::order_rows(&packed) {
                batch.set_state(&name, part)?;
            }
            Ok(((), Commit::Lazy))
        });
        self.order_saved_at = SystemClock.monotonic();
        match saved {
            Ok(()) => self.is_dirty = true,
            Err(fault) => self.fail(&fault),
        }
    }

    /// The last commit. A value that is not written any more, or was lost, must not leave the one before it behind.
    fn drop_unwritten(&mut self) {
        if self.engine.is_suspended() {
            return;
        }
        let unwritten = self.engine.queue.lazy(Lazy::take_values);
        self.owed.extend(unwritten.into_iter().map(|Value { key, id, .. }| Owed { key, id }));
        for _ in 0..3 {
            match self.settle_debts() {
                Ok(()) => return,
                Err(fault) => self.fail(&fault),
            }
            if self.owed.is_empty() {
                return;
            }
            // Opening the file settles them, too.
            self.heal_at_last();
        }
    }

    /// Removes durably what is owed, and makes every commit so far durable.
    fn settle_debts(&mut self) -> Result<(), Fault> {
        let owed = std::mem::take(&mut self.owed);
        let done = self.remove_owed(&owed).and_then(|()| self.sync());
        if done.is_err() {
            self.owed.extend(owed);
        }
        done
    }

    fn remove_owed(&mut self, owed: &[Owed]) -> Result<(), Fault> {
        let most = usize::try_from(self.budget.interval / budget::written(0, 1)).unwrap_or(usize::MAX);
        for some in owed.chunks(most) {
            let written = budget::written(0, some.len());
            let commit = self.commit_for(written)?;
            let Some(store) = &self.store else { return Err(Fault::Unavailable) };
            store.write(commit, |batch| {
                for Owed { key, id } in some {
                    batch.remove_key_up_to(key.as_str(), *id)?;
                }
                Ok(((), commit))
            })?;
            self.committed(commit, written)?;
        }
        Ok(())
    }
}
