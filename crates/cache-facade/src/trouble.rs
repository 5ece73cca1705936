//! Trouble that the caller does not hear of: counted always, logged at most once a minute for each operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{Error, ErrorKind};

/// What the cache was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// Looking a key up.
    Lookup,
    /// Storing a loaded value.
    Fill,
    /// Turning a value into bytes.
    Encode,
    /// Placing a key inside a scope.
    Place,
    /// Writing down or removing what a change makes stale.
    Invalidate,
}

impl Operation {
    /// The name in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Fill => "fill",
            Self::Encode => "encode",
            Self::Place => "place",
            Self::Invalidate => "invalidate",
        }
    }

    /// The error of a store that did not answer within `budget`.
    pub(crate) fn timed_out(self, budget: Duration) -> Error {
        let millis = budget.as_millis();
        Error::new(
            ErrorKind::Timeout,
            format!("the cache gave no answer to a {} in {millis} ms", self.as_str()),
        )
    }
}

/// Counts trouble and keeps it from flooding the log.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    errors: AtomicU64,
}

impl Trouble {
    /// Counts `error` of the cache of this number, and logs it unless this operation's trouble was logged a short time ago.
    pub(crate) fn report(&self, cache: u64, operation: Operation, family: &str, error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        cache_core::log::limited((cache, operation), |suppressed| warn(operation, family, error, suppressed));
    }

    /// Counts and logs that values of a type are not stored. Always, for the caller asks once for each type: trouble of
    /// another type a moment ago must not hide its only warning.
    pub(crate) fn report_type(&self, family: &str, error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        warn(Operation::Encode, family, error, 0);
    }

    /// How many errors were reported so far.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

fn warn(operation: Operation, family: &str, error: &Error, suppressed: u64) {
    cache_core::log::emit(|| {
        tracing::warn!(
            operation = operation.as_str(),
            family,
            kind = ?error.kind(),
            error = error as &dyn std::error::Error,
            suppressed,
            "cache trouble; the request goes on without the cache"
        );
    });
}
