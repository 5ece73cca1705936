//! The background tasks of the fallback: they notice that zones of the primary are away, and recover them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::contained_in;
use cache_core::plants::{Plant, is_planted};
use cache_core::{Error, ErrorKind, Invalidation, Monotonic, Result, random_nonzero};
use tokio::time::sleep;

use super::invalidate::{concerned, invalidate_in};
use super::router::{Returned, Router, State};
use super::{Primary, Unacknowledged};
use crate::durability::zones::ZoneSet;
use crate::gauges;

/// How often the primary is asked which zones it knows to be away; its own heartbeat is sent once a second.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// How many invalidations are sent to the primary in one call.
const AT_ONCE: usize = 500;

/// How often the log repeats that only a change of settings helps.
const WARN_EVERY: Duration = Duration::from_secs(60);

impl Router {
    /// Watches the zones of the primary that are in use, and tries to recover the others, until the cache is closed.
    pub(super) async fn run(self: Arc<Self>) {
        tokio::join!(self.watch(), self.recover_forever());
    }

    async fn recover_forever(self: &Arc<Self>) {
        let mut warned = Some(self.clock.monotonic());
        loop {
            let (is_closed, away, wait) = {
                let state = self.state.lock();
                (state.is_closed, state.breaker.away(), state.breaker.wait(random_share()))
            };
            if is_closed {
                return;
            }
            if away.is_empty() {
                self.changed.notified().await;
                continue;
            }
            // A recovery may take long where a server has to be cleared first; zones that are lost meanwhile need a store.
            let mut recovered = pin!(async {
                sleep(wait).await;
                self.recover().await
            });
            let returned = loop {
                // In a task of its own: the recovery does not wait for a disk.
                let (router, period) = (Arc::clone(self), self.state.lock().period);
                tokio::spawn(contained_in(async move { router.open_store(period).await }));
                tokio::select! {
                    returned = &mut recovered => break returned,
                    () = self.replaced.notified() => {}
                }
            };
            self.log_return(&returned);
            if let Some(period) = returned.retired {
                self.retire_store(period).await;
                warned = None;
            } else {
                self.warn_of_settings(&mut warned);
            }
        }
    }

    /// Probes the zones that are away, sends them what is owed to them, and closes their breaker.
    pub(super) async fn recover(&self) -> Returned {
        {
            let mut state = self.state.lock();
            state.breaker.probe_begins();
            gauges::breaker(state.breaker.state());
        }
        let mut returned = Returned { zones: ZoneSet::EMPTY, is_logged: false, retired: None };
        let recovered = self.try_recover(&mut returned).await;
        if let Err(error) = &recovered {
            cache_core::log::debug!(%error, "Redis is still away");
        }
        self.round_ended(recovered.err());
        returned
    }

    /// Logs what returned, if the log said that it was away.
    fn log_return(&self, returned: &Returned) {
        if !returned.is_logged {
            return;
        }
        let (all, percent_away) = {
            let state = self.state.lock();
            (state.breaker.all(), state.share_away())
        };
        if returned.zones == all {
            cache_core::log::info!("Redis cache available again");
        } else {
            cache_core::log::info!(percent_away, "Redis shard available again");
        }
    }

    /// Notes that a round of probes has ended, and the `cause` if zones are still away.
    pub(super) fn round_ended(&self, cause: Option<Error>) {
        {
            let mut state = self.state.lock();
            state.breaker.round_ended();
            if !state.breaker.away().is_empty() && cause.is_some() {
                state.cause = cause;
            }
            gauges::breaker(state.breaker.state());
        }
        self.log_outage();
    }

    /// Recovers what can be recovered, and notes what returned.
    ///
    /// # Errors
    /// Why zones are still away.
    async fn try_recover(&self, returned: &mut Returned) -> Result<()> {
        let primary = self.probe_away().await?;
        let mut failed = None;
        loop {
            // New invalidations are sent to them, too.
            let recovering = self.state.lock().breaker.recovering();
            if recovering.is_empty() {
                break;
            }
            failed = self.replay(primary.as_ref(), recovering).await.err().or(failed);
            self.act_on_recovery(primary.as_ref());
            if !self.close_breaker(primary.as_ref(), returned) {
                // An append is in progress or has ended, or zones were lost again.
                self.changed.notified().await;
            }
        }
        let is_back = self.state.lock().breaker.away().is_empty();
        match failed {
            _ if is_back => Ok(()),
            Some(error) => Err(error),
            None if returned.zones.is_empty() => {
                Err(Error::new(ErrorKind::Unavailable, "Redis failed again during the recovery"))
            }
            None => Err(self.why_away(primary.as_ref()).await),
        }
    }

