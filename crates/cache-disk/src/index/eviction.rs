//! Eviction: expired entries leave the index first, then the least recently used.

use std::collections::BinaryHeap;

use cache_core::sync::Mutex;
use cache_core::{CacheStats, MissCause, Timestamp};

use super::{Index, Oldest, PendingRemoval};

/// The part of the allowance that is freed ahead of need.
const FREED_AHEAD: u64 = 1000;

impl Index {
    /// Removes entries until `incoming` more bytes fit into `allowed`. The rows of the returned entries are still to be
    /// removed.
    pub(crate) fn make_room(
        &self,
        incoming: u64,
        allowed: u64,
        now: impl FnOnce() -> Timestamp,
        stats: &Mutex<CacheStats>,
    ) -> Vec<PendingRemoval> {
        let fits = |more: u64| self.cost().saturating_add(incoming).saturating_add(more) <= allowed;
        if fits(0) {
            return Vec::new();
        }
        let mut removed = self.remove_expired(now(), stats);
        // Finding the oldest entry looks into every shard: one search serves many values.
        let (ahead, now) = (allowed / FREED_AHEAD, self.tick());
        if fits(ahead) {
            return removed;
        }
        // The oldest entry of each shard when it was last looked at; it can only have been used since.
        let mut oldest: BinaryHeap<Oldest> =
            self.shards().filter_map(|mut shard| shard.oldest(now)).collect();
        while !fits(ahead)
            && let Some(candidate) = oldest.pop()
        {
            let mut shard = self.shard(candidate.hash);
            if shard.oldest(now) == Some(candidate) {
                removed.extend(shard.remove(candidate.hash, MissCause::Evicted));
                stats.lock().evictions += 1;
            }
            oldest.extend(shard.oldest(now));
        }
        removed
    }

    /// Removes the expired entries. Their rows are still to be removed.
    pub(crate) fn remove_expired(&self, now: Timestamp, stats: &Mutex<CacheStats>) -> Vec<PendingRemoval> {
        let mut removed = Vec::new();
        for mut shard in self.shards() {
            removed.extend(std::iter::from_fn(|| shard.remove_expired(now)));
        }
        stats.lock().expirations += removed.len() as u64;
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::stored;
    use super::*;

    #[test]
    fn entries_are_evicted_in_the_order_of_use_over_all_shards() {
        let index = Index::new(u64::MAX);
        let hash = |id: u64| index.hash(&id.to_string());
        for id in 0..1000 {
            let tick = index.advance();
            stored(&mut index.shard(hash(id)), hash(id), id, tick);
        }
        for id in (0..1000).step_by(2) {
            let tick = index.advance();
            index.shard(hash(id)).find(hash(id), tick);
        }
        let stats = Mutex::new(CacheStats::empty(cache_core::BackendKind::Disk));
        let removed = index.make_room(0, 0, || Timestamp::from_millis(1), &stats);
        let order: Vec<u64> = removed.iter().map(|removed| removed.rows.id).collect();
        let expected: Vec<u64> = (1..1000).step_by(2).chain((0..1000).step_by(2)).collect();
        assert_eq!(order, expected);
        assert_eq!(index.cost(), 0);
    }
}
