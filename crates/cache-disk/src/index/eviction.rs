//! Eviction: expired entries leave the index first, then others in the configured order.

use std::collections::BinaryHeap;

use cache_core::sync::Mutex;
use cache_core::{CacheStats, MissCause, Timestamp};

use super::shard::Victim;
use super::{Index, PendingRemoval};

/// The part of the allowance that is freed ahead of need.
const FREED_AHEAD: u64 = 1000;

/// The most marks that one call takes away, so that it ends soon where every entry has one.
const MOST_SPARED: usize = 4096;

impl Index {
    /// Removes entries until `incoming` more bytes fit into `allowed`. The records of the returned entries are still to be
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
        // Finding the next entry looks into every shard: one search serves many values.
        let (ahead, now) = (allowed / FREED_AHEAD, self.tick());
        if fits(ahead) {
            return removed;
        }
        // The next entry of each shard when it was last looked at; it may have been used or removed since.
        let mut victims: BinaryHeap<Victim> =
            self.shards().filter_map(|mut shard| shard.victim(now)).collect();
        let mut spared = 0;
        while !fits(ahead)
            && let Some(victim) = victims.pop()
        {
            let mut shard = self.shard(victim.hash);
            if shard.victim(now) != Some(victim) {
                // Looked at again below.
            } else if spared < MOST_SPARED && shard.spare() {
                spared += 1;
            } else {
                removed.extend(shard.remove(victim.hash, MissCause::Evicted));
                stats.lock().evictions += 1;
            }
            victims.extend(shard.victim(now));
        }
        removed
    }

    /// Removes the expired entries. Their records are still to be removed.
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
    use cache_core::Eviction;
    use cache_core::family_counters::FamilyId;

    use super::super::tests::stored;
    use super::*;
    use crate::store::{Location, Meta};

    #[test]
    fn entries_are_evicted_in_the_order_of_use_over_all_shards() {
        let index = Index::new(u64::MAX, Eviction::Lru);
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
        let order: Vec<u64> = removed.iter().map(|removed| removed.at.id).collect();
        let expected: Vec<u64> = (1..1000).step_by(2).chain((0..1000).step_by(2)).collect();
        assert_eq!(order, expected);
        assert_eq!(index.cost(), 0);
    }

    #[test]
    fn by_sieve_entries_that_were_hit_outlive_any_number_of_others() {
        let index = Index::new(u64::MAX, Eviction::Sieve);
        let stats = Mutex::new(CacheStats::empty(cache_core::BackendKind::Disk));
        let hash = |id: u64| index.hash(&id.to_string());
        let store = |id| stored(&mut index.shard(hash(id)), hash(id), id, index.advance());
        (0..1000).for_each(|id| drop(store(id)));
        let hit = |id| drop(index.shard(hash(id)).find(hash(id), index.tick()));
        (0..100).for_each(hit);
        let full = index.cost();
        for id in 1000..21_000 {
            hit(id % 100);
            store(id);
            index.make_room(0, full, || Timestamp::from_millis(1), &stats);
        }
        let is_left = |id: &u64| index.shard(hash(*id)).peek(hash(*id)).is_some();
        assert_eq!((0..100).filter(is_left).count(), 100, "scanned out");
        assert!(index.cost() <= full && stats.lock().evictions >= 20_000);
    }

    #[test]
    fn by_sieve_a_large_value_that_is_hit_stays_among_small_ones() {
        let index = Index::new(u64::MAX, Eviction::Sieve);
        let stats = Mutex::new(CacheStats::empty(cache_core::BackendKind::Disk));
        let hash = |id: u64| index.hash(&id.to_string());
        let large = Meta { at: Location { id: 1 << 20, size: 5_000_000 }, expires_at: None };
        let place = hash(large.at.id);
        index.shard(place).insert(place, FamilyId::OTHER, large, None, index.advance());
        let allowed = index.cost() * 2;
        for id in 0..200_000 {
            if id % 100 == 0 {
                let _ = index.shard(place).find(place, index.tick());
            }
            stored(&mut index.shard(hash(id)), hash(id), id, index.advance());
            index.make_room(0, allowed, || Timestamp::from_millis(1), &stats);
        }
        assert!(stats.lock().evictions > 100_000, "the cache was not full");
        assert!(index.shard(place).holds(place, large.at.id));
    }
}
