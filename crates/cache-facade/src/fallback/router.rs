//! [`Router`]: the one lock under which calls are routed, and the breaker opens and closes.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::sync::Mutex;
use cache_core::{
    BackendKind, CacheBackend, CacheKey, Clock, Error, ErrorKind, Health, HealthStatus, Monotonic, Result,
    Timestamp, random_nonzero,
};
use tokio::sync::Notify;

use super::breaker::{CircuitBreaker, Failure};
use super::store::Opened;
use super::unopened::Unopened;
use super::{Connector, OnRecovery, Parts, Primary};
use crate::durability::journal::Journal;
use crate::durability::zones::ZoneSet;
use crate::gauges;

/// A call that is cancelled after this time counts as a time-out; an earlier cancellation is ignored.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(200);

/// Routes calls to the primary or to the fallback store; shared by the backend and its recovery task.
pub(super) struct Router {
    pub(super) state: Mutex<State>,
    /// Signalled when zones are lost, and when an append has ended.
    pub(super) changed: Notify,
    /// Signalled when zones are in doubt or are lost.
    pub(super) doubted: Notify,
    /// Signalled when the fallback store is to be replaced.
    pub(super) replaced: Notify,
    pub(super) opened: Opened,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<dyn Clock>,
    /// Called once, when the primary has acknowledged everything that is pending.
    pub(super) on_recovery: parking_lot::Mutex<Vec<OnRecovery>>,
    pub(super) max_age: Duration,
    /// The servers that the last report has named.
    pub(super) reported: parking_lot::Mutex<Vec<String>>,
    /// Unique in this process.
    pub(super) id: NonZeroU64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) breaker: CircuitBreaker,
    pub(super) primary: Option<Arc<dyn Primary>>,
    /// Increases with each fallback store that is replaced. A period is the time in which one fallback store is in use, and
    /// the use of Redis after it.
    pub(super) period: u64,
    /// The store that is used for the zones that are away.
    pub(super) store: Arc<dyn CacheBackend>,
    /// The zones that were away and have returned in this period: the store holds values of them that must not be read again.
    returned: ZoneSet,
    /// The zones of each invalidation that is being appended to the journal.
    pub(super) appending: Vec<ZoneSet>,
    pub(super) is_closed: bool,
    since: Timestamp,
    pub(super) cause: Option<Error>,
    /// The zones that the log says are away. All of them from the start.
    logged: ZoneSet,
}

/// The store for a read or a fill.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// The primary, after zones were lost this many times.
    Primary(Arc<dyn Primary>, u64),
    Fallback(Arc<dyn CacheBackend>),
}

/// The stores for a batch.
#[derive(Debug)]
pub(super) enum Routes {
    One(Route),
    /// The fallback store for the keys of these zones, and the primary, after this many losses, for the others.
    Both(Arc<dyn Primary>, u64, Arc<dyn CacheBackend>, ZoneSet),
}

/// What returned in one round of probes.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) zones: ZoneSet,
    /// Whether the log said that some of them were away.
    pub(super) is_logged: bool,
    /// The period whose fallback store is not used any more, because no zone is away.
    pub(super) retired: Option<u64>,
}

/// A call to the primary in progress.
struct Watch<'a, Z: Fn(&dyn Primary) -> ZoneSet> {
    router: &'a Router,
    /// How often zones had been lost when it was routed.
    losses: u64,
    zones: Z,
    started: Monotonic,
    is_done: bool,
}

impl Routes {
    /// The zones whose keys go to the fallback store.
    pub(super) fn away(&self) -> ZoneSet {
        match self {
            Self::One(Route::Primary(..)) => ZoneSet::EMPTY,
            Self::One(Route::Fallback(_)) => ZoneSet::ALL,
            Self::Both(.., away) => *away,
        }
    }

