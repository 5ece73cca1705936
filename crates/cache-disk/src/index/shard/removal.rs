//! Removing many entries of a shard at once.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::mem;

use cache_core::{MissCause, Timestamp};
use hashbrown::HashTable;

use super::{ENDS, ENDS_ALONE, PendingRemoval, Shard, Slot, Unwritten};
use crate::store::Meta;

impl Shard {
    /// Removes unwritten entries whose keys `matches`; returns how many.
    pub(crate) fn remove_unwritten(
        &mut self,
        matches: impl Fn(&str) -> bool,
        hash_of: impl Fn(&str) -> u64,
    ) -> u64 {
        let keys = self.unwritten.iter().map(|(id, unwritten)| (*id, unwritten.key.as_str()));
        let found: Vec<(u64, u64)> =
            keys.filter(|(_, key)| matches(key)).map(|(id, key)| (hash_of(key), id)).collect();
        let removed =
            found.iter().filter_map(|(hash, id)| self.remove_if(*hash, *id, MissCause::Invalidated));
        removed.count() as u64
    }

    /// Removes the entries whose ids are below `id`.
    pub(in crate::index) fn remove_below(&mut self, id: u64) -> Vec<PendingRemoval> {
        let old = self.table.iter().map(|at| self.slot(*at)).filter(|slot| slot.id() < id);
        let hashes: Vec<u64> = old.map(|slot| slot.hash).collect();
        hashes.into_iter().filter_map(|hash| self.remove(hash, MissCause::Evicted)).collect()
    }

    /// Removes all stored entries; returns how many.
    ///
    /// # Cost
    /// Looks only at the entries that are not written yet: a million stored ones are forgotten with their table.
    pub(crate) fn remove_stored(&mut self, now: u32, hash_of: impl Fn(&str) -> u64) -> u64 {
        let before = self.table.len();
        let unwritten = mem::take(&mut self.unwritten);
        let slot_of = |unwritten: &Unwritten| self.position(hash_of(unwritten.key.as_str()));
        let mut kept: Vec<(Slot, Unwritten, Option<Timestamp>)> = unwritten
            .into_values()
            .filter_map(|unwritten| {
                let slot = *self.slot(slot_of(&unwritten)?);
                Some((slot, unwritten, self.expires.get(&slot.id()).copied()))
            })
            .collect();
        for of_family in self.counts.all() {
            (of_family.count, of_family.bytes) = (0, 0);
        }
        self.total.subtract(mem::take(&mut self.cost));
        self.table = HashTable::new();
        self.slots = vec![ENDS_ALONE];
        self.unused = Vec::new();
        self.touched.clear();
        self.hand = ENDS;
        self.expires = HashMap::new();
        self.expiring = BTreeSet::new();
        let removed = before - kept.len();
        kept.sort_unstable_by_key(|(slot, ..)| (Reverse(super::age(now, slot.tick)), slot.id()));
        for (slot, unwritten, expires_at) in kept {
            let meta = Meta { at: slot.location(), expires_at };
            let at = self.add(slot.hash, slot.family(), meta, Some(unwritten), slot.tick);
            self.link_behind(at, ENDS);
        }
        removed as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::family_counters::FamilyId;
    use cache_core::sync::atomic::Ordering;
    use cache_core::{CacheKey, Eviction};

    use super::*;
    use crate::index::shard::Found;
    use crate::index::tests::stored;
    use crate::store::Location;

    #[test]
    fn entries_that_are_not_written_yet_stay_when_the_stored_ones_go() {
        let mut shard = Shard::new(Arc::default(), Eviction::Lru);
        for id in 1..=9 {
            stored(&mut shard, id * 100, id, 0);
        }
        let hash_of = |key: &str| 1000 + key.len() as u64;
        let entry = cache_core::NewEntry::new("v").stored_at(Timestamp::from_millis(1));
        for id in 10..20 {
            let key = CacheKey::parse(&format!("image:{}", "1".repeat(id))).unwrap();
            let (hash, id) = (hash_of(key.as_str()), id as u64);
            let meta = Meta { at: Location { id, size: 10 }, expires_at: Some(Timestamp::from_millis(9)) };
            let unwritten = Unwritten { key, entry: entry.clone() };
            shard.insert(hash, FamilyId::OTHER, meta, Some(unwritten), 1);
        }
        let used = hash_of(&format!("image:{}", "1".repeat(12)));
        shard.find(used, 2);
        assert_eq!(shard.remove_stored(3, hash_of), 9);
        let order: Vec<u64> = shard.order().map(|(.., id)| id).collect();
        assert_eq!(order, [10, 11, 13, 14, 15, 16, 17, 18, 19, 12], "the order of use has changed");
        assert_eq!((shard.counts.of(FamilyId::OTHER).count, shard.slots.len()), (10, 11));
        assert!(matches!(shard.find(used, 2), Some((_, Found::Unwritten(_)))));
        while shard.remove_expired(Timestamp::from_millis(10)).is_some() {}
        assert_eq!((shard.len(), shard.total.rows.load(Ordering::Relaxed)), (0, 0));
    }
}
