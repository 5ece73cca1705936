//! The end: what is queued is written, the order of use saved, the file closed, all within two seconds.

use std::time::Duration;

use cache_core::{Clock, SystemClock};

use super::Writer;
use crate::queue::{Lazy, Urgent};
use crate::recency;
use crate::recovery;
use crate::store::Commit;

/// How long values are still written; what is left then is dropped, and with it the value before it.
const DRAIN_FOR: Duration = Duration::from_millis(1500);

impl Writer {
    /// Finishes the work at hand and all that is queued, and closes the file.
    pub(super) fn finish(mut self, urgent: Vec<Urgent>) {
        let deadline = SystemClock.monotonic().saturating_add(DRAIN_FOR);
        self.heal_when_due();
        self.serve(urgent);
        self.engine.filling.wait(DRAIN_FOR);
        while SystemClock.monotonic() < deadline && self.work() {}
        let (urgent, lazy) = self.engine.queue.drain();
        self.serve(urgent);
        self.drop_unwritten(lazy);
        if self.engine.is_complete() {
            self.save_order();
        }
        if let Err(fault) = self.sync() {
            self.fail(&fault);
        }
        self.answer_flushes();
        self.engine.snapshot.store(None);
        if let Some(store) = self.store.take()
            && let Err(fault) = store.close()
        {
            tracing::warn!(cause = %fault, "disk cache did not close cleanly");
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

    /// A value that is not written any more must not leave the one before it behind.
    fn drop_unwritten(&mut self, lazy: Lazy) {
        let keys: Vec<_> = lazy.values.into_iter().map(|value| value.key).collect();
        let Some(store) = &self.store else { return };
        if keys.is_empty() {
            return;
        }
        let done = store.write(Commit::Lazy, |batch| {
            for key in &keys {
                batch.remove_key(key.as_str())?;
            }
            Ok(((), Commit::Lazy))
        });
        if let Err(fault) = done {
            self.fail(&fault);
        }
    }
}
