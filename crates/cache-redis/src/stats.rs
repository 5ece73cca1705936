//! [`Stats`]: counters of this process, and the sizes of the last count with the changes that this process made since.

use std::collections::BTreeMap;

use cache_core::family_counters::{FamilyCounters, FamilyNames};
use cache_core::{BackendKind, CacheStats};
use parking_lot::Mutex;

/// The fewest changes after which the entries are counted again.
const FEW: u64 = 1000;

#[derive(Debug)]
pub(crate) struct Stats {
    names: FamilyNames,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// All but lookups and sizes, which are counted by family.
    totals: CacheStats,
    families: FamilyCounters,
    /// Entries that were stored or removed since the last count.
    changes: u64,
    /// Entries at the last count.
    entries: u64,
}

impl Default for Stats {
    fn default() -> Self {
        let totals = CacheStats { approximate: true, ..CacheStats::empty(BackendKind::Redis) };
        let counts = Counts { totals, families: FamilyCounters::default(), changes: 0, entries: 0 };
        Self { names: FamilyNames::default(), counts: Mutex::new(counts) }
    }
}

impl Stats {
    /// Adds to the totals.
    pub(crate) fn add(&self, count: impl FnOnce(&mut CacheStats)) {
        count(&mut self.counts.lock().totals);
    }

    /// Counts lookups, given by family and whether they hit.
    pub(crate) fn looked_up<'a>(&self, lookups: impl IntoIterator<Item = (&'a str, bool)>) {
        let mut counts = self.counts.lock();
        for (family, is_hit) in lookups {
            let family = counts.families.of(self.names.id(family));
            *(if is_hit { &mut family.hits } else { &mut family.misses }) += 1;
        }
    }

    /// Counts a value of `bytes`, which replaced one of `replaced` bytes; 0 for none.
    pub(crate) fn stored(&self, family: &str, bytes: u64, replaced: u64) {
        let Counts { families, changes, .. } = &mut *self.counts.lock();
        let family = families.of(self.names.id(family));
        family.bytes = family.bytes.saturating_sub(replaced) + bytes;
        if replaced == 0 {
            family.count += 1;
            *changes += 1;
        }
    }

    /// Counts the removal of about `entries` of a family.
    pub(crate) fn removed(&self, family: &str, entries: u64) {
        let Counts { families, changes, .. } = &mut *self.counts.lock();
        let family = families.of(self.names.id(family));
        let gone = entries.min(family.count);
        // Each entry has the average size of its family.
        family.bytes -= if gone == family.count { family.bytes } else { family.bytes / family.count * gone };
        family.count -= gone;
        *changes += entries;
    }

    /// Replaces the sizes by those of a complete count: entries and bytes by family.
    pub(crate) fn counted(&self, found: &BTreeMap<String, (u64, u64)>) {
        let Counts { families, changes, entries, .. } = &mut *self.counts.lock();
        (*changes, *entries) = (0, found.values().map(|(count, _)| count).sum());
        families.all().for_each(|family| (family.count, family.bytes) = (0, 0));
        for (name, (count, bytes)) in found {
            let family = families.of(self.names.id(name));
            family.count += count;
            family.bytes += bytes;
        }
    }

    /// Whether so much was stored and removed since the last count that the sizes are probably wrong: this process does not
    /// see expiry, eviction, the changes of other instances and leases that went with a group. So a count costs no more for
    /// each change than for each entry.
    pub(crate) fn have_drifted(&self) -> bool {
        let counts = self.counts.lock();
        counts.changes > counts.entries.max(FEW)
    }

    pub(crate) fn read(&self, limit_bytes: u64) -> CacheStats {
        let counts = self.counts.lock();
        let (sum, families) = (counts.families.total(), counts.families.named(&self.names));
        CacheStats { count: sum.count, families, ..counts.totals.clone() }
            .with_size(sum.bytes, limit_bytes)
            .with_lookups(sum.hits, sum.misses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_and_removed_values_change_the_sizes() {
        let stats = Stats::default();
        stats.stored("image", 100, 0);
        stats.stored("image", 300, 0);
        stats.stored("image", 200, 100);
        let read = stats.read(1 << 20);
        assert_eq!((read.count, read.size_bytes, read.limit_mb, read.approximate), (2, 500, 1, true));
        stats.removed("image", 1);
        assert_eq!(stats.read(1).size_bytes, 250);
        stats.removed("image", 5);
        let read = stats.read(1);
        assert_eq!((read.count, read.size_bytes), (0, 0));
    }

    #[test]
    fn a_count_replaces_the_sizes_and_leaves_the_counters() {
        let stats = Stats::default();
        stats.looked_up([("image", true)]);
        stats.stored("image", 100, 0);
        stats.counted(&BTreeMap::from([("thumbnail".to_owned(), (7, 70))]));
        let read = stats.read(1);
        assert_eq!((read.count, read.size_bytes, read.hits), (7, 70, 1));
    }

    #[test]
    fn entries_are_counted_again_after_as_many_changes_as_there_are_entries() {
        let stats = Stats::default();
        let change = |count: u64| (0..count).for_each(|_| stats.stored("image", 100, 0));
        change(FEW);
        assert!(!stats.have_drifted());
        change(1);
        assert!(stats.have_drifted());
        stats.counted(&BTreeMap::from([("image".to_owned(), (3 * FEW, 1))]));
        change(2 * FEW);
        stats.removed("image", FEW);
        assert!(!stats.have_drifted());
        stats.removed("image", 1);
        assert!(stats.have_drifted());
    }
}
