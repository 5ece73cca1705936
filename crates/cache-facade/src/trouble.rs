//! Trouble that the caller does not hear of: counted always, logged at most once in ten seconds for each operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{Clock, Error, ErrorKind};

/// How long one kind of trouble stays silent after it was logged.
const QUIET: Duration = Duration::from_secs(10);

/// What the cache was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub(crate) const ALL: [Self; 5] = [Self::Lookup, Self::Fill, Self::Encode, Self::Place, Self::Invalidate];

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
    by_operation: [Record; Operation::ALL.len()],
}

#[derive(Debug, Default)]
struct Record {
    errors: AtomicU64,
    throttle: Throttle,
}

/// Lets one event in ten seconds into the log.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    suppressed: AtomicU64,
    /// Milliseconds since 1970 up to which nothing is logged.
    quiet_until: AtomicU64,
}

impl Throttle {
    /// Whether to speak now: how many events were passed over since the last one that was logged.
    pub(crate) fn speaks(&self, clock: &dyn Clock) -> Option<u64> {
        let now = clock.now();
        let quiet_until = self.quiet_until.load(Ordering::Relaxed);
        let next = now.saturating_add(QUIET).as_millis();
        let speaks = now.as_millis() >= quiet_until
            && self
                .quiet_until
                .compare_exchange(quiet_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !speaks {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

impl Trouble {
    /// Counts `error`, and logs it unless this operation's trouble was logged a short time ago.
    pub(crate) fn report(&self, clock: &dyn Clock, operation: Operation, family: &str, error: &Error) {
        let Some(record) = self.by_operation.get(operation as usize) else { return };
        record.errors.fetch_add(1, Ordering::Relaxed);
        let Some(suppressed) = record.throttle.speaks(clock) else { return };
        warn(operation, family, error, suppressed);
    }

    /// Counts and logs that values of a type are not stored. Always, for the caller asks once for each type: trouble of
    /// another type a moment ago must not hide its only warning.
    pub(crate) fn report_type(&self, family: &str, error: &Error) {
        let operation = Operation::Encode;
        let Some(record) = self.by_operation.get(operation as usize) else { return };
        record.errors.fetch_add(1, Ordering::Relaxed);
        warn(operation, family, error, 0);
    }

    /// How many errors were reported so far.
    pub(crate) fn errors(&self) -> u64 {
        self.by_operation.iter().map(|record| record.errors.load(Ordering::Relaxed)).sum()
    }
}

fn warn(operation: Operation, family: &str, error: &Error, suppressed: u64) {
    tracing::warn!(
        operation = operation.as_str(),
        family,
        kind = ?error.kind(),
        error = error as &dyn std::error::Error,
        suppressed,
        "cache trouble; the request goes on without the cache"
    );
}
