//! How long a store takes for an operation.

use std::sync::OnceLock;

use cache_core::panics::contained;
use cache_core::{BackendKind, Clock, Monotonic};
use metrics::{Histogram, histogram};

use super::{KINDS, OPERATIONS};
use crate::trouble::Operation;

/// When an operation began.
pub(crate) type Started = Monotonic;

/// Measures operations, by operation and store.
#[derive(Default)]
pub(super) struct Stopwatch([[OnceLock<(BackendKind, Histogram)>; KINDS]; OPERATIONS.len()]);

impl Stopwatch {
    pub(super) fn took(
        &self,
        clock: &dyn Clock,
        backend: BackendKind,
        operation: Operation,
        started: Started,
    ) {
        let Some(by_backend) = self.0.get(operation as usize) else { return };
        let histogram = || {
            contained(|| histogram!("cache_operation_seconds", "operation" => operation.as_str(), "backend" => backend.as_str())).unwrap_or_else(Histogram::noop)
        };
        let found = by_backend
            .iter()
            .map(|slot| slot.get_or_init(|| (backend, histogram())))
            .find(|(measured, _)| *measured == backend);
        if let Some((_, histogram)) = found {
            let taken = clock.monotonic().saturating_since(started).as_secs_f64();
            contained(|| histogram.record(taken));
        }
    }
}

impl std::fmt::Debug for Stopwatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopwatch").finish_non_exhaustive()
    }
}
