//! The counters of a memory store, and the statistics made of them.

use std::collections::BTreeMap;

use super::shelf::Gone;
use crate::entry::BackendKind;
use crate::key::CacheKey;
use crate::stats::{CacheStats, FamilyStats, MOST_FAMILIES};

/// Where families are counted that came after the first 32.
const OTHER: &str = "other";

/// What happened since the store was made.
#[derive(Default)]
pub(super) struct Tally {
    hits: u64,
    misses: u64,
    pub(super) fills: u64,
    pub(super) fills_refused: u64,
    pub(super) evictions: u64,
    pub(super) expirations: u64,
    pub(super) invalidations: u64,
    pub(super) invalidated_entries: u64,
    pub(super) clears: u64,
    pub(super) errors: u64,
    families: BTreeMap<String, FamilyStats>,
}

impl Tally {
    /// A lookup of `key` hit or missed.
    pub(super) fn looked_up(&mut self, key: &CacheKey, is_hit: bool) {
        let hits = u64::from(is_hit);
        self.hits += hits;
        self.misses += 1 - hits;
        let family = self.family(key.family());
        family.hits += hits;
        family.misses += 1 - hits;
    }

    /// An entry of `bytes` was added under `key`.
    pub(super) fn added(&mut self, key: &CacheKey, bytes: u64) {
        let family = self.family(key.family());
        family.count += 1;
        family.bytes += bytes;
    }

    /// An entry was taken away.
    pub(super) fn removed(&mut self, gone: &Gone) {
        let family = self.family(gone.key.family());
        family.count = family.count.saturating_sub(1);
        family.bytes = family.bytes.saturating_sub(gone.bytes);
    }

    /// The statistics of a store that holds `count` entries of `bytes` together.
    pub(super) fn stats(&self, bytes: u64, count: u64, limit_bytes: u64) -> CacheStats {
        CacheStats {
            count,
            fills: self.fills,
            fills_refused: self.fills_refused,
            evictions: self.evictions,
            expirations: self.expirations,
            invalidations: self.invalidations,
            invalidated_entries: self.invalidated_entries,
            clears: self.clears,
            errors: self.errors,
            families: self.families.clone(),
            ..CacheStats::empty(BackendKind::Memory)
                .with_size(bytes, limit_bytes)
                .with_lookups(self.hits, self.misses)
        }
    }

    fn family(&mut self, name: &str) -> &mut FamilyStats {
        // A family keeps the name it was first counted under, so that sums stay right.
        let is_named = self.families.contains_key(name) || self.named() < MOST_FAMILIES;
        self.families.entry(if is_named { name } else { OTHER }.to_owned()).or_default()
    }

    fn named(&self) -> usize {
        self.families.len() - usize::from(self.families.contains_key(OTHER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_past_the_limit_are_counted_together() {
        let mut tally = Tally::default();
        let keys: Vec<_> =
            (0..40).map(|n| CacheKey::builder(format!("family{n}"), n).build().unwrap()).collect();
        for key in &keys {
            tally.looked_up(key, false);
            tally.added(key, 10);
        }
        assert_eq!(tally.families.len(), MOST_FAMILIES + 1);
        assert_eq!(tally.families[OTHER], FamilyStats { hits: 0, misses: 8, count: 8, bytes: 80 });
        for key in keys {
            tally.removed(&Gone { key, bytes: 10 });
        }
        assert!(tally.families.values().all(|family| family.count == 0 && family.bytes == 0));
    }
}
