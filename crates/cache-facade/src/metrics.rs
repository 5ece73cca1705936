//! Metrics through the `metrics` crate (feature `metrics`); the application installs the exporter, before it uses the
//! cache.
//!
//! | name | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `cache_hits_total` | counter | family, backend | reads answered from the cache |
//! | `cache_stale_total` | counter | family, backend | reads answered with a value whose time was over |
//! | `cache_misses_total` | counter | family, backend | reads that were not |
//! | `cache_coalesced_total` | counter | family, backend | misses that waited for another caller's load |
//! | `cache_refreshes_total` | counter | family, backend | loads in the background of values that are old |
//! | `cache_refreshes_failed_total` | counter | family, backend | those that failed |
//! | `cache_refreshes_skipped_total` | counter | family, backend | those that were not begun, because enough others ran |
//! | `cache_load_seconds` | histogram | family, backend | duration of the loads that were run |
//! | `cache_fills_total` | counter | family, backend | loaded values that were stored |
//! | `cache_fills_refused_total` | counter | family, backend | loaded values that an invalidation kept out |
//! | `cache_verified_total` | counter | family, backend | hits that were loaded again and compared (`CACHE_VERIFY`) |
//! | `cache_verify_mismatches_total` | counter | family, backend | those that were not what is loaded now |
//! | `cache_errors_total` | counter | operation, backend | trouble that no caller heard of |
//! | `cache_invalidations_total` | counter | backend | keys, groups and patterns that were invalidated |
//! | `cache_invalidated_entries_total` | counter | backend | entries removed by them |
//! | `cache_operation_seconds` | histogram | operation, backend | how long the store takes for a lookup, a fill, an invalidation |
//! | `cache_size_bytes`, `cache_limit_bytes`, `cache_disk_bytes` | gauge | | space of live entries, the limit, space of files |
//! | `cache_entries`, `cache_entries_bytes` | gauge | family | live entries and their space |
//! | `cache_evictions_total`, `cache_expirations_total`, `cache_corrupt_total` | counter | backend | entries that made room, whose time was over, that were damaged |
//! | `cache_breaker_state` | gauge | | whether Redis is in use: 0; 1: it is being asked; 2: it is away |
//! | `cache_journal_depth` | gauge | | invalidations that Redis has not acknowledged |
//!
//! The last gauges and counters but those of Redis are set by [`Cache::show_stats`](crate::Cache::show_stats), which an exporter calls before
//! it is read.
//!
//! `family` is the first segment of the key; the first 32 families of a process have their own, the rest is `other`.

mod described;
mod figures;
mod stopwatch;

use std::sync::OnceLock;
use std::time::Duration;

use cache_core::panics::contained;
use cache_core::{BackendKind, CacheKey, CacheStats, Clock, FillOutcome, MOST_FAMILIES};
use metrics::{Counter, Histogram, counter, histogram};

pub(crate) use self::stopwatch::Started;
use self::stopwatch::Stopwatch;

use crate::trouble::Operation;

/// A name for families past the 32nd.
const OTHER: &str = "other";

/// Backends a cache switches between, at most.
const KINDS: usize = 6;

/// Counts what a cache does. A hit costs two short searches and an atomic addition: no lock, no allocation.
#[derive(Debug)]
pub(crate) struct Meter {
    families: Box<[OnceLock<Family>]>,
    other: Family,
    stopwatch: Stopwatch,
}

#[derive(Debug)]
struct Family {
    name: String,
    by_backend: [OnceLock<Figures>; KINDS],
}

struct Figures {
    backend: BackendKind,
    hits: Counter,
    misses: Counter,
    coalesced: Counter,
    stale: Counter,
    refreshes: Counter,
    refreshes_skipped: Counter,
    refreshes_failed: Counter,
    loads: Histogram,
    fills: Counter,
    refused: Counter,
    verified: Counter,
    mismatches: Counter,
}

/// The operations that are timed, and whose errors are counted.
const OPERATIONS: [Operation; 5] =
    [Operation::Lookup, Operation::Fill, Operation::Encode, Operation::Place, Operation::Invalidate];

impl Meter {
    /// A meter of a cache over `backend`; describes all metrics to the exporter.
    pub(crate) fn new(backend: BackendKind) -> Self {
        contained(|| described::describe(backend));
        Self {
            families: (0..MOST_FAMILIES).map(|_| OnceLock::new()).collect(),
            other: Family::new(OTHER),
            stopwatch: Stopwatch::default(),
        }
    }

    /// The present, to measure an operation from.
    #[expect(clippy::unused_self, reason = "a build without metrics does not look at the clock")]
    pub(crate) fn start(&self, clock: &dyn Clock) -> Started {
        clock.monotonic()
    }

    pub(crate) fn took(
        &self,
        clock: &dyn Clock,
        backend: BackendKind,
        operation: Operation,
        started: Started,
    ) {
        self.stopwatch.took(clock, backend, operation, started);
    }

