//! [`Router`]: the one lock under which calls are routed, and the breaker opens and closes.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use cache_core::sync::Mutex;
use cache_core::{
    BackendKind, BreakerState, CacheBackend, Clock, Error, ErrorKind, Health, HealthStatus, Invalidated,
    Invalidation, Monotonic, Result, Timestamp, random_nonzero,
};
use tokio::sync::Notify;

use super::breaker::{CircuitBreaker, Failure};
use super::store::Opened;
use super::unopened::Unopened;
use super::{Connector, OnRecovery, Parts, Primary};
use crate::catch_panic::catch_panic;
use crate::durability::journal::Journal;
use crate::gauges;

/// A call that is cancelled after this time counts as a time-out; an earlier cancellation is ignored.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(200);

/// Routes calls to the primary or to the fallback store; shared by the backend and its recovery task.
pub(super) struct Router {
    pub(super) state: Mutex<State>,
    /// Signalled when the breaker opens or is in doubt, and when an append has ended.
    pub(super) changed: Notify,
    pub(super) opened: Opened,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<dyn Clock>,
    /// Called once, when the primary has acknowledged everything that is pending.
    pub(super) on_recovery: parking_lot::Mutex<Vec<OnRecovery>>,
    pub(super) max_age: Duration,
    /// Unique in this process.
    pub(super) id: NonZeroU64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) breaker: CircuitBreaker,
    pub(super) primary: Option<Arc<dyn Primary>>,
    /// Increases with each outage, and with each fallback store that is replaced. A period is the time in which one fallback
    /// store is in use, and the use of Redis after it.
    pub(super) period: u64,
    /// The store that is used while the breaker is not closed.
    pub(super) store: Arc<dyn CacheBackend>,
    /// Whether pending invalidations are being sent to the primary: new ones are sent there too.
    pub(super) is_recovering: bool,
    /// Invalidations that are being appended to the journal.
    pub(super) appending: usize,
    is_closed: bool,
    pub(super) since: Timestamp,
    pub(super) cause: Option<Error>,
    /// Whether the log says that the primary is away. It does from the start.
    pub(super) is_logged: bool,
}

/// The store for a read or a fill.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// The primary, in the period of this number between two outages.
    Primary(Arc<dyn Primary>, u64),
    Fallback(Arc<dyn CacheBackend>),
}

/// Where an invalidation is sent.
enum InvalidationRoute<'a> {
    /// To the primary, and whether that is still recovering.
    Primary(Arc<dyn Primary>, bool),
    Journal(Append<'a>),
}

/// An invalidation that is being appended to the journal. The breaker does not close meanwhile.
pub(super) struct Append<'a>(&'a Router);

/// A call to the primary in progress.
struct Watch<'a> {
    router: &'a Router,
    period: u64,
    started: Monotonic,
    is_done: bool,
}

