//! [`CacheStats`]: size, hit ratio and counters of a cache, read in O(1).

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::entry::BackendKind;

/// Bytes in a megabyte, in every setting and figure.
pub const MEGABYTE: u64 = 1_048_576;

/// Key families that are counted by name; the others are counted together as `other`.
pub const MOST_FAMILIES: usize = 32;

/// Figures of a cache. Counters start at zero in each process.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CacheStats {
    /// Space taken by live entries, in bytes; it drops when they are cleared.
    pub size_bytes: u64,
    /// `size_bytes` in megabytes of 1,048,576 bytes, rounded to two decimals.
    pub size_mb: f64,
    /// The limit in whole megabytes.
    pub limit_mb: u64,
    /// `size_bytes` of the limit, 0 to 100, rounded to two decimals.
    pub usage_percent: f64,
    /// Live entries.
    pub count: u64,
    /// Space taken on disk in bytes, as `du` counts it; 0 without files.
    pub disk_bytes: u64,
    /// The store that reports these figures.
    pub backend: BackendKind,
    /// Whether `size_bytes` and `count` are estimates.
    pub approximate: bool,
    /// Lookups that found a live entry.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Hits of all lookups, 0 to 1, rounded to four decimals; 0 before the first.
    pub hit_ratio: f64,
    /// Values stored by fills.
    pub fills: u64,
    /// Fills refused, because the value may have been older than an invalidation.
    pub fills_refused: u64,
    /// Live entries removed to make room for others.
    pub evictions: u64,
    /// Entries removed because they had expired.
    pub expirations: u64,
    /// Invalidations of keys, groups and patterns.
    pub invalidations: u64,
    /// Entries removed by them.
    pub invalidated_entries: u64,
    /// How often everything was cleared.
    pub clears: u64,
    /// Stored entries that were damaged and counted as misses.
    pub corrupt: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Figures by key family (first segment); at most 32 by name, the rest as `other`.
    pub families: BTreeMap<String, FamilyStats>,
    /// Figures of the memory in front of the store, where it has one. Its hits are among `hits`.
    pub near: Option<NearStats>,
}

/// Figures of the memory in front of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NearStats {
    /// Lookups that found their value in memory.
    pub hits: u64,
    /// Values that were dropped because an invalidation of their group came after they were read.
    pub outdated: u64,
    /// Values in memory, also those that an invalidation has made unservable and that no lookup has met since.
    pub entries: u64,
    /// Space they take, in bytes.
    pub bytes: u64,
    /// The limit of that space.
    pub limit_bytes: u64,
    /// How often the lease ended because the store did not answer in time.
    pub lapses: u64,
    /// Registrations at the store.
    pub sessions: u64,
    /// Sessions of other instances that were removed because they were silent.
    pub removed_sessions: u64,
    /// Invalidations that waited for other instances.
    pub waits: u64,
    /// How long they waited together, in milliseconds.
    pub waited_ms: u64,
}

/// Figures of one key family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FamilyStats {
    /// Lookups that found a live entry.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Live entries.
    pub count: u64,
    /// Space they take, in bytes.
    pub bytes: u64,
}

impl CacheStats {
    /// Makes figures of `backend` that are all zero.
    pub fn empty(backend: BackendKind) -> Self {
        Self { backend, ..Self::default() }
    }

    /// Sets the size and the limit, both in bytes, and the figures that follow from them.
    #[must_use]
    pub fn with_size(mut self, size_bytes: u64, limit_bytes: u64) -> Self {
        self.size_bytes = size_bytes;
        self.size_mb = rounded(size_bytes as f64 / MEGABYTE as f64, 100.0);
        self.limit_mb = limit_bytes / MEGABYTE;
        let share = if limit_bytes == 0 { 0.0 } else { size_bytes as f64 / limit_bytes as f64 };
        self.usage_percent = rounded(share * 100.0, 100.0).clamp(0.0, 100.0);
        self
    }

    /// Sets hits, misses and the ratio that follows from them.
    #[must_use]
    pub fn with_lookups(mut self, hits: u64, misses: u64) -> Self {
        self.hits = hits;
        self.misses = misses;
        let lookups = hits.saturating_add(misses);
        self.hit_ratio = if lookups == 0 { 0.0 } else { rounded(hits as f64 / lookups as f64, 10_000.0) };
        self
    }
}

/// One line for people: `disk: 12 entries, 0.5 of 1000 MB, 90.0 % hits of 40 lookups`.
impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, count, size_mb, limit_mb, hits, misses, hit_ratio, errors, .. } = self;
        write!(f, "{backend}: {count} entries, {size_mb} of {limit_mb} MB")?;
        write!(f, ", {:.1} % hits of {} lookups", hit_ratio * 100.0, hits.saturating_add(*misses))?;
        if *errors > 0 {
            write!(f, ", {errors} errors")?;
        }
        Ok(())
    }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fields_have_the_names_and_order_that_operators_know() {
        let json = serde_json::to_string(&CacheStats::empty(BackendKind::Null)).unwrap();
        assert!(json.starts_with(
            r#"{"size_bytes":0,"size_mb":0.0,"limit_mb":0,"usage_percent":0.0,"count":0,"disk_bytes":0,"backend":"none""#
        ));
    }

    #[test]
    fn derived_figures_are_rounded_and_bounded() {
        let stats =
            CacheStats::empty(BackendKind::Disk).with_size(1_572_865, 8 * MEGABYTE).with_lookups(1, 2);
        assert_eq!((stats.size_mb, stats.limit_mb, stats.usage_percent), (1.5, 8, 18.75));
        assert!((stats.hit_ratio - 0.3333).abs() < 1e-9);
        assert_eq!(stats.to_string(), "disk: 0 entries, 1.5 of 8 MB, 33.3 % hits of 3 lookups");
        let over = CacheStats::empty(BackendKind::Redis).with_size(9, 3).with_lookups(0, 0);
        assert_eq!((over.usage_percent, over.hit_ratio), (100.0, 0.0));
    }
}
