//! Gauges of Redis and its fallback, through the `metrics` crate; their table is in `metrics.rs`.

use cache_core::BreakerState;
use cache_core::panics::contained;

/// Reports whether Redis is in use.
pub(crate) fn breaker(state: BreakerState) {
    let value = match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    };
    contained(|| metrics::gauge!("cache_breaker_state").set(value));
}

/// Reports how many invalidations wait for Redis.
pub(crate) fn journal_depth(depth: u64) {
    contained(|| metrics::gauge!("cache_journal_depth").set(depth as f64));
}
