//! Metrics through the `metrics` crate (feature `metrics`). The application installs the exporter before it opens a cache.
//!
//! | name | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `cache_hits_total` | counter | family, backend | reads answered from the cache |
//! | `cache_stale_total` | counter | family, backend | reads answered with an expired value |
//! | `cache_misses_total` | counter | family, backend | reads not answered from the cache |
//! | `cache_coalesced_total` | counter | family, backend | misses that waited for another caller's load |
//! | `cache_load_waits_total` | counter | family, backend | loads put off because another instance was loading the value |
//! | `cache_load_waits_in_vain_total` | counter | family, backend | those that began after all, because no value came in time |
//! | `cache_refreshes_total` | counter | family, backend | background loads of old values |
//! | `cache_refreshes_failed_total` | counter | family, backend | background loads that failed |
//! | `cache_refreshes_skipped_total` | counter | family, backend | background loads not begun, because enough others ran |
//! | `cache_load_seconds` | histogram | family, backend | duration of loads |
//! | `cache_fills_total` | counter | family, backend | loaded values that were stored |
//! | `cache_fills_refused_total` | counter | family, backend | loaded values that an invalidation kept out |
//! | `cache_verified_total` | counter | family, backend | hits that were loaded again and compared (`CACHE_VERIFY`) |
//! | `cache_verify_mismatches_total` | counter | family, backend | verified hits that differed from the loaded value |
//! | `cache_errors_total` | counter | operation, backend | errors that no caller gets |
//! | `cache_invalidations_total` | counter | backend | keys, groups and patterns that were invalidated |
//! | `cache_invalidated_entries_total` | counter | backend | entries removed by invalidations |
//! | `cache_operation_seconds` | histogram | operation, backend | duration of lookups, fills and invalidations of the backend |
//! | `cache_size_bytes`, `cache_limit_bytes`, `cache_disk_bytes` | gauge | | space of live entries, the limit, space of files |
//! | `cache_entries`, `cache_entries_bytes` | gauge | family | live entries and their space |
//! | `cache_evictions_total`, `cache_expirations_total`, `cache_corrupt_total` | counter | backend | entries evicted, expired, damaged |
//! | `cache_breaker_state` | gauge | | 0: Redis is in use; 1: it is being probed; 2: it is unreachable |
//! | `cache_redis_node_up` | gauge | node | 1: the server can be used; 0: it cannot; NaN: it is not in use any more |
//! | `cache_journal_depth` | gauge | | invalidations that Redis has not acknowledged |
//!
//! From `cache_size_bytes` on, all but those of Redis are set by [`Cache::show_stats`](crate::Cache::show_stats), to be called
//! before the exporter is read.
//!
//! `family` is the first segment of the key: the first 32 of a process by name, the rest as `other`.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use cache_core::panics::contained;
use cache_core::{BackendKind, CacheKey, CacheStats, Clock, MEGABYTE, MOST_FAMILIES, Monotonic};
use metrics::{
    Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::events::{Event, Operation};

/// Start of an operation.
pub(crate) type Started = Monotonic;

/// Name of the families past the 32nd.
const OTHER: &str = "other";

/// Most backends that a cache switches between.
const KINDS: usize = 6;

/// The operations that are timed, and whose errors are counted.
const OPERATIONS: [Operation; 5] =
    [Operation::Lookup, Operation::Fill, Operation::Encode, Operation::Place, Operation::Invalidate];

/// Counters of events, in the order of [`Event`].
const EVENTS: [(&str, &str); 13] = [
    ("cache_hits_total", "Reads answered from the cache."),
    ("cache_stale_total", "Reads answered with an expired value, as its options allow."),
    ("cache_misses_total", "Reads not answered from the cache."),
    ("cache_coalesced_total", "Misses that waited for another caller's load."),
    ("cache_load_waits_total", "Loads put off because another instance was loading the value."),
    ("cache_load_waits_in_vain_total", "Loads that began after they were put off."),
    ("cache_refreshes_total", "Background loads of old values."),
    ("cache_refreshes_failed_total", "Background loads that failed."),
    ("cache_refreshes_skipped_total", "Background loads not begun because enough others ran."),
    ("cache_fills_total", "Loaded values that were stored."),
    ("cache_fills_refused_total", "Loaded values that an invalidation kept out."),
    ("cache_verified_total", "Hits that were loaded again and compared (CACHE_VERIFY)."),
    ("cache_verify_mismatches_total", "Verified hits that differed from the loaded value."),
];

const ERRORS: (&str, &str) = ("cache_errors_total", "Failed operations whose error no caller got.");

/// Counters by backend alone.
const BY_BACKEND: [(&str, &str); 8] = [
    ("cache_invalidations_total", "Keys, groups and patterns that were invalidated."),
    ("cache_invalidated_entries_total", "Entries removed by invalidations."),
    ("cache_evictions_total", "Entries removed to make room."),
    ("cache_expirations_total", "Entries removed because they expired."),
    ("cache_corrupt_total", "Damaged entries."),
    ("cache_near_hits_total", "Reads answered from memory."),
    ("cache_near_lapses_total", "Times in which memory was not used, because Redis did not answer in time."),
    ("cache_near_waits_total", "Invalidations that waited for the memory of other instances."),
];

const GAUGES: [(&str, &str); 10] = [
    ("cache_size_bytes", "Space of live entries."),
    ("cache_limit_bytes", "Limit of the space."),
    ("cache_disk_bytes", "Space of the files."),
    ("cache_entries", "Live entries of a family of keys."),
    ("cache_entries_bytes", "Space of the live entries of a family of keys."),
    ("cache_near_bytes", "Space of values in memory."),
    ("cache_near_sessions", "Instances that keep values in memory."),
    ("cache_breaker_state", "State of Redis: 0 in use, 1 being probed, 2 unreachable."),
    ("cache_redis_node_up", "Whether a server of Redis can be used."),
    ("cache_journal_depth", "Invalidations that Redis has not acknowledged."),
];

const HISTOGRAMS: [(&str, &str); 2] = [
    ("cache_load_seconds", "Duration of loads."),
    ("cache_operation_seconds", "Duration of operations of the backend."),
];

/// Counts events. A hit costs two short searches and an atomic addition: no lock, no allocation.
pub(crate) struct Metrics {
    families: Box<[OnceLock<Family>]>,
    other: Family,
    operations: [ByBackend<Histogram>; OPERATIONS.len()],
}

struct Family {
    name: String,
    handles: ByBackend<Handles>,
}

struct Handles {
    events: [Counter; EVENTS.len()],
    loads: Histogram,
}

/// A value for each backend that a cache switches between. Slots fill from the front and never change.
struct ByBackend<T>([OnceLock<(BackendKind, T)>; KINDS]);

impl<T> Default for ByBackend<T> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; KINDS])
    }
}

