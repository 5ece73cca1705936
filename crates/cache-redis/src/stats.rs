//! Figures: what this process did, exactly; what the server holds, by the last sweep and what this process did since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use cache_core::{BackendKind, CacheStats, FamilyStats, MOST_FAMILIES};

/// Where families are counted that came after the first 32.
const OTHER: &str = "other";

/// So few changes are not worth a sweep.
const FEW: u64 = 1000;

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    fn take(&self, count: u64) {
        let less = |held: u64| Some(held.saturating_sub(count));
        // It is always some.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// See [`CacheStats`] for what each counts.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) fills: Counter,
    pub(crate) fills_refused: Counter,
    pub(crate) expirations: Counter,
    pub(crate) invalidations: Counter,
    pub(crate) invalidated_entries: Counter,
    pub(crate) clears: Counter,
    pub(crate) corrupt: Counter,
    pub(crate) errors: Counter,
    /// Entries that were stored or removed since the last sweep, and how many that found.
    changes: Counter,
    found: Counter,
    /// A new map with each new family, of which there are few: readers share no lock.
    families: ArcSwap<BTreeMap<Box<str>, Arc<Family>>>,
}

#[derive(Debug, Default)]
struct Family {
    hits: Counter,
    misses: Counter,
    count: Counter,
    bytes: Counter,
}

impl Stats {
    pub(crate) fn looked_up(&self, family: &str, is_hit: bool) {
        let count = |family: &Family| if is_hit { family.hits.add(1) } else { family.misses.add(1) };
        // Every hit comes by here: no reference is counted where the family is known.
        if let Some(family) = self.families.load().get(family) {
            return count(family);
        }
        count(&self.family(family));
    }

    /// So many lookups in one family hit, and so many missed.
    fn looked_up_often(&self, family: &str, hits: u64, misses: u64) {
        let family = self.family(family);
        family.hits.add(hits);
        family.misses.add(misses);
    }

    /// A value of `bytes` was stored, in the place of an older one of `replaced` if there was one.
    pub(crate) fn stored(&self, family: &str, bytes: u64, replaced: Option<u64>) {
        let family = self.family(family);
        if let Some(replaced) = replaced {
            family.bytes.take(replaced);
        } else {
            family.count.add(1);
            self.changes.add(1);
        }
        family.bytes.add(bytes);
    }

    /// About so many entries of a family were removed.
    pub(crate) fn removed(&self, family: &str, entries: u64) {
        let family = self.family(family);
        let (count, bytes) = (family.count.get(), family.bytes.get());
        let gone = entries.min(count);
        // Each takes the average of its family.
        family.bytes.take(if count == gone { bytes } else { bytes / count.max(1) * gone });
        family.count.take(gone);
        self.changes.add(entries);
    }

    /// What a sweep found, by family: entries and bytes.
    pub(crate) fn swept(&self, found: &BTreeMap<String, (u64, u64)>) {
        self.changes.set(0);
        self.found.set(found.values().map(|(count, _)| count).sum());
        for family in self.families.load().values() {
            family.count.set(0);
            family.bytes.set(0);
        }
        for (name, (count, bytes)) in found {
            let family = self.family(name);
            family.count.add(*count);
            family.bytes.add(*bytes);
        }
    }

    /// Whether so much was stored and removed since the last sweep that what nobody tells this process (expiry, eviction,
    /// what other instances do, leases that went with a group) may have led the sizes far astray. So a sweep costs no
    /// more for each change than it costs for each entry.
    pub(crate) fn have_drifted(&self) -> bool {
        self.changes.get() > self.found.get().max(FEW)
    }