    /// The store for a call that concerns no key: the primary, as long as any of its zones is in use.
    pub(super) fn of_the_whole(self) -> Route {
        match self {
            Self::One(route) => route,
            Self::Both(primary, losses, ..) => Route::Primary(primary, losses),
        }
    }
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
            returned: ZoneSet::EMPTY,
            appending: Vec::new(),
            is_closed: false,
            since: clock.now(),
            cause: None,
            logged: ZoneSet::ALL,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            doubted: Notify::new(),
            replaced: Notify::new(),
            opened: Opened { opener: fallback, current: tokio::sync::Mutex::default() },
            connector,
            journal,
            clock,
            on_recovery: parking_lot::Mutex::new(vec![on_recovery]),
            max_age,
            reported: parking_lot::Mutex::default(),
            id: random_nonzero(),
        }
    }

    /// Routes a batch of reads or fills.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close).
    ///
    /// # Cost
    /// One lock; no zone is computed.
    pub(super) fn routes(&self) -> Result<Routes> {
        let state = self.state.lock();
        state.check_open()?;
        let (away, losses) = (state.breaker.away(), state.breaker.losses());
        Ok(match &state.primary {
            Some(primary) if away.is_empty() => Routes::One(Route::Primary(Arc::clone(primary), losses)),
            Some(primary) if away != state.breaker.all() => {
                Routes::Both(Arc::clone(primary), losses, Arc::clone(&state.store), away)
            }
            _ => Routes::One(Route::Fallback(Arc::clone(&state.store))),
        })
    }

    /// Routes a read or a fill of `key`.
    ///
    /// # Errors
    /// As for [`routes`](Self::routes).
    pub(super) fn route(&self, key: &CacheKey) -> Result<Route> {
        self.route_group(key.group())
    }

    /// Routes a call that concerns `group` alone.
    ///
    /// # Errors
    /// As for [`routes`](Self::routes).
    pub(super) fn route_group(&self, group: &str) -> Result<Route> {
        Ok(match self.routes()? {
            Routes::One(route) => route,
            Routes::Both(primary, losses, store, away) => {
                if away.contains(primary.zone_of(group)) {
                    Route::Fallback(store)
                } else {
                    Route::Primary(primary, losses)
                }
            }
        })
    }

    /// Whether any of `zones` is away.
    pub(super) fn is_away(&self, zones: impl FnOnce(&dyn Primary) -> ZoneSet) -> bool {
        let state = self.state.lock();
        let away = state.breaker.away();
        !away.is_empty() && state.primary.as_deref().is_none_or(|primary| away.meets(zones(primary)))
    }

    /// Waits for a call to the primary that was routed after this many `losses`, and reports its outcome to the breaker of the
    /// `zones` that it concerns, which are computed only if it fails.
    pub(super) async fn watched<T>(
        &self,
        losses: u64,
        zones: impl Fn(&dyn Primary) -> ZoneSet,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut watch =
            Watch { router: self, losses, zones, started: self.clock.monotonic(), is_done: false };
        let outcome = call.await;
        watch.is_done = true;
        if let Err(error) = &outcome
            && let Some(failure) = Failure::of(error)
        {
            self.failed(losses, &watch.zones, failure, error);
        }
        outcome
    }

    /// Notes that a call to the primary failed, which was routed after this many `losses` and concerned `zones`. If one of these was
    /// lost since, the failure says nothing new.
    ///
    /// The error does not tell which of several zones failed. Those whose servers are known to be away are lost; where there
    /// is none, a probe decides.
    pub(super) fn failed(
        &self,
        losses: u64,
        zones: impl Fn(&dyn Primary) -> ZoneSet,
        failure: Failure,
        cause: &Error,
    ) {
        {
            let mut state = self.state.lock();
            let Some(primary) = state.primary.clone() else { return };
            let zones = zones(&*primary);
            if state.is_closed || state.breaker.was_lost_since(losses, zones) {
                return;
            }
            // Zones that are away already are left to their recovery.
            let known = || primary.away() - state.breaker.away();
            match failure {
                Failure::Timeout => state.breaker.timed_out(zones, self.clock.monotonic()),
                Failure::Fatal => match known() {
                    known if zones.len() == 1 => self.lose_in(&mut state, zones | known, cause),
                    known if known.meets(zones) => self.lose_in(&mut state, known, cause),
                    _ => state.breaker.doubt(zones),
                },
            }
            if !state.breaker.in_doubt().is_empty() {
                self.doubted.notify_one();
            }
        }
        self.log_outage();
    }

    /// Opens the breaker of `zones`: the primary is not read there until it has acknowledged all that is owed to them.
    pub(super) fn lose(&self, zones: ZoneSet, cause: &Error) {
        self.lose_in(&mut self.state.lock(), zones, cause);
        self.log_outage();
    }

    /// Opens the breaker of `zones`. Where the fallback store may hold older values of them, replacing it by a new, empty one
    /// is part of the same step.
    pub(super) fn lose_in(&self, state: &mut State, zones: ZoneSet, cause: &Error) {
        let away = state.breaker.away();
        let opened = state.breaker.lose(zones, self.clock.monotonic());
        if opened.is_empty() {
            return;
        }
        if away.is_empty() {
            state.since = self.clock.now();
        }
        let is_lost_again = state.returned.meets(opened - away) && !is_planted(Plant::OldOutage);
        if away.is_empty() || is_lost_again {
            self.replace_store(state);
        }
        state.cause = Some(Error::new(cause.kind(), cause.to_string()));
        gauges::breaker(state.breaker.state());
        self.changed.notify_one();
        self.doubted.notify_one();
    }

    /// Starts the next period, whose store is not open yet.
    pub(super) fn replace_store(&self, state: &mut State) {
        state.period += 1;
        state.store = Arc::new(Unopened);
        state.returned = ZoneSet::EMPTY;
        self.replaced.notify_one();
    }

    /// Logs that zones are away, unless that was logged since they are. An outage shortly after another is logged later, if it
    /// lasts.
    pub(super) fn log_outage(&self) {
        let (suppressed, cause, share) = {
            let mut state = self.state.lock();
            let away = state.breaker.away();
            if (away - state.logged).is_empty() {
                return;
            }
            let Some(cause) = state.cause.as_ref().map(ToString::to_string) else { return };
            let share = state.share_away();
            let Some(suppressed) = cache_core::log::admitted((self.id, share == 100)) else { return };
            state.logged |= away;
            (suppressed, cause, share)
        };
        if share == 100 {
            cache_core::log::warn!(suppressed, error = %cause, "Redis cache lost, falling back to disk cache");
        } else {
            cache_core::log::warn!(
                suppressed, percent_away = share, error = %cause,
                "Redis shard lost, its keys fall back to disk cache"
            );
        }
    }

    /// Makes every later call fail with `Closed`.
    pub(super) fn close(&self) -> Option<Arc<dyn Primary>> {
        let mut state = self.state.lock();
        state.is_closed = true;
        self.changed.notify_one();
        self.doubted.notify_one();
        state.primary.clone()
    }
}