impl<T> ByBackend<T> {
    fn get(&self, backend: BackendKind, make: impl Fn() -> T) -> Option<&T> {
        let mut slots = self.0.iter().map(|slot| slot.get_or_init(|| (backend, make())));
        slots.find(|(of, _)| *of == backend).map(|(_, value)| value)
    }
}

impl Metrics {
    /// Whether metrics are compiled in.
    pub(crate) const ENABLED: bool = true;

    /// Describes all metrics to the exporter, for a cache over `backend`.
    pub(crate) fn new(backend: BackendKind) -> Self {
        contained(|| describe(backend));
        Self {
            families: (0..MOST_FAMILIES).map(|_| OnceLock::new()).collect(),
            other: Family::new(OTHER),
            operations: Default::default(),
        }
    }

    /// Starts to measure an operation.
    #[expect(clippy::unused_self, reason = "a build without metrics does not read the clock")]
    pub(crate) fn start(&self, clock: &dyn Clock) -> Started {
        clock.monotonic()
    }

    /// Records the duration of an operation.
    pub(crate) fn took(
        &self,
        clock: &dyn Clock,
        backend: BackendKind,
        operation: Operation,
        started: Started,
    ) {
        let labels = [("operation", operation.as_str()), ("backend", backend.as_str())];
        let make =
            || contained(|| histogram!("cache_operation_seconds", &labels)).unwrap_or_else(Histogram::noop);
        let by_backend = self.operations.get(operation as usize);
        if let Some(histogram) = by_backend.and_then(|by_backend| by_backend.get(backend, make)) {
            let taken = clock.monotonic().saturating_since(started).as_secs_f64();
            contained(|| histogram.record(taken));
        }
    }

