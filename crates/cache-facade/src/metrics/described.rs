//! What each metric means, for exporters that say so, and the counters that must exist before they first count.

use cache_core::BackendKind;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram};

use super::OPERATIONS;

const COUNTERS: &[(&str, &str)] = &[
    ("cache_hits_total", "Reads answered from the cache."),
    ("cache_stale_total", "Reads answered with a value whose time was over, as its options allow."),
    ("cache_misses_total", "Reads that were not answered from the cache."),
    ("cache_coalesced_total", "Misses that waited for another caller's load."),
    ("cache_refreshes_total", "Background loads of values whose time was over."),
    ("cache_refreshes_failed_total", "Background loads that failed."),
    ("cache_refreshes_skipped_total", "Background loads that were not begun because enough others ran."),
    ("cache_fills_total", "Loaded values that were stored."),
    ("cache_fills_refused_total", "Loaded values that an invalidation kept out."),
    ("cache_verified_total", "Hits that were loaded again and compared (CACHE_VERIFY)."),
    ("cache_verify_mismatches_total", "Verified hits that differed from what was loaded."),
    ("cache_errors_total", "Failed operations of the store that no caller was told of."),
    ("cache_invalidations_total", "Keys, groups and patterns that were invalidated."),
    ("cache_invalidated_entries_total", "Entries removed by invalidations."),
    ("cache_evictions_total", "Entries removed to make room."),
    ("cache_expirations_total", "Entries removed because their time was over."),
    ("cache_corrupt_total", "Damaged entries."),
];

const GAUGES: &[(&str, &str)] = &[
    ("cache_size_bytes", "Space of live entries."),
    ("cache_limit_bytes", "Limit of the space."),
    ("cache_disk_bytes", "Space of the files."),
    ("cache_entries", "Live entries of a family of keys."),
    ("cache_entries_bytes", "Space of the live entries of a family of keys."),
    ("cache_breaker_state", "Whether Redis is in use: 0 yes, 1 being asked, 2 away."),
    ("cache_journal_depth", "Invalidations that Redis has not acknowledged."),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    ("cache_load_seconds", "Duration of loads."),
    ("cache_operation_seconds", "Duration of operations of the store."),
];

/// Describes every metric, and sets counters of rare events to zero: a counter that appears with its first event hides that
/// event from `rate()`.
pub(super) fn describe(backend: BackendKind) {
    for (name, what) in COUNTERS {
        describe_counter!(*name, *what);
    }
    for (name, what) in GAUGES {
        describe_gauge!(*name, *what);
    }
    for (name, what) in HISTOGRAMS {
        describe_histogram!(*name, *what);
    }
    let backends: &[BackendKind] = match backend {
        BackendKind::Redis | BackendKind::Fallback => &[BackendKind::Redis, BackendKind::Fallback],
        ref only => std::slice::from_ref(only),
    };
    for backend in backends.iter().map(|backend| backend.as_str()) {
        for operation in OPERATIONS {
            counter!("cache_errors_total", "operation" => operation.as_str(), "backend" => backend)
                .increment(0);
        }
        for name in [
            "cache_invalidations_total",
            "cache_invalidated_entries_total",
            "cache_evictions_total",
            "cache_expirations_total",
            "cache_corrupt_total",
        ] {
            counter!(name, "backend" => backend).increment(0);
        }
    }
}
