//! What a store says about itself, as gauges and counters.

use cache_core::{CacheStats, MEGABYTE};
use metrics::{counter, gauge};

/// Shows `stats`. Counters only ever grow, so that they are told apart by store; gauges are those of the store in use.
pub(crate) fn show(stats: &CacheStats) {
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
}
