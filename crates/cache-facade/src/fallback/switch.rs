//! [`Switch`]: the one lock under which calls choose their way, and the breaker opens and closes.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::sync::Mutex;
use cache_core::{
    BackendKind, BreakerState, Clock, Error, ErrorKind, Health, HealthStatus, Result, Timestamp,
    random_nonzero,
};
use tokio::sync::Notify;

use super::breaker::{CircuitBreaker, Failure};
use super::generation::Generation;
use super::primary::Primary;
use crate::gauges;
use crate::outage::journal::Journal;

/// Which way calls go.
#[derive(Debug)]
pub(super) struct Switch {
    state: Mutex<State>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    max_age: Duration,
    /// A number that no other one of this process has.
    id: NonZeroU64,
    /// Signalled when the breaker opens or is in doubt, and when an invalidation has found its place.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    breaker: CircuitBreaker,
    primary: Option<Arc<dyn Primary>>,
    /// What stands in while the breaker is not closed.
    generation: Arc<Generation>,
    /// The primary answers, and what it missed is being told to it: new invalidations go there too.
    is_returning: bool,
    /// Invalidations that go into the journal and are not in it yet.
    appending: usize,
    is_closed: bool,
    since: Timestamp,
    cause: Option<Error>,
    /// Whether the log says that the primary is away, as it does from the start.
    is_logged: bool,
}

/// Where a read or a fill goes.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// To the primary, in the period of that number between two outages.
    Primary(Arc<dyn Primary>, u64),
    Away(Arc<Generation>),
}

/// Where an invalidation goes.
#[derive(Debug)]
pub(super) enum Way<'a> {
    /// To the primary.
    Primary(Arc<dyn Primary>),
    /// To the primary, which is coming back, and to what still stands in for it.
    Both(Arc<dyn Primary>),
    /// Into the journal, and to what stands in.
    Journal(Append<'a>),
}

/// An invalidation on its way into the journal: while there is one, the breaker does not close.
#[derive(Debug)]
pub(super) struct Append<'a> {
    switch: &'a Switch,
}

impl Switch {
    /// Open: the primary has not been seen yet.
    pub(super) fn new(journal: Arc<Journal>, clock: Arc<dyn Clock>, max_age: Duration) -> Self {
        let state = State {
            breaker: CircuitBreaker::open(),
            primary: None,
            generation: Arc::new(Generation::new(1, max_age, Arc::clone(&clock))),
            is_returning: false,
            appending: 0,
            is_closed: false,
            since: clock.now(),
            cause: None,
            is_logged: true,
        };
        let id = random_nonzero();
        Self { state: Mutex::new(state), journal, clock, max_age, id, changed: Notify::new() }
    }

    pub(super) fn route(&self) -> Result<Route> {
        let state = self.state.lock();
        if state.is_closed {
            return Err(closed());
        }
        Ok(match (&state.primary, state.breaker.state()) {
            (Some(primary), BreakerState::Closed) => {
                Route::Primary(Arc::clone(primary), state.generation.number())
            }
            _ => Route::Away(Arc::clone(&state.generation)),
        })
    }