    pub(crate) fn read(&self, limit_bytes: u64) -> CacheStats {
        let mut families = BTreeMap::new();
        let mut sum = FamilyStats::default();
        for (name, family) in self.families.load().iter() {
            let Family { hits, misses, count, bytes } = &**family;
            let stats = FamilyStats {
                hits: hits.get(),
                misses: misses.get(),
                count: count.get(),
                bytes: bytes.get(),
            };
            sum.hits += stats.hits;
            sum.misses += stats.misses;
            sum.count += stats.count;
            sum.bytes += stats.bytes;
            families.insert(name.to_string(), stats);
        }
        CacheStats {
            count: sum.count,
            approximate: true,
            fills: self.fills.get(),
            fills_refused: self.fills_refused.get(),
            expirations: self.expirations.get(),
            invalidations: self.invalidations.get(),
            invalidated_entries: self.invalidated_entries.get(),
            clears: self.clears.get(),
            corrupt: self.corrupt.get(),
            errors: self.errors.get(),
            families,
            ..CacheStats::empty(BackendKind::Redis)
                .with_size(sum.bytes, limit_bytes)
                .with_lookups(sum.hits, sum.misses)
        }
    }

    fn family(&self, name: &str) -> Arc<Family> {
        if let Some(family) = self.families.load().get(name) {
            return Arc::clone(family);
        }
        let added: Arc<Family> = Arc::default();
        let mut counted = Arc::clone(&added);
        self.families.rcu(|families| {
            let named = families.len() - usize::from(families.contains_key(OTHER));
            let is_named = families.contains_key(name) || named < MOST_FAMILIES;
            let mut families = BTreeMap::clone(families);
            let family = families.entry(if is_named { name } else { OTHER }.into());
            counted = Arc::clone(family.or_insert_with(|| Arc::clone(&added)));
            families
        });
        counted
    }
}

/// Counts the lookups of a batch, whose keys are mostly of one family.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    stats: &'a Stats,
    family: &'a str,
    hits: u64,
    misses: u64,
}

impl<'a> Tally<'a> {
    pub(crate) fn of(stats: &'a Stats) -> Self {
        Self { stats, family: "", hits: 0, misses: 0 }
    }

    pub(crate) fn looked_up(&mut self, family: &'a str, is_hit: bool) {
        if family != self.family {
            self.flush();
            self.family = family;
        }
        self.hits += u64::from(is_hit);
        self.misses += u64::from(!is_hit);
    }

    fn flush(&mut self) {
        if self.hits + self.misses > 0 {
            self.stats.looked_up_often(self.family, self.hits, self.misses);
            (self.hits, self.misses) = (0, 0);
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_and_removed_shows_in_the_sizes() {
        let stats = Stats::default();
        stats.stored("image", 100, None);
        stats.stored("image", 300, None);
        stats.stored("image", 200, Some(100));
        let read = stats.read(1 << 20);
        assert_eq!((read.count, read.size_bytes, read.limit_mb, read.approximate), (2, 500, 1, true));
        stats.removed("image", 1);
        assert_eq!(stats.read(1).size_bytes, 250);
        stats.removed("image", 5);
        let read = stats.read(1);
        assert_eq!((read.count, read.size_bytes), (0, 0));
    }

    #[test]
    fn a_sweep_sets_the_sizes_and_leaves_the_counters() {
        let stats = Stats::default();
        stats.looked_up("image", true);
        stats.stored("image", 100, None);
        stats.swept(&BTreeMap::from([("thumbnail".to_owned(), (7, 70))]));
        let read = stats.read(1);
        assert_eq!((read.count, read.size_bytes, read.hits), (7, 70, 1));
    }

    #[test]
    fn sizes_are_swept_again_after_as_many_changes_as_there_are_entries() {
        let stats = Stats::default();
        let change = |count: u64| (0..count).for_each(|_| stats.stored("image", 100, None));
        change(FEW);
        assert!(!stats.have_drifted());
        change(1);
        assert!(stats.have_drifted());
        stats.swept(&BTreeMap::from([("image".to_owned(), (3 * FEW, 1))]));
        change(2 * FEW);
        stats.removed("image", FEW);
        assert!(!stats.have_drifted());
        stats.removed("image", 1);
        assert!(stats.have_drifted());
    }

    #[test]
    fn the_thirty_third_family_and_all_later_ones_are_other() {
        let stats = Stats::default();
        for n in 0..40 {
            stats.looked_up(&format!("family{n:02}"), false);
        }
        let families = stats.read(1).families;
        assert_eq!((families.len(), families["other"].misses), (MOST_FAMILIES + 1, 8));
    }
}
