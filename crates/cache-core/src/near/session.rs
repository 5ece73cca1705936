//! [`NearSession`]: until when values in memory may be served, and which of them.

use crate::clock::{Clock, Monotonic};
use crate::entry::FillToken;
use crate::epochs::Epochs;
use crate::invalidation::EpochScope;
use crate::key::CacheKey;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The end of the lease of a session that was never granted one.
const NEVER: u64 = 0;
/// The end of the lease of a session that is over.
const OVER: u64 = 1;
/// The end of a lease that needs no renewal.
const ENDLESS: u64 = u64::MAX;

/// The time in which this process hears of every invalidation, from its registration at a store to the loss of it.
///
/// A session serves values that were read under it, while its lease lasts; a value that was read under another session is
/// never served. The lease tells for how long every invalidation waits until this session has forgotten what it names
/// ("volume leases": Yin et al., IEEE Transactions on Knowledge and Data Engineering 11(4), 1999).
#[derive(Debug)]
pub struct NearSession {
    epochs: Epochs,
    /// The end of the lease, in nanoseconds of [`Clock::boot`].
    until: AtomicU64,
}

impl NearSession {
    /// Begins a session without a lease: it serves nothing yet.
    pub fn new() -> Self {
        Self { epochs: Epochs::new(), until: AtomicU64::new(NEVER) }
    }

    /// Begins a session that serves until it is ended: invalidations of its store all go through this process.
    pub fn endless() -> Self {
        Self { epochs: Epochs::new(), until: AtomicU64::new(ENDLESS) }
    }

    /// Issues the token under which `key` is read. Take it before the store is asked.
    pub fn token(&self, key: &CacheKey) -> FillToken {
        self.epochs.token(key)
    }

    /// Makes all values in `scope` that were read until now unservable.
    pub fn forget(&self, scope: EpochScope<'_>) {
        self.epochs.advance(scope);
    }

    /// Makes all values in each of `scopes` that were read until now unservable.
    pub fn forget_each<'a>(&self, scopes: impl Iterator<Item = EpochScope<'a>>) {
        scopes.for_each(|scope| self.forget(scope));
    }

    /// Extends the lease to `until`, unless it lasts longer or the session is over.
    pub fn serve_until(&self, until: Monotonic) {
        let until = until.as_nanos();
        let extended = |held: u64| (held != OVER && held < until).then_some(until);
        // Fails where there is nothing to extend.
        let _ = self.until.fetch_update(Ordering::SeqCst, Ordering::SeqCst, extended);
    }

    /// Ends the session: it serves nothing any more.
    pub fn end(&self) {
        self.until.store(OVER, Ordering::SeqCst);
    }

    /// Whether the lease lasts.
    pub fn is_serving(&self, clock: &dyn Clock) -> bool {
        self.serving_at(clock).is_some()
    }

    /// Returns the time at which the lease lasted; the beginning of time for one that needs no clock.
    pub(super) fn serving_at(&self, clock: &dyn Clock) -> Option<Monotonic> {
        let until = self.until.load(Ordering::SeqCst);
        if until == ENDLESS {
            return Some(Monotonic::BEGINNING);
        }
        Some(clock.boot()).filter(|now| now.as_nanos() < until)
    }
}

impl Default for NearSession {
    fn default() -> Self {
        Self::new()
    }
}
