//! Calls to the primary, watched: what they come to tells the breaker whether it is still there.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Monotonic, Result};

use super::Shared;
use super::breaker::Failure;
use super::primary::Primary;

/// A call that was given up after so long counts as one without an answer; one that was given up sooner says nothing:
/// its caller had gone away.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(200);

impl Shared {
    /// Carries out `call` to the primary, which began in `period`.
    pub(super) async fn watched<T>(&self, period: u64, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mut watch = Watch { shared: self, period, began: self.clock.monotonic(), is_over: false };
        let outcome = call.await;
        watch.is_over = true;
        if let Err(error) = &outcome
            && let Some(failure) = failure_of(error)
        {
            self.switch.failed(period, failure, error);
        }
        outcome
    }

    /// Where calls timed out, asks the primary itself, over a connection of its own: only if that fails too is it away.
    pub(super) async fn settle_doubt(&self, primary: &Arc<dyn Primary>, period: u64) {
        let mut probe = primary.probe();
        while self.switch.is_in_doubt(period) {
            let probed = tokio::select! {
                probed = &mut probe => probed,
                // It may turn out to be away meanwhile.
                () = self.switch.changed() => continue,
            };
            return match probed {
                Ok(()) => {
                    cache_core::log::emit(|| tracing::debug!("Redis is slow to answer, and not away"));
                    self.switch.clear_doubt(period);
                }
                Err(error) => self.switch.failed(period, Failure::Fatal, &error),
            };
        }
    }
}

/// A call that is under way.
struct Watch<'a> {
    shared: &'a Shared,
    period: u64,
    began: Monotonic,
    is_over: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let waited = self.shared.clock.monotonic().saturating_since(self.began);
        if !self.is_over && waited >= GIVEN_UP_AFTER {
            let error = Error::new(ErrorKind::Timeout, "Redis gave no answer while somebody waited");
            self.shared.switch.failed(self.period, Failure::Timeout, &error);
        }
    }
}

/// What `error` says about the primary; `None` for one that is the call's own, or that a store which works gives.
fn failure_of(error: &Error) -> Option<Failure> {
    match error.kind() {
        ErrorKind::Timeout => Some(Failure::Timeout),
        ErrorKind::Unavailable | ErrorKind::Configuration | ErrorKind::Io | ErrorKind::Closed => {
            Some(Failure::Fatal)
        }
        // A full server still reads and removes; a failed fill costs one load.
        _ => None,
    }
}