    /// Chooses the way of an invalidation.
    pub(super) fn way(&self) -> Result<Way<'_>> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(closed());
        }
        Ok(match &state.primary {
            Some(primary) if state.breaker.state() == BreakerState::Closed => {
                Way::Primary(Arc::clone(primary))
            }
            Some(primary) if state.is_returning => Way::Both(Arc::clone(primary)),
            _ => {
                state.appending += 1;
                Way::Journal(Append { switch: self })
            }
        })
    }

    /// What stands in now; used or not.
    pub(super) fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.state.lock().generation)
    }

    pub(super) fn primary(&self) -> Option<Arc<dyn Primary>> {
        self.state.lock().primary.clone()
    }

    /// Notes that a call to the primary failed, which began in `period`. What began before the last outage says nothing
    /// about the primary since then.
    pub(super) fn failed(&self, period: u64, failure: Failure, cause: &Error) {
        let mut state = self.state.lock();
        if !state.is_closed && state.generation.number() == period {
            self.fail(&mut state, failure, cause);
        }
    }

    /// Whether too many calls of `period` timed out, so that a probe has to tell whether the primary is away or only busy.
    pub(super) fn is_in_doubt(&self, period: u64) -> bool {
        let state = self.state.lock();
        state.generation.number() == period && state.breaker.is_in_doubt()
    }

    /// A probe got through in `period`: the primary was busy, not away.
    pub(super) fn clear_doubt(&self, period: u64) {
        let mut state = self.state.lock();
        if state.generation.number() == period {
            state.breaker.clear_doubt(self.clock.monotonic());
        }
    }

    /// Notes that the primary did not acknowledge an invalidation, which is to go into the journal: the breaker is open
    /// from here on, and does not close before the invalidation is there.
    pub(super) fn unacknowledged(&self, cause: &Error) -> Append<'_> {
        self.state.lock().appending += 1;
        // From here on the breaker does not close, also if what follows panics.
        let append = Append { switch: self };
        self.fail(&mut self.state.lock(), Failure::Fatal, cause);
        append
    }

    /// Leaves the primary, which has to be told something before it is read again.
    pub(super) fn leave(&self, cause: &Error) {
        self.fail(&mut self.state.lock(), Failure::Fatal, cause);
    }

    /// Replaces what stands in by something empty, because it could not forget what it had to.
    pub(super) fn discard(&self, generation: &Generation) {
        let mut state = self.state.lock();
        if state.generation.number() == generation.number() {
            self.renew(&mut state);
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn probe_begins(&self) {
        let mut state = self.state.lock();
        state.breaker.probe_begins();
        gauges::breaker(state.breaker.state());
    }

    pub(super) fn probe_failed(&self, cause: Error) {
        let mut state = self.state.lock();
        if state.breaker.state() == BreakerState::Closed {
            return;
        }
        state.is_returning = false;
        state.breaker.probe_failed();
        self.log_outage(&mut state, &cause);
        state.cause = Some(cause);
        gauges::breaker(state.breaker.state());
    }

    /// The primary answers: from now on it hears of what is invalidated, and soon of what it missed.
    pub(super) fn returns(&self, primary: &Arc<dyn Primary>) {
        let mut state = self.state.lock();
        state.primary = Some(Arc::clone(primary));
        state.is_returning = state.breaker.state() == BreakerState::HalfOpen;
    }

    /// Closes the breaker if nothing is owed to the primary and nothing is on its way into the journal. Gives what stood
    /// in until now; `None` when something is owed.
    ///
    /// # Errors
    /// When something failed since the probe began.
    pub(super) fn close_breaker(&self) -> Result<Option<Arc<Generation>>> {
        let mut state = self.state.lock();
        if state.appending > 0 && !is_planted(Plant::LateAppend) || !self.journal.owes_nothing() {
            return Ok(None);
        }
        if !state.breaker.close(self.clock.monotonic()) {
            return Err(Error::new(ErrorKind::Unavailable, "Redis failed again while it came back"));
        }
        state.is_returning = false;
        state.since = self.clock.now();
        state.cause = None;
        gauges::breaker(BreakerState::Closed);
        Ok(Some(Arc::clone(&state.generation)))
    }

    /// Whether the log says that the primary is, or was, away.
    pub(super) fn is_logged(&self) -> bool {
        self.state.lock().is_logged
    }

    /// A number that no other one of this process has.
    pub(super) fn id(&self) -> NonZeroU64 {
        self.id
    }

    /// How long until the next probe.
    pub(super) fn wait(&self, random: f64) -> Duration {
        self.state.lock().breaker.wait(random)
    }

    /// Waits until the breaker opens or is in doubt, or an invalidation has found its place; may wake early.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From now on every call says that the cache is closed.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Why the primary is not in use.
    pub(super) fn cause(&self) -> Option<String> {
        self.state.lock().cause.as_ref().map(ToString::to_string)
    }

    pub(super) fn cause_kind(&self) -> Option<ErrorKind> {
        self.state.lock().cause.as_ref().map(Error::kind)
    }

    /// The store that answers now.
    pub(super) fn kind(&self) -> BackendKind {
        self.state.lock().kind()
    }

    pub(super) fn health(&self) -> Health {
        let state = self.state.lock();
        let breaker = state.breaker.state();
        let is_closed = breaker == BreakerState::Closed;
        Health {
            status: if is_closed { HealthStatus::Ok } else { HealthStatus::Degraded },
            active: state.kind(),
            breaker: Some(breaker),
            cause: state.cause.as_ref().map(ToString::to_string),
            ..Health::ok(BackendKind::Redis, state.since)
        }
    }

    /// Opening the breaker and starting a new, empty generation are one step.
    fn fail(&self, state: &mut State, failure: Failure, cause: &Error) {
        let before = state.breaker.state();
        if !state.breaker.failed(failure, self.clock.monotonic()) {
            if state.breaker.is_in_doubt() {
                self.changed.notify_one();
            }
            return;
        }
        state.is_returning = false;
        let cause = Error::new(cause.kind(), cause.to_string());
        if before == BreakerState::Closed {
            self.renew(state);
            state.since = self.clock.now();
            state.is_logged = false;
            self.log_outage(state, &cause);
            gauges::breaker(BreakerState::Open);
        }
        state.cause = Some(cause);
        self.changed.notify_one();
    }

    /// Says that the primary is away, unless that was said of this outage; an outage shortly after another is said later,
    /// if it lasts.
    fn log_outage(&self, state: &mut State, cause: &Error) {
        if !state.is_logged {
            state.is_logged = cache_core::log::limited(self.id, |suppressed| {
                tracing::warn!(error = %cause, suppressed, "Redis cache lost, falling back to disk cache");
            });
        }
    }

    fn renew(&self, state: &mut State) {
        let number = state.generation.number() + 1;
        state.generation = Arc::new(Generation::new(number, self.max_age, Arc::clone(&self.clock)));
    }
}

impl State {
    fn kind(&self) -> BackendKind {
        match self.breaker.state() {
            BreakerState::Closed => BackendKind::Redis,
            BreakerState::Open | BreakerState::HalfOpen => self.generation.kind(),
        }
    }
}

impl Drop for Append<'_> {
    fn drop(&mut self) {
        let mut state = self.switch.state.lock();
        state.appending = state.appending.saturating_sub(1);
        drop(state);
        self.switch.changed.notify_one();
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the cache was closed; open a new one")
}
