//! Gauges in a build without the feature `metrics`: none.

use cache_core::BreakerState;
use parking_lot::Mutex;

pub(crate) fn breaker(_state: BreakerState) {}

pub(crate) fn journal_depth(_depth: u64) {}

pub(crate) fn nodes(_nodes: impl FnOnce() -> Vec<(String, bool)>, _reported: &Mutex<Vec<String>>) {}
