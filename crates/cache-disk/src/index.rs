//! The index in memory: every live entry, and which is evicted next.
//!
//! The index answers a miss without I/O and knows the rows of a hit. It has 64 shards, each behind a lock; the seeded hash
//! of a key decides its shard.

mod eviction;
mod load_state;
mod shard;
mod usage_order;

use std::cmp::Reverse;
use std::sync::Arc;

use cache_core::Eviction;
use cache_core::family_counters::{FamilyCounters, FamilyNames};
use cache_core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use cache_core::sync::{Mutex, MutexGuard};
use twox_hash::XxHash3_64;

pub(crate) use self::load_state::LoadState;
pub(crate) use self::shard::{Found, PendingRemoval, Shard, Unwritten};
pub(crate) use self::usage_order::UsageOrder;
use crate::budget;
use crate::store::{BLOCK, Location};

const SHARDS: usize = 64;

/// The index; see the documentation of the module.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[Mutex<Shard>]>,
    pub(crate) families: FamilyNames,
    /// Counts insertions: the clock by which entries of different shards are compared.
    tick: AtomicU32,
    total: Arc<Totals>,
    seed: u64,
    /// The bits of a hash that are used; not all of them in tests of collisions.
    mask: u64,
}

/// What the shards share: the total cost of all entries, in bytes, and the rounds of eviction.
#[derive(Debug, Default)]
struct Totals {
    rows: AtomicU64,
    blocks: AtomicU64,
    /// The most rounds of the hand of a shard.
    rounds: AtomicU32,
}

/// What the entries of a shard cost, in bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    rows: u64,
    blocks: u64,
}

impl Cost {
    fn of(at: Location) -> Self {
        Self { rows: budget::row_cost(at), blocks: at.blocks() * BLOCK }
    }
}

impl Totals {
    fn add(&self, Cost { rows, blocks }: Cost) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.blocks.fetch_add(blocks, Ordering::Relaxed);
    }

    fn subtract(&self, Cost { rows, blocks }: Cost) {
        self.rows.fetch_sub(rows, Ordering::Relaxed);
        self.blocks.fetch_sub(blocks, Ordering::Relaxed);
    }
}

impl Index {
    pub(crate) fn new(mask: u64, eviction: Eviction) -> Self {
        let total = Arc::new(Totals::default());
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(Arc::clone(&total), eviction))).collect(),
            total,
            families: FamilyNames::default(),
            tick: AtomicU32::new(0),
            seed: cache_core::random_nonzero().get(),
            mask,
        }
    }

    /// Hashes `key`; the result differs between processes.
    pub(crate) fn hash(&self, key: &str) -> u64 {
        XxHash3_64::oneshot_with_seed(self.seed, key.as_bytes()) & self.mask
    }

    /// The position of the shard of `hash`.
    pub(crate) fn shard_of(hash: u64) -> usize {
        // The table inside a shard uses the lowest and the highest bits.
        (hash >> 32) as usize % SHARDS
    }

    /// Locks the shard of `hash`.
    pub(crate) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards.get(Self::shard_of(hash)).expect("reduced to the number of shards").lock()
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
        self.rows_cost() + self.total.blocks.load(Ordering::Relaxed)
    }

    /// The part of it that rows of the database cost.
    pub(crate) fn rows_cost(&self) -> u64 {
        self.total.rows.load(Ordering::Relaxed)
    }

    /// Removes all stored entries; returns how many.
    pub(crate) fn remove_stored(&self) -> u64 {
        let now = self.tick();
        self.shards().map(|mut shard| shard.remove_stored(now, |key| self.hash(key))).sum()
    }

    /// Removes the entries that are not written yet.
    pub(crate) fn remove_unwritten(&self) {
        for mut shard in self.shards() {
            shard.remove_unwritten(|_| true, |key| self.hash(key));
        }
    }

    /// Removes all entries below `id`; their records are still to be removed.
    pub(crate) fn remove_below(&self, id: u64) -> Vec<PendingRemoval> {
        self.shards().flat_map(|mut shard| shard.remove_below(id)).collect()
    }

    /// The locations of all entries with blocks, ascending.
    pub(crate) fn in_blocks(&self) -> Vec<Location> {
        let mut all: Vec<Location> = Vec::new();
        self.shards().for_each(|shard| all.extend(shard.locations().filter(|at| at.blocks() > 0)));
        all.sort_unstable();
        all
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
        let mut order: Vec<(bool, Reverse<u32>, u64)> = Vec::new();
        for mut shard in self.shards() {
            let entries = shard.order();
            order
                .extend(entries.map(|(is_marked, tick, id)| (is_marked, Reverse(shard::age(now, tick)), id)));
        }
        order.sort_unstable();
        usage_order::pack(order.into_iter().map(|(.., id)| id))
    }
}

#[cfg(test)]
mod tests {
    use cache_core::family_counters::FamilyId;

    use super::*;
    use crate::store::Meta;

    pub(super) fn stored(shard: &mut Shard, hash: u64, id: u64, tick: u32) -> Option<PendingRemoval> {
        let meta = Meta { at: Location { id, size: 10 }, expires_at: None };
        shard.insert(hash, FamilyId::OTHER, meta, None, tick)
    }

    #[test]
    fn a_million_entries_take_at_most_64_bytes_each() {
        // The slots and tables, computed from their capacities as the allocator sees them.
        let index = Index::new(u64::MAX, Eviction::Lru);
        for id in 0..1_000_000_u64 {
            let hash = index.hash(&id.to_string());
            stored(&mut index.shard(hash), hash, id, 0);
        }
        let bytes: usize = index.shards().map(|shard| shard.allocated_bytes()).sum();
        assert!(bytes <= 64_000_000, "{bytes} bytes");
    }

    #[test]
    fn entries_with_a_mark_are_the_newest_of_the_saved_order() {
        let index = Index::new(u64::MAX, Eviction::Sieve);
        for id in 1..=512_u64 {
            stored(&mut index.shard(id << 32), id << 32, id, index.advance());
        }
        let _ = index.shard(7 << 32).find(7 << 32, index.tick());
        let order = UsageOrder::unpack(&index.packed_usage_order());
        assert_eq!((order.part(1), order.part(7), order.part(8), order.part(512)), (0, 255, 3, 255));
    }
}
