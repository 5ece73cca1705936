//! Gauges of Redis and its fallback, through the `metrics` crate; their table is in `metrics.rs`.

use cache_core::BreakerState;
use cache_core::panics::contained;
use parking_lot::Mutex;

/// Reports whether Redis is in use.
pub(crate) fn breaker(state: BreakerState) {
    let value = match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    };
    contained(|| metrics::gauge!("cache_breaker_state").set(value));
}

/// Reports which servers of Redis can be used. Those of `reported` that are not in use any more have no number.
pub(crate) fn nodes(nodes: impl FnOnce() -> Vec<(String, bool)>, reported: &Mutex<Vec<String>>) {
    let (nodes, mut reported) = (nodes(), reported.lock());
    let gone = reported.iter().filter(|node| !nodes.iter().any(|(known, _)| known == *node));
    let gone = gone.map(|node| (node.clone(), f64::NAN));
    let values: Vec<(String, f64)> =
        gone.chain(nodes.iter().map(|(node, is_up)| (node.clone(), f64::from(u8::from(*is_up))))).collect();
    contained(|| {
        for (node, value) in values {
            metrics::gauge!("cache_redis_node_up", "node" => node).set(value);
        }
    });
    *reported = nodes.into_iter().map(|(node, _)| node).collect();
}

/// Reports how many invalidations wait for Redis.
pub(crate) fn journal_depth(depth: u64) {
    contained(|| metrics::gauge!("cache_journal_depth").set(depth as f64));
}