    /// Finds out which zones may be used again; from then on they are recovering.
    ///
    /// # Errors
    /// Why none may.
    async fn probe_away(&self) -> Result<Arc<dyn Primary>> {
        let (known, away) = {
            let state = self.state.lock();
            (state.primary.clone(), state.breaker.away())
        };
        let (primary, usable) = if let Some(primary) = known {
            let usable = primary.probe(away).await?;
            (primary, usable)
        } else {
            let primary = self.connector.connect().await?;
            let usable = primary.zones() - primary.away();
            (primary, usable)
        };
        let mut state = self.state.lock();
        state.breaker.set_zones(primary.zones());
        state.breaker.probed(usable);
        state.primary = Some(Arc::clone(&primary));
        Ok(primary)
    }

    /// Sends what is owed to `zones` to them. Those that do not acknowledge it are lost again.
    ///
    /// # Errors
    /// Why some of them did not.
    async fn replay(&self, primary: &dyn Primary, zones: ZoneSet) -> Result<()> {
        let concerns = |what: &Invalidation| concerned(primary, what);
        let batch = self.journal.take_batch(zones, concerns);
        let count = batch.len();
        let mut told = zones;
        let mut failed = Ok(());
        for (zones, what) in calls(batch, zones) {
            for what in what.chunks(AT_ONCE) {
                let zones = zones & told;
                let what: Vec<_> = what.iter().filter(|what| concerns(what).meets(zones)).cloned().collect();
                if what.is_empty() {
                    continue;
                }
                if let Err(Unacknowledged { zones: failed_in, error }) =
                    invalidate_in(primary, zones, &what).await
                {
                    told -= if failed_in.meets(zones) { failed_in } else { zones };
                    failed = Err(error);
                }
            }
        }
        self.journal.ack(told, concerns);
        gauges::journal_depth(self.journal.depth());
        if let Err(error) = &failed {
            self.lose(zones - told, error);
        } else if count > 0 {
            cache_core::log::info!(
                limit: self.id, invalidations = count,
                "sent Redis the invalidations it missed while it was away"
            );
        }
        failed
    }

    /// Calls what is to be called once nothing is owed to any zone.
    fn act_on_recovery(&self, primary: &dyn Primary) {
        let acts = {
            let mut acts = self.on_recovery.lock();
            // Looked at under the lock: what an act waits for is in the journal before it.
            if acts.is_empty() || !self.journal.owed(|what| concerned(primary, what)).is_empty() {
                return;
            }
            std::mem::take(&mut *acts)
        };
        for act in acts {
            act();
        }
    }

    /// Closes the breaker of the recovering zones to which nothing is owed and for which no append is in progress. Returns whether
    /// none is left.
    fn close_breaker(&self, primary: &dyn Primary, returned: &mut Returned) -> bool {
        let mut state = self.state.lock();
        let mut blocked = self.journal.owed(|what| concerned(primary, what));
        if !is_planted(Plant::LateAppend) {
            blocked |= state.appending.iter().copied().collect();
        }
        let zones = state.breaker.recovering() - blocked;
        state.close_zones(zones, &*self.clock, returned);
        gauges::breaker(state.breaker.state());
        state.breaker.recovering().is_empty()
    }

    /// Checks the zones that are in use until the cache is closed: each [`CHECK_EVERY`], and where they are in doubt.
    async fn watch(&self) {
        loop {
            tokio::select! {
                () = self.doubted.notified() => {}
                () = sleep(CHECK_EVERY) => self.check().await,
            }
            if self.state.lock().is_closed {
                return;
            }
            self.settle_doubt().await;
        }
    }

