//! An exact LRU by bytes in memory: what a cache of this size could hit at best by that order of eviction.

use std::collections::{BTreeMap, HashMap};

use cache_core::{CacheKey, Invalidation};

/// Keys with the sizes of their values, the least recently used first to go.
#[derive(Debug)]
pub struct Lru {
    capacity: usize,
    bytes: usize,
    /// The last use of each key, and its size.
    entries: HashMap<CacheKey, (u64, usize)>,
    order: BTreeMap<u64, CacheKey>,
    uses: u64,
}

impl Lru {
    /// One that holds so many bytes of values.
    pub fn new(capacity: usize) -> Self {
        let (entries, order) = Default::default();
        Self { capacity, bytes: 0, entries, order, uses: 0 }
    }

    /// Whether `key` is there; afterwards it is.
    pub fn read(&mut self, key: &CacheKey, size: usize) -> bool {
        self.uses += 1;
        let known = self.entries.insert(key.clone(), (self.uses, size));
        if let Some((used, old)) = known {
            self.order.remove(&used);
            self.bytes -= old;
        }
        self.order.insert(self.uses, key.clone());
        self.bytes += size;
        while self.bytes > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.bytes -= self.entries.remove(&oldest).map_or(0, |(_, size)| size);
        }
        known.is_some()
    }

    /// Removes what `what` covers.
    pub fn invalidate(&mut self, what: &Invalidation) {
        let (order, bytes) = (&mut self.order, &mut self.bytes);
        self.entries.retain(|key, (used, size)| {
            let stays = !what.matches(key.as_str());
            if !stays {
                order.remove(used);
                *bytes -= *size;
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::image_keys;

    #[test]
    fn the_least_recently_used_goes_first_and_sizes_count() {
        let keys = image_keys(0, 4);
        let mut lru = Lru::new(30);
        assert!(!lru.read(&keys[0], 10) && !lru.read(&keys[1], 10) && !lru.read(&keys[2], 10));
        assert!(lru.read(&keys[0], 10));
        assert!(!lru.read(&keys[3], 15), "it takes the place of two");
        assert!(lru.read(&keys[0], 10) && !lru.read(&keys[1], 1));
        assert!(!lru.entries.contains_key(&keys[2]));
    }

    #[test]
    fn what_is_invalidated_is_gone_and_leaves_room() {
        let keys = image_keys(0, 2);
        let mut lru = Lru::new(20);
        lru.read(&keys[0], 10);
        lru.read(&keys[1], 10);
        lru.invalidate(&Invalidation::Key(keys[0].clone()));
        assert_eq!((lru.bytes, lru.order.len()), (10, 1));
        assert!(!lru.read(&keys[0], 10) && lru.read(&keys[1], 10));
    }
}
