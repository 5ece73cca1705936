//! Metrics in a build without the feature `metrics`: nothing at all.

use std::time::Duration;

use cache_core::{BackendKind, CacheKey, CacheStats, Clock, FillOutcome};

use crate::trouble::Operation;

/// When an operation began: nobody asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started;

/// Counts nothing.
#[derive(Debug)]
pub(crate) struct Meter;

#[expect(clippy::unused_self, reason = "the same interface as with the feature")]
impl Meter {
    pub(crate) fn new(_backend: BackendKind) -> Self {
        Self
    }

    pub(crate) fn start(&self, _clock: &dyn Clock) -> Started {
        Started
    }

    pub(crate) fn took(&self, _clock: &dyn Clock, _backend: BackendKind, _operation: Operation, _: Started) {}

    /// Whether anybody sees what is shown: no.
    pub(crate) fn shows(&self) -> bool {
        false
    }

    pub(crate) fn show(&self, _stats: &CacheStats) {}

    pub(crate) fn hit(&self, _backend: BackendKind, _key: &CacheKey) {}

    pub(crate) fn miss(&self, _backend: BackendKind, _key: &CacheKey) {}

    pub(crate) fn coalesced(&self, _backend: BackendKind, _key: &CacheKey) {}

    pub(crate) fn loaded(&self, _backend: BackendKind, _key: &CacheKey, _taken: Duration) {}

    pub(crate) fn filled(&self, _backend: BackendKind, _key: &CacheKey, _outcome: FillOutcome) {}

    pub(crate) fn error(&self, _backend: BackendKind, _operation: Operation) {}

    pub(crate) fn invalidated(&self, _backend: BackendKind, _asked: usize, _removed: u64) {}

    pub(crate) fn stale(&self, _backend: BackendKind, _key: &CacheKey) {}

    pub(crate) fn refreshed(&self, _backend: BackendKind, _key: &CacheKey) {}

    pub(crate) fn refresh_skipped(&self, _backend: BackendKind, _key: &CacheKey) {}

    pub(crate) fn refresh_failed(&self, _backend: BackendKind, _key: &CacheKey) {}

    pub(crate) fn verified(&self, _backend: BackendKind, _key: &CacheKey, _differs: bool) {}
}