impl State {
    /// How many percent of the keys are away, rounded up.
    pub(super) fn share_away(&self) -> u32 {
        self.breaker.away().percent_of(self.breaker.all())
    }

    /// The kind of the store that is in use, the primary's as long as any of its zones is.
    pub(super) fn kind(&self) -> BackendKind {
        if self.breaker.away() == self.breaker.all() {
            fallback_kind(self.store.kind())
        } else {
            BackendKind::Redis
        }
    }

    /// Closes the breaker of those of `zones` that are recovering, and adds them to `returned`.
    pub(super) fn close_zones(&mut self, zones: ZoneSet, clock: &dyn Clock, returned: &mut Returned) {
        let closed = self.breaker.close(zones, clock.monotonic());
        if closed.is_empty() {
            return;
        }
        returned.zones |= closed;
        returned.is_logged |= self.logged.meets(closed);
        self.returned |= closed;
        self.logged -= closed;
        if self.breaker.losses() == 0 {
            // The start logs only that the whole is away.
            self.logged = ZoneSet::EMPTY;
        }
        if self.breaker.away().is_empty() {
            self.since = clock.now();
            self.cause = None;
            returned.retired = Some(self.period);
        }
    }

    pub(super) fn health(&self) -> Health {
        let (away, share) = (self.breaker.away(), self.share_away());
        let in_part = |cause| {
            if share == 100 { cause } else { format!("Redis is away for {share} % of the keys: {cause}") }
        };
        Health {
            status: if away.is_empty() { HealthStatus::Ok } else { HealthStatus::Degraded },
            active: self.kind(),
            breaker: Some(self.breaker.state()),
            cause: self.cause.as_ref().map(|cause| in_part(cause.to_string())),
            ..Health::ok(BackendKind::Redis, self.since)
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.is_closed {
            return Err(Error::new(ErrorKind::Closed, "the cache was closed; open a new one"));
        }
        Ok(())
    }
}

impl<Z: Fn(&dyn Primary) -> ZoneSet> Drop for Watch<'_, Z> {
    fn drop(&mut self) {
        let waited = self.router.clock.monotonic().saturating_since(self.started);
        if !self.is_done && waited >= GIVEN_UP_AFTER {
            let error = Error::new(ErrorKind::Timeout, "Redis did not answer before its caller gave up");
            self.router.failed(self.losses, &self.zones, Failure::Timeout, &error);
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