impl Router {
    /// Creates a router with an open breaker: the primary was not reached yet.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { connector, fallback, journal, clock, max_age, on_recovery } = parts;
        let state = State {
            breaker: CircuitBreaker::open(),
            primary: None,
            period: 1,
            store: Arc::new(Unopened),
            is_recovering: false,
            appending: 0,
            is_closed: false,
            since: clock.now(),
            cause: None,
            is_logged: true,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            opened: Opened { opener: fallback, current: tokio::sync::Mutex::default() },
            connector,
            journal,
            clock,
            on_recovery: parking_lot::Mutex::new(vec![on_recovery]),
            max_age,
            id: random_nonzero(),
        }
    }

    /// Routes a read or a fill.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close).
    pub(super) fn route(&self) -> Result<Route> {
        let state = self.state.lock();
        state.check_open()?;
        Ok(match &state.primary {
            Some(primary) if state.is_up() => Route::Primary(Arc::clone(primary), state.period),
            _ => Route::Fallback(Arc::clone(&state.store)),
        })
    }

    /// Waits for a call to the primary of `period`, and reports its outcome to the breaker.
    pub(super) async fn watched<T>(&self, period: u64, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mut watch = Watch { router: self, period, started: self.clock.monotonic(), is_done: false };
        let outcome = call.await;
        watch.is_done = true;
        if let Err(error) = &outcome
            && let Some(failure) = Failure::of(error)
        {
            self.failed(period, failure, error);
        }
        outcome
    }

    /// Removes `what` from the primary; if it does not acknowledge, from the fallback store and, through the journal, later from the
    /// primary.
    ///
    /// # Errors
    /// `Closed` when the cache was closed before; errors of the call itself, such as an invalid pattern.
    ///
    /// # Cancellation
    /// Counts as not done.
    pub(super) async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let (primary, is_recovering) = match self.route_invalidation()? {
            InvalidationRoute::Primary(primary, is_recovering) => (primary, is_recovering),
            InvalidationRoute::Journal(append) => return self.append(append, what).await,
        };
        match catch_panic(primary.invalidate(what)).await {
            Ok(applied) => {
                if is_recovering {
                    // The fallback store is still read.
                    self.remove_from_store(what).await;
                }
                Ok(applied)
            }
            Err(error) if is_of_the_call(error.kind()) => Err(error),
            Err(error) => self.append(self.unacknowledged(&error), what).await,
        }
    }

    /// Notes that a call to the primary failed, which began in `period`. A call from before the last outage says nothing
    /// about the primary since then.
    pub(super) fn failed(&self, period: u64, failure: Failure, cause: &Error) {
        {
            let mut state = self.state.lock();
            if state.is_closed || state.period != period {
                return;
            }
            self.fail(&mut state, failure, cause);
        }
        self.log_outage();
    }

    /// Opens the breaker: the primary is not read until it has acknowledged all pending invalidations.
    pub(super) fn leave(&self, cause: &Error) {
        self.fail(&mut self.state.lock(), Failure::Fatal, cause);
        self.log_outage();
    }

    /// Opens the breaker because the primary did not acknowledge an invalidation, and keeps it from closing until the
    /// invalidation is in the journal.
    pub(super) fn unacknowledged(&self, cause: &Error) -> Append<'_> {
        // Created first: if what follows panics, the breaker can close again only after the drop.
        let append = Append::new(self, &mut self.state.lock());
        self.leave(cause);
        append
    }

    /// Logs that the primary is away, unless that was logged for this outage. An outage shortly after another is logged
    /// later, if it lasts.
    pub(super) fn log_outage(&self) {
        let (suppressed, cause) = {
            let mut state = self.state.lock();
            let Some(cause) = state.cause.as_ref().filter(|_| !state.is_logged).map(ToString::to_string)
            else {
                return;
            };
            let Some(suppressed) = cache_core::log::admitted(self.id) else { return };
            state.is_logged = true;
            (suppressed, cause)
        };
        cache_core::log::warn!(suppressed, error = %cause, "Redis cache lost, falling back to disk cache");
    }

    /// Makes every later call fail with `Closed`.
    pub(super) fn close(&self) -> Option<Arc<dyn Primary>> {
        let mut state = self.state.lock();
        state.is_closed = true;
        self.changed.notify_one();
        state.primary.clone()
    }

    /// Chooses where an invalidation goes.
    fn route_invalidation(&self) -> Result<InvalidationRoute<'_>> {
        let mut state = self.state.lock();
        state.check_open()?;
        Ok(match &state.primary {
            Some(primary) if state.is_up() || state.is_recovering => {
                InvalidationRoute::Primary(Arc::clone(primary), !state.is_up())
            }
            _ => InvalidationRoute::Journal(Append::new(self, &mut state)),
        })
    }

    /// Removes `what` from the fallback store, and then appends it to the journal.
    async fn append(&self, append: Append<'_>, what: &[Invalidation]) -> Result<Invalidated> {
        // The breaker cannot close during either, so that the fallback store stays the same one.
        let removed = self.remove_from_store(what).await;
        let appended = self.journal.append(what).await;
        gauges::journal_depth(self.journal.depth());
        drop(append);
        appended.map(|()| Invalidated::Journaled { removed })
    }

    /// Removes `what` from the fallback store, and returns the number of entries. Replaces a store that fails.
    async fn remove_from_store(&self, what: &[Invalidation]) -> u64 {
        let (period, store) = {
            let state = self.state.lock();
            (state.period, Arc::clone(&state.store))
        };
        match store.invalidate(what).await {
            Ok(invalidated) => invalidated.removed(),
            // Its outage is over, or the cache was closed: it is not read any more.
            Err(error) if error.kind() == ErrorKind::Closed => 0,
            Err(error) => {
                cache_core::log::warn!(
                    limit: self.id, %error, "fallback invalidation failed; fallback store replaced"
                );
                let mut state = self.state.lock();
                if state.period == period {
                    state.replace_store();
                }
                self.changed.notify_one();
                0
            }
        }
    }

    /// Notes a failure. Opening the breaker and replacing the fallback store by a new, empty one are one step.
    fn fail(&self, state: &mut State, failure: Failure, cause: &Error) {
        let was_up = state.is_up();
        if !state.breaker.failed(failure, self.clock.monotonic()) {
            if state.breaker.is_in_doubt() {
                self.changed.notify_one();
            }
            return;
        }
        state.is_recovering = false;
        let cause = Error::new(cause.kind(), cause.to_string());
        if was_up {
            state.replace_store();
            state.since = self.clock.now();
            state.is_logged = false;
            gauges::breaker(BreakerState::Open);
        }
        state.cause = Some(cause);
        self.changed.notify_one();
    }
}

impl State {
    pub(super) fn is_up(&self) -> bool {
        self.breaker.state() == BreakerState::Closed
    }

    /// The kind of the store that is in use.
    pub(super) fn kind(&self) -> BackendKind {
        if self.is_up() { BackendKind::Redis } else { fallback_kind(self.store.kind()) }
    }

    /// Starts the next period, whose store is not open yet.
    fn replace_store(&mut self) {
        self.period += 1;
        self.store = Arc::new(Unopened);
    }

    pub(super) fn health(&self) -> Health {
        Health {
            status: if self.is_up() { HealthStatus::Ok } else { HealthStatus::Degraded },
            active: self.kind(),
            breaker: Some(self.breaker.state()),
            cause: self.cause.as_ref().map(ToString::to_string),
            ..Health::ok(BackendKind::Redis, self.since)
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed {
            return Err(Error::new(ErrorKind::Closed, "the cache was closed; open a new one"));
        }
        Ok(())
    }
}

impl<'a> Append<'a> {
    fn new(router: &'a Router, state: &mut State) -> Self {
        state.appending += 1;
        Self(router)
    }
}

impl Drop for Append<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.appending = state.appending.saturating_sub(1);
        drop(state);
        self.0.changed.notify_one();
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let waited = self.router.clock.monotonic().saturating_since(self.started);
        if !self.is_done && waited >= GIVEN_UP_AFTER {
            let error = Error::new(ErrorKind::Timeout, "Redis did not answer before its caller gave up");
            self.router.failed(self.period, Failure::Timeout, &error);
        }
    }
}

/// Returns the kind of the store that is in use, whose own kind is `kind`.
pub(super) fn fallback_kind(kind: BackendKind) -> BackendKind {
    match kind {
        BackendKind::Redis | BackendKind::Null => kind,
        _ => BackendKind::Fallback,
    }
}

/// Returns whether the error is the caller's and not the backend's.
fn is_of_the_call(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidKey | ErrorKind::InvalidPattern | ErrorKind::Unsupported)
}
