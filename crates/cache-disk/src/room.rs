//! Making room: who leaves the index before somebody enters it.

use cache_core::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::index::Removed;

/// The part of the allowance that is freed ahead of need.
const FREED_AHEAD: u64 = 1000;

impl Engine {
    /// Takes entries out of the index until `incoming` more bytes fit the allowance: expired ones first, then the least
    /// recently used. The rows of what it returns are still to be removed.
    pub(crate) fn make_room(&self, incoming: u64) -> Vec<Removed> {
        let allowed = self.allowance.load(Ordering::Relaxed);
        let fits = |more: u64| self.index.cost().saturating_add(incoming).saturating_add(more) <= allowed;
        // An index that does not know all entries yet cannot tell which is the oldest: the writer waits for it.
        if fits(0) || !self.is_complete() {
            return Vec::new();
        }
        let mut gone = self.take_expired();
        // Finding the oldest looks into every shard: once for many values.
        let ahead = allowed / FREED_AHEAD;
        if !fits(ahead) {
            for victim in self.index.victims() {
                self.counters.evictions.add(1);
                gone.push(victim);
                if fits(ahead) {
                    break;
                }
            }
        }
        gone
    }

    /// Takes what has expired out of the index; its rows are still to be removed.
    pub(crate) fn take_expired(&self) -> Vec<Removed> {
        let expired = self.index.remove_expired(self.now());
        self.counters.expirations.add(expired.len() as u64);
        expired
    }

    /// Has the writer remove the rows of what left the index.
    pub(crate) fn discard(&self, gone: Vec<Removed>) {
        for removed in gone {
            self.discard_one(removed);
        }
    }

    /// The same for one entry. While the index is being filled, its rows must not bring it back.
    pub(crate) fn discard_one(&self, removed: Removed) {
        let hash = removed.hash;
        self.queue.push_discard(removed);
        if !self.is_complete() {
            self.early.supersede(hash);
        }
    }
}
