//! Metrics in a build without the feature `metrics`: none.

use std::time::Duration;

use cache_core::{BackendKind, CacheKey, CacheStats, Clock};

use super::events::{Event, Operation};

/// Start of an operation, which is not measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started;

/// Counts nothing.
#[derive(Debug)]
pub(crate) struct Metrics;

#[expect(clippy::unused_self, reason = "the same interface as with the feature")]
impl Metrics {
    /// Whether the metrics are seen: no.
    pub(crate) const ENABLED: bool = false;

    pub(crate) fn new(_backend: BackendKind) -> Self {
        Self
    }

    pub(crate) fn start(&self, _clock: &dyn Clock) -> Started {
        Started
    }

    pub(crate) fn took(&self, _clock: &dyn Clock, _backend: BackendKind, _operation: Operation, _: Started) {}

    pub(crate) fn show(&self, _stats: &CacheStats, _sessions: Option<u64>) {}

    pub(crate) fn count(&self, _event: Event, _backend: BackendKind, _key: &CacheKey) {}

    pub(crate) fn loaded(&self, _backend: BackendKind, _key: &CacheKey, _taken: Duration) {}

    pub(crate) fn error(&self, _backend: BackendKind, _operation: Operation) {}

    pub(crate) fn invalidated(&self, _backend: BackendKind, _asked: usize, _removed: u64) {}
}
