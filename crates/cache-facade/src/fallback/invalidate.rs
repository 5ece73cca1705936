//! Invalidating: with the primary's word for it, or durable in the journal.

use cache_core::{ErrorKind, Invalidated, Invalidation, Result};

use super::Shared;
use super::switch::{Append, Way};
use crate::catch_panic::catch_panic;
use crate::gauges;

impl Shared {
    /// Removes `what`: from the primary, or from what stands in for it and, later, from the primary.
    ///
    /// # Errors
    /// `Closed`, when the cache was closed before. Those of the call itself, as a pattern that is none.
    pub(super) async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let (acknowledged, is_double) = match self.switch.way()? {
            Way::Primary(primary) => (catch_panic(primary.invalidate(what)).await, false),
            Way::Both(primary) => (catch_panic(primary.invalidate(what)).await, true),
            Way::Journal(append) => return self.owe(append, what).await,
        };
        match acknowledged {
            Ok(applied) => {
                if is_double {
                    self.forget(what).await;
                }
                Ok(applied)
            }
            Err(error) if is_the_callers(error.kind()) => Err(error),
            // From here on the breaker is open.
            Err(error) => self.owe(self.switch.unacknowledged(&error), what).await,
        }
    }

    /// Writes `what` into the journal and takes it out of what stands in.
    async fn owe(&self, append: Append<'_>, what: &[Invalidation]) -> Result<Invalidated> {
        // Both before it returns, and the breaker cannot close in between: the generation stays the same.
        let removed = self.forget(what).await;
        let owed = self.journal.owe(what).await;
        gauges::journal_depth(self.journal.depth());
        drop(append);
        owed.map(|()| Invalidated::Journaled { removed })
    }

    /// Takes `what` out of what stands in now; how many entries that were.
    async fn forget(&self, what: &[Invalidation]) -> u64 {
        let generation = self.switch.generation();
        generation.invalidate(what).await.unwrap_or_else(|error| {
            if error.kind() == ErrorKind::Closed {
                // Its outage is over, or the cache is: nobody reads it any more.
                return 0;
            }
            cache_core::log::limited(self.switch.id(), |suppressed| tracing::warn!(%error, suppressed, "the fallback cannot forget what it has to; it starts anew"));
            self.switch.discard(&generation);
            0
        })
    }
}

/// Whether the call was wrong, and not the store.
fn is_the_callers(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidKey | ErrorKind::InvalidPattern | ErrorKind::Unsupported)
}