    /// Sets the gauges and counters that the backend itself keeps, and the number of instances that keep values in memory.
    /// Counters only grow, so that they are labelled with the backend; gauges are those of the backend in use.
    #[expect(clippy::unused_self, reason = "the backend keeps these figures")]
    pub(crate) fn show(&self, stats: &CacheStats, sessions: Option<u64>) {
        contained(|| {
            gauge!("cache_size_bytes").set(stats.size_bytes as f64);
            gauge!("cache_limit_bytes").set(stats.limit_mb.saturating_mul(MEGABYTE) as f64);
            gauge!("cache_disk_bytes").set(stats.disk_bytes as f64);
            for (family, figures) in &stats.families {
                gauge!("cache_entries", "family" => family.clone()).set(figures.count as f64);
                gauge!("cache_entries_bytes", "family" => family.clone()).set(figures.bytes as f64);
            }
            let backend = stats.backend.as_str();
            counter!("cache_evictions_total", "backend" => backend).absolute(stats.evictions);
            counter!("cache_expirations_total", "backend" => backend).absolute(stats.expirations);
            counter!("cache_corrupt_total", "backend" => backend).absolute(stats.corrupt);
            if let Some(near) = &stats.near {
                counter!("cache_near_hits_total", "backend" => backend).absolute(near.hits);
                counter!("cache_near_lapses_total", "backend" => backend).absolute(near.lapses);
                counter!("cache_near_waits_total", "backend" => backend).absolute(near.waits);
                gauge!("cache_near_bytes").set(near.bytes as f64);
            }
            if let Some(sessions) = sessions {
                gauge!("cache_near_sessions").set(sessions as f64);
            }
        });
    }

    /// Counts `event` of `key`.
    pub(crate) fn count(&self, event: Event, backend: BackendKind, key: &CacheKey) {
        if let Some(counter) =
            self.handles(backend, key).and_then(|handles| handles.events.get(event as usize))
        {
            contained(|| counter.increment(1));
        }
    }

    /// Records the duration of a load of `key`.
    pub(crate) fn loaded(&self, backend: BackendKind, key: &CacheKey, taken: Duration) {
        if let Some(handles) = self.handles(backend, key) {
            contained(|| handles.loads.record(taken.as_secs_f64()));
        }
    }

    /// Counts an error that no caller gets.
    #[expect(clippy::unused_self, reason = "errors are rare: their counters are looked up each time")]
    pub(crate) fn error(&self, backend: BackendKind, operation: Operation) {
        contained(|| error_counter(operation, backend.as_str()).increment(1));
    }

    /// Counts an invalidation of `asked` keys, groups and patterns.
    #[expect(clippy::unused_self, reason = "beside an invalidation looking its counters up costs nothing")]
    pub(crate) fn invalidated(&self, backend: BackendKind, asked: usize, removed: u64) {
        contained(|| {
            counter!("cache_invalidations_total", "backend" => backend.as_str()).increment(asked as u64);
            counter!("cache_invalidated_entries_total", "backend" => backend.as_str()).increment(removed);
        });
    }

    fn handles(&self, backend: BackendKind, key: &CacheKey) -> Option<&Handles> {
        let name = key.family();
        // Slots fill from the front and never change: the first free one is ours unless another thread was faster.
        let mut families = self.families.iter().map(|slot| slot.get_or_init(|| Family::new(name)));
        let family = families.find(|family| family.name == name).unwrap_or(&self.other);
        family.handles.get(backend, || Handles::new(&family.name, backend))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Family {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), handles: ByBackend::default() }
    }
}

impl Handles {
    fn new(family: &str, backend: BackendKind) -> Self {
        let labels = [("family", family.to_owned()), ("backend", backend.as_str().to_owned())];
        // A recorder that panics gives a counter that counts nothing.
        let counter = |(name, _)| contained(|| counter!(name, &labels)).unwrap_or_else(Counter::noop);
        Self {
            events: EVENTS.map(counter),
            loads: contained(|| histogram!("cache_load_seconds", &labels)).unwrap_or_else(Histogram::noop),
        }
    }
}

fn error_counter(operation: Operation, backend: &'static str) -> Counter {
    counter!(ERRORS.0, "operation" => operation.as_str(), "backend" => backend)
}

/// Describes every metric, and sets the counters of rare events to zero: one that appears with its first event hides that
/// event from `rate()`.
fn describe(backend: BackendKind) {
    for (name, what) in EVENTS.into_iter().chain([ERRORS]).chain(BY_BACKEND) {
        describe_counter!(name, what);
    }
    for (name, what) in GAUGES {
        describe_gauge!(name, what);
    }
    for (name, what) in HISTOGRAMS {
        describe_histogram!(name, what);
    }
    let backends: &[BackendKind] = match backend {
        BackendKind::Redis | BackendKind::Fallback => &[BackendKind::Redis, BackendKind::Fallback],
        ref only => std::slice::from_ref(only),
    };
    for backend in backends.iter().map(|backend| backend.as_str()) {
        for operation in OPERATIONS {
            error_counter(operation, backend).increment(0);
        }
        for (name, _) in BY_BACKEND {
            counter!(name, "backend" => backend).increment(0);
        }
    }
}
