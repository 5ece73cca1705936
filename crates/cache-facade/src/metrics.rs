//! Metrics through the `metrics` crate (feature `metrics`); the application installs the exporter, before it uses the
//! cache.
//!
//! | name | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `cache_hits_total` | counter | family, backend | reads answered from the cache |
//! | `cache_misses_total` | counter | family, backend | reads that were not |
//! | `cache_coalesced_total` | counter | family, backend | misses that waited for another caller's load |
//! | `cache_load_seconds` | histogram | family, backend | duration of the loads that were run |
//! | `cache_fills_total` | counter | family, backend | loaded values that were stored |
//! | `cache_fills_refused_total` | counter | family, backend | loaded values that an invalidation kept out |
//! | `cache_errors_total` | counter | operation, backend | trouble that no caller heard of |
//! | `cache_invalidations_total` | counter | backend | keys, groups and patterns that were invalidated |
//! | `cache_invalidated_entries_total` | counter | backend | entries removed by them |
//! | `cache_breaker_state` | gauge | | whether Redis is in use: 0; 1: it is being asked; 2: it is away |
//! | `cache_journal_depth` | gauge | | invalidations that Redis has not acknowledged |
//!
//! `family` is the first segment of the key; the first 32 families of a process have their own, the rest is `other`.

use std::sync::OnceLock;
use std::time::Duration;

use cache_core::{BackendKind, CacheKey, FillOutcome, MOST_FAMILIES};
use metrics::{Counter, Histogram, counter, histogram};

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
    loads: Histogram,
    fills: Counter,
    refused: Counter,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { families: (0..MOST_FAMILIES).map(|_| OnceLock::new()).collect(), other: Family::new(OTHER) }
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
        counter!("cache_errors_total", "operation" => operation.as_str(), "backend" => backend.as_str())
            .increment(1);
    }

    #[expect(clippy::unused_self, reason = "beside an invalidation looking its counters up costs nothing")]
    pub(crate) fn invalidated(&self, backend: BackendKind, asked: usize, removed: u64) {
        counter!("cache_invalidations_total", "backend" => backend.as_str()).increment(asked as u64);
        counter!("cache_invalidated_entries_total", "backend" => backend.as_str()).increment(removed);
    }

    fn with(&self, backend: BackendKind, key: &CacheKey, count: impl FnOnce(&Figures)) {
        if let Some(figures) = self.family(key.family()).figures(backend) {
            count(figures);
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
        let name = backend.as_str();
        Self {
            backend,
            hits: counter!("cache_hits_total", "family" => family.to_owned(), "backend" => name),
            misses: counter!("cache_misses_total", "family" => family.to_owned(), "backend" => name),
            coalesced: counter!("cache_coalesced_total", "family" => family.to_owned(), "backend" => name),
            loads: histogram!("cache_load_seconds", "family" => family.to_owned(), "backend" => name),
            fills: counter!("cache_fills_total", "family" => family.to_owned(), "backend" => name),
            refused: counter!("cache_fills_refused_total", "family" => family.to_owned(), "backend" => name),
        }
    }
}

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Figures").field("backend", &self.backend).finish_non_exhaustive()
    }
}
