//! The index in memory: the truth for what hits, in the order of use.
//!
//! It answers a miss without I/O and tells a hit where its rows are. 64 shards, each behind a lock of its own; an entry
//! stands in the shard that its key's seeded hash names.

mod causes;
mod families;
mod shard;

use std::collections::BinaryHeap;
use std::sync::Arc;

use cache_core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use cache_core::sync::{Mutex, MutexGuard};
use cache_core::{MissCause, Timestamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use families::{Families, FamilyCounts};
pub(crate) use shard::{Found, Incoming, Oldest, Pending, Removed, Shard};

const SHARDS: usize = 64;

/// The index; see the module's documentation.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[Mutex<Shard>]>,
    pub(crate) families: Families,
    /// Counts insertions: the clock by which entries of different shards are compared.
    tick: AtomicU32,
    /// Sum of the costs of all entries, in bytes.
    cost: Arc<AtomicU64>,
    seed: u64,
    /// All ones, but in tests that want collisions.
    mask: u64,
}

/// Figures summed over all shards.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) count: u64,
    pub(crate) cost: u64,
    pub(crate) families: FamilyCounts,
}

impl Index {
    pub(crate) fn new(mask: u64) -> Self {
        let cost = Arc::new(AtomicU64::new(0));
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(Arc::clone(&cost)))).collect(),
            cost,
            families: Families::default(),
            tick: AtomicU32::new(0),
            seed: cache_core::random_nonzero().get(),
            mask,
        }
    }

    /// The hash by which `key` is known here; another in every process.
    pub(crate) fn hash(&self, key: &str) -> u64 {
        xxh3_64_with_seed(key.as_bytes(), self.seed) & self.mask
    }

    /// The shard in which `hash` stands, locked.
    pub(crate) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The table inside a shard uses the lowest and the highest bits.
        let at = (hash >> 32) as usize % SHARDS;
        self.shards.get(at).expect("reduced to the number of shards").lock()
    }

    /// All shards, one after the other; each is locked by the caller.
    pub(crate) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(Mutex::lock)
    }

    /// The time now, in insertions.
    pub(crate) fn tick(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Counts an insertion.
    pub(crate) fn advance(&self) -> u32 {
        self.tick.fetch_add(1, Ordering::Relaxed)
    }

    /// Figures of all shards. Locks each once.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals { cost: self.cost(), ..Totals::default() };
        for shard in self.shards() {
            totals.count += shard.len() as u64;
            totals.families.add(&shard.counts);
        }
        totals
    }

    /// Sum of the costs of all entries, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.cost.load(Ordering::Relaxed)
    }

    /// Removes what has expired.
    pub(crate) fn remove_expired(&self, now: Timestamp) -> Vec<Removed> {
        let mut removed = Vec::new();
        for mut shard in self.shards() {
            while let Some(expired) = shard.remove_expired(now) {
                shard.causes.record(expired.hash, MissCause::Expired);
                removed.push(expired);
            }
        }
        removed
    }

    /// Hands out entries from the least recently used on.
    pub(crate) fn victims(&self) -> Victims<'_> {
        let now = self.tick();
        let oldest = self.shards().filter_map(|mut shard| shard.oldest());
        let queue = oldest.map(|oldest| Candidate { age: now.wrapping_sub(oldest.tick), oldest }).collect();
        Victims { index: self, now, queue }
    }
}

/// Takes entries out of the index in the order of their last use, over all shards.
#[derive(Debug)]
pub(crate) struct Victims<'a> {
    index: &'a Index,
    now: u32,
    /// The oldest entry of each shard as it was when it was looked at; it can only have become younger since.
    queue: BinaryHeap<Candidate>,
}

#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    age: u32,
    oldest: Oldest,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Of two used within one insertion, the one that was stored first.
        (self.age, other.oldest.id).cmp(&(other.age, self.oldest.id))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Iterator for Victims<'_> {
    type Item = Removed;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let candidate = self.queue.pop()?;
            let mut shard = self.index.shard(candidate.oldest.hash);
            let is_current = shard.oldest() == Some(candidate.oldest);
            let victim = if is_current { shard.remove(candidate.oldest.hash) } else { None };
            if let Some(victim) = &victim {
                shard.causes.record(victim.hash, MissCause::Evicted);
            }
            if let Some(oldest) = shard.oldest() {
                self.queue.push(Candidate { age: self.now.wrapping_sub(oldest.tick), oldest });
            }
            if victim.is_some() {
                return victim;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::families::FamilyId;
    use super::*;

    fn stored(hash: u64, id: u64) -> Incoming {
        Incoming { hash, id, family: FamilyId::OTHER, cost: 10, expires_at: None, pending: None }
    }

    #[test]
    fn victims_come_in_the_order_of_use_over_all_shards() {
        let index = Index::new(u64::MAX);
        let hash = |id: u64| index.hash(&id.to_string());
        for id in 0..1000 {
            let tick = index.advance();
            index.shard(hash(id)).insert(stored(hash(id), id), tick);
        }
        for id in (0..1000).step_by(2) {
            let tick = index.advance();
            index.shard(hash(id)).find(hash(id), tick);
        }
        let order: Vec<u64> = index.victims().map(|removed| removed.id).collect();
        let expected: Vec<u64> = (1..1000).step_by(2).chain((0..1000).step_by(2)).collect();
        assert_eq!(order, expected);
        assert_eq!(index.cost(), 0);
    }

    #[test]
    fn a_million_entries_take_at_most_64_bytes_each() {
        // What the slots and tables allocate, computed from their capacities as the allocator sees them.
        let index = Index::new(u64::MAX);
        for id in 0..1_000_000_u64 {
            let hash = index.hash(&id.to_string());
            index.shard(hash).insert(stored(hash, id), 0);
        }
        let bytes: usize = index.shards().map(|shard| shard.allocated_bytes()).sum();
        assert!(bytes <= 64_000_000, "{bytes} bytes");
    }
}