    /// Whether anybody sees what is shown: yes.
    #[expect(clippy::unused_self, reason = "the same interface as without the feature")]
    pub(crate) fn shows(&self) -> bool {
        true
    }

    #[expect(clippy::unused_self, reason = "the store itself keeps these figures")]
    pub(crate) fn show(&self, stats: &CacheStats) {
        contained(|| figures::show(stats));
    }

    pub(crate) fn hit(&self, backend: BackendKind, key: &CacheKey) {
        self.with(backend, key, |figures| figures.hits.increment(1));
    }

    pub(crate) fn miss(&self, backend: BackendKind, key: &CacheKey) {
        self.with(backend, key, |figures| figures.misses.increment(1));
    }

    pub(crate) fn coalesced(&self, backend: BackendKind, key: &CacheKey) {
        self.with(backend, key, |figures| figures.coalesced.increment(1));
    }

    pub(crate) fn stale(&self, backend: BackendKind, key: &CacheKey) {
        self.with(backend, key, |figures| figures.stale.increment(1));
    }

    pub(crate) fn refreshed(&self, backend: BackendKind, key: &CacheKey) {
        self.with(backend, key, |figures| figures.refreshes.increment(1));
    }

    pub(crate) fn refresh_skipped(&self, backend: BackendKind, key: &CacheKey) {
        self.with(backend, key, |figures| figures.refreshes_skipped.increment(1));
    }

    pub(crate) fn refresh_failed(&self, backend: BackendKind, key: &CacheKey) {
        self.with(backend, key, |figures| figures.refreshes_failed.increment(1));
    }

    pub(crate) fn verified(&self, backend: BackendKind, key: &CacheKey, differs: bool) {
        self.with(backend, key, |figures| {
            figures.verified.increment(1);
            figures.mismatches.increment(u64::from(differs));
        });
    }

    pub(crate) fn loaded(&self, backend: BackendKind, key: &CacheKey, taken: Duration) {
        self.with(backend, key, |figures| figures.loads.record(taken.as_secs_f64()));
    }

    pub(crate) fn filled(&self, backend: BackendKind, key: &CacheKey, outcome: FillOutcome) {
        self.with(backend, key, |figures| match outcome {
            FillOutcome::Stored => figures.fills.increment(1),
            FillOutcome::Refused => figures.refused.increment(1),
        });
    }

    #[expect(clippy::unused_self, reason = "trouble is rare: its counters are looked up anew")]
    pub(crate) fn error(&self, backend: BackendKind, operation: Operation) {
        contained(|| {
            counter!("cache_errors_total", "operation" => operation.as_str(), "backend" => backend.as_str())
                .increment(1);
        });
    }

    #[expect(clippy::unused_self, reason = "beside an invalidation looking its counters up costs nothing")]
    pub(crate) fn invalidated(&self, backend: BackendKind, asked: usize, removed: u64) {
        contained(|| {
            counter!("cache_invalidations_total", "backend" => backend.as_str()).increment(asked as u64);
            counter!("cache_invalidated_entries_total", "backend" => backend.as_str()).increment(removed);
        });
    }

    fn with(&self, backend: BackendKind, key: &CacheKey, count: impl FnOnce(&Figures)) {
        if let Some(figures) = self.family(key.family()).figures(backend) {
            contained(|| count(figures));
        }
    }

    fn family(&self, name: &str) -> &Family {
        // The slots fill from the front and never change: the first free one is ours unless another was faster.
        self.families
            .iter()
            .map(|slot| slot.get_or_init(|| Family::new(name)))
            .find(|family| family.name == name)
            .unwrap_or(&self.other)
    }
}

impl Family {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), by_backend: [const { OnceLock::new() }; KINDS] }
    }

    fn figures(&self, backend: BackendKind) -> Option<&Figures> {
        self.by_backend
            .iter()
            .map(|slot| slot.get_or_init(|| Figures::new(&self.name, backend)))
            .find(|figures| figures.backend == backend)
    }
}

impl Figures {
    fn new(family: &str, backend: BackendKind) -> Self {
        let labels = [("family", family.to_owned()), ("backend", backend.as_str().to_owned())];
        // Where the recorder panics, what it was asked for is not counted.
        let counted = |name| contained(|| counter!(name, &labels)).unwrap_or_else(Counter::noop);
        Self {
            backend,
            hits: counted("cache_hits_total"),
            misses: counted("cache_misses_total"),
            coalesced: counted("cache_coalesced_total"),
            stale: counted("cache_stale_total"),
            refreshes: counted("cache_refreshes_total"),
            refreshes_skipped: counted("cache_refreshes_skipped_total"),
            refreshes_failed: counted("cache_refreshes_failed_total"),
            loads: contained(|| histogram!("cache_load_seconds", &labels)).unwrap_or_else(Histogram::noop),
            fills: counted("cache_fills_total"),
            refused: counted("cache_fills_refused_total"),
            verified: counted("cache_verified_total"),
            mismatches: counted("cache_verify_mismatches_total"),
        }
    }
}

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Figures").field("backend", &self.backend).finish_non_exhaustive()
    }
}
