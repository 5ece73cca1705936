//! The index in memory: every live entry, in the order of use.
//!
//! The index answers a miss without I/O and knows the rows of a hit. It has 64 shards, each behind a lock; the seeded hash
//! of a key decides its shard.

mod eviction;
mod load_state;
mod shard;
mod usage_order;

use std::sync::Arc;

use cache_core::family_counters::{FamilyCounters, FamilyNames};
use cache_core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use cache_core::sync::{Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use self::load_state::LoadState;
use self::shard::Oldest;
pub(crate) use self::shard::{Found, PendingRemoval, Shard, Unwritten};
pub(crate) use self::usage_order::UsageOrder;

const SHARDS: usize = 64;

/// The index; see the documentation of the module.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[Mutex<Shard>]>,
    pub(crate) families: FamilyNames,
    /// Counts insertions: the clock by which entries of different shards are compared.
    tick: AtomicU32,
    /// The total cost of all entries, in bytes.
    cost: Arc<AtomicU64>,
    seed: u64,
    /// The bits of a hash that are used; not all of them in tests of collisions.
    mask: u64,
}

impl Index {
    pub(crate) fn new(mask: u64) -> Self {
        let cost = Arc::new(AtomicU64::new(0));
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(Arc::clone(&cost)))).collect(),
            cost,
            families: FamilyNames::default(),
            tick: AtomicU32::new(0),
            seed: cache_core::random_nonzero().get(),
            mask,
        }
    }

    /// Hashes `key`; the result differs between processes.
    pub(crate) fn hash(&self, key: &str) -> u64 {
        xxh3_64_with_seed(key.as_bytes(), self.seed) & self.mask
    }

    /// Locks the shard of `hash`.
    pub(crate) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The table inside a shard uses the lowest and the highest bits.
        let at = (hash >> 32) as usize % SHARDS;
        self.shards.get(at).expect("reduced to the number of shards").lock()
    }

    /// Locks all shards, one after the other.
    pub(crate) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(Mutex::lock)
    }

    /// The time, in insertions.
    pub(crate) fn tick(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Counts an insertion.
    pub(crate) fn advance(&self) -> u32 {
        self.tick.fetch_add(1, Ordering::Relaxed)
    }

    /// The total cost of all entries, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.cost.load(Ordering::Relaxed)
    }

    /// Removes all stored entries; returns how many.
    pub(crate) fn remove_stored(&self) -> u64 {
        self.shards().map(|mut shard| shard.remove_stored(|_| true)).sum()
    }

    /// Removes the entries that are not written yet.
    pub(crate) fn remove_unwritten(&self) {
        for mut shard in self.shards() {
            shard.remove_unwritten(|_| true, |key| self.hash(key));
        }
    }

    /// Sums up the figures of all shards. Locks each once.
    pub(crate) fn counts(&self) -> FamilyCounters {
        let mut sum = FamilyCounters::default();
        self.shards().for_each(|shard| sum.add(&shard.counts));
        sum
    }

    /// Packs the order of use of all entries.
    pub(crate) fn packed_usage_order(&self) -> Vec<u8> {
        let now = self.tick();
        let mut order: Vec<(u32, u64)> = Vec::new();
        for mut shard in self.shards() {
            order.extend(shard.order().map(|(tick, id)| (now.wrapping_sub(tick), id)));
        }
        order.sort_unstable_by_key(|(age, id)| (std::cmp::Reverse(*age), *id));
        usage_order::pack(order.into_iter().map(|(_, id)| id))
    }
}

#[cfg(test)]
mod tests {
    use cache_core::family_counters::FamilyId;

    use super::*;
    use crate::store::{Meta, Rows};

    pub(super) fn stored(shard: &mut Shard, hash: u64, id: u64, tick: u32) -> Option<PendingRemoval> {
        let meta = Meta { rows: Rows { id, cost: 10 }, expires_at: None };
        shard.insert(hash, FamilyId::OTHER, meta, None, tick)
    }

    #[test]
    fn a_million_entries_take_at_most_64_bytes_each() {
        // The slots and tables, computed from their capacities as the allocator sees them.
        let index = Index::new(u64::MAX);
        for id in 0..1_000_000_u64 {
            let hash = index.hash(&id.to_string());
            stored(&mut index.shard(hash), hash, id, 0);
        }
        let bytes: usize = index.shards().map(|shard| shard.allocated_bytes()).sum();
        assert!(bytes <= 64_000_000, "{bytes} bytes");
    }
}