    /// Opens the breaker of the zones that the primary knows to be away.
    pub(super) async fn check(&self) {
        let Some(primary) = self.state.lock().primary.clone() else { return };
        gauges::nodes(|| primary.nodes(), &self.reported);
        let newly_away = |state: &State| primary.away() - state.breaker.away();
        if newly_away(&self.state.lock()).is_empty() {
            return;
        }
        let cause = self.why_away(primary.as_ref()).await;
        let mut state = self.state.lock();
        let lost = newly_away(&state);
        self.lose_in(&mut state, lost, &cause);
        drop(state);
        self.log_outage();
    }

    /// Probes the zones that are in doubt, over connections of the primary's own: what does not answer is away, the rest is
    /// busy.
    async fn settle_doubt(&self) {
        let (primary, asked) = {
            let state = self.state.lock();
            let Some(primary) = state.primary.clone() else { return };
            (primary, state.breaker.in_doubt())
        };
        if asked.is_empty() {
            return;
        }
        let mut probe = primary.probe(asked);
        let probed = loop {
            tokio::select! {
                probed = &mut probe => break probed,
                // They may have been found to be away meanwhile.
                () = self.doubted.notified() => {
                    if !self.state.lock().breaker.in_doubt().meets(asked) {
                        return;
                    }
                }
            }
        };
        let (usable, cause) = match probed {
            Ok(usable) if usable.covers(asked) => (usable, None),
            Ok(usable) => (usable, Some(self.why_away(primary.as_ref()).await)),
            Err(error) => (ZoneSet::EMPTY, Some(error)),
        };
        {
            let mut state = self.state.lock();
            if let Some(cause) = cause {
                let lost = (asked - usable) & state.breaker.in_doubt();
                self.lose_in(&mut state, lost, &cause);
            }
            if usable.meets(asked) {
                cache_core::log::debug!("Redis is slow to answer, and not away");
                state.breaker.clear_doubt(usable & asked, self.clock.monotonic());
            }
        }
        self.log_outage();
    }

    /// Returns why zones of `primary` are away, as far as that is known.
    async fn why_away(&self, primary: &dyn Primary) -> Error {
        let known = primary.health().await.cause.map(|cause| Error::new(ErrorKind::Unavailable, cause));
        let noted =
            || self.state.lock().cause.as_ref().map(|cause| Error::new(cause.kind(), cause.to_string()));
        known.or_else(noted).unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "Redis does not answer"))
    }

    /// Warns once a minute while only a change of settings helps.
    fn warn_of_settings(&self, warned: &mut Option<Monotonic>) {
        let state = self.state.lock();
        let cause = state.cause.as_ref().filter(|cause| cause.kind() == ErrorKind::Configuration);
        let Some(cause) = cause.map(ToString::to_string) else { return };
        drop(state);
        let now = self.clock.monotonic();
        if warned.is_none_or(|at| now.saturating_since(at) >= WARN_EVERY) {
            cache_core::log::warn!(
                error = cause,
                "Redis cannot be used as it is configured; the fallback stays"
            );
            *warned = Some(now);
        }
    }
}

/// Splits what is owed to some of `zones` into calls: one for what concerns one zone, and one for the patterns that are owed
/// to the same zones. A clear takes the place of what it covers.
fn calls(batch: Vec<(Invalidation, ZoneSet)>, zones: ZoneSet) -> BTreeMap<ZoneSet, Vec<Invalidation>> {
    let mut calls = BTreeMap::<_, Vec<_>>::new();
    let clears = batch.iter().filter(|(what, _)| *what == Invalidation::Everything);
    let cleared: ZoneSet = clears.map(|(_, owed)| *owed).collect();
    if !cleared.is_empty() {
        calls.insert(cleared, vec![Invalidation::Everything]);
    }
    for (what, owed) in batch {
        let owed = owed - cleared;
        if !owed.is_empty() {
            calls.entry(if owed.len() == 1 { zones } else { owed }).or_default().push(what);
        }
    }
    calls
}

/// Returns a random number from 0 to 1.
fn random_share() -> f64 {
    random_nonzero().get() as f64 / u64::MAX as f64
}
