//! Counters of this process that do not belong to a family.

use cache_core::sync::atomic::{AtomicU64, Ordering};

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
}

/// See [`CacheStats`](cache_core::CacheStats) for what each counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fills: Counter,
    pub(crate) fills_refused: Counter,
    pub(crate) evictions: Counter,
    pub(crate) expirations: Counter,
    pub(crate) invalidations: Counter,
    pub(crate) invalidated_entries: Counter,
    pub(crate) clears: Counter,
    pub(crate) corrupt: Counter,
    pub(crate) errors: Counter,
}
