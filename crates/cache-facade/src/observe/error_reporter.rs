//! [`ErrorReporter`]: errors that no caller gets. Every one is counted; the log has one a minute for each operation.

use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::Error;

use super::events::Operation;

/// Counts and logs errors that no caller gets.
#[derive(Debug, Default)]
pub(crate) struct ErrorReporter {
    errors: AtomicU64,
}

impl ErrorReporter {
    /// Counts `error` and logs it, unless the cache with the number `cache` logged one of this operation within a minute.
    pub(crate) fn report(&self, cache: u64, operation: Operation, family: &str, error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        cache_core::log::warn!(
            limit: (cache, operation), operation = operation.as_str(), family, kind = ?error.kind(),
            error = error as &dyn std::error::Error, "cache operation failed; continuing without the cache"
        );
    }

    /// Counts and logs that values of a type are not stored. Never suppressed, because it is called once for each type:
    /// an error of another type must not hide the only warning.
    pub(crate) fn report_type(&self, family: &str, error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        cache_core::log::warn!(
            operation = Operation::Encode.as_str(), family, kind = ?error.kind(),
            error = error as &dyn std::error::Error, "cache operation failed; continuing without the cache"
        );
    }

    /// Number of errors reported so far.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}
