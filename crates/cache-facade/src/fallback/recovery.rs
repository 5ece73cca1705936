//! The background task of the fallback: it notices that the primary is away, and recovers it.

use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::contained_in;
use cache_core::plants::{Plant, is_planted};
use cache_core::{
    BreakerState, Error, ErrorKind, HealthStatus, Invalidation, Monotonic, Result, random_nonzero,
};
use tokio::time::sleep;

use super::Primary;
use super::breaker::Failure;
use super::router::{Route, Router};
use crate::gauges;

/// How often the health of the primary is checked while it is in use; its own heartbeat is sent once a second.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// How many invalidations are sent to the primary in one call.
const AT_ONCE: usize = 500;

/// How often the log repeats that only a change of settings helps.
const WARN_EVERY: Duration = Duration::from_mins(1);

impl Router {
    /// Watches the primary while it is in use, and tries to recover it while it is not, until the cache is closed.
    pub(super) async fn run(self: Arc<Self>) {
        let mut warned = Some(self.clock.monotonic());
        while let Ok(route) = self.route() {
            if let Route::Primary(primary, period) = route {
                self.watch(primary.as_ref(), period).await;
                continue;
            }
            // In a task of its own: the recovery does not wait for a disk.
            let (router, (period, wait)) = (Arc::clone(&self), {
                let state = self.state.lock();
                (state.period, state.breaker.wait(random_share()))
            });
            tokio::spawn(contained_in(async move { router.open_store(period).await }));
            sleep(wait).await;
            if let Some(period) = self.recover().await {
                if self.state.lock().is_logged {
                    cache_core::log::info!("Redis cache available again");
                }
                self.retire_store(period).await;
                warned = None;
            } else {
                self.warn_of_settings(&mut warned);
            }
        }
    }

    /// Probes the primary, sends it the pending invalidations, and closes the breaker. Returns the period whose fallback store
    /// is to be retired; `None` when the primary is still away.
    pub(super) async fn recover(&self) -> Option<u64> {
        {
            let mut state = self.state.lock();
            state.breaker.probe_begins();
            gauges::breaker(state.breaker.state());
        }
        match self.try_recover().await {
            Ok(period) => Some(period),
            Err(error) => {
                cache_core::log::debug!(%error, "Redis is still away");
                self.probe_failed(error);
                None
            }
        }
    }

    /// Notes that a probe failed, or what was sent after it.
    pub(super) fn probe_failed(&self, cause: Error) {
        {
            let mut state = self.state.lock();
            if state.is_up() {
                return;
            }
            state.is_recovering = false;
            state.breaker.probe_failed();
            state.cause = Some(cause);
            gauges::breaker(state.breaker.state());
        }
        self.log_outage();
    }

    async fn try_recover(&self) -> Result<u64> {
        let known = self.state.lock().primary.clone();
        let primary = match known {
            Some(primary) => primary.probe().await.map(|()| primary)?,
            None => self.connector.connect().await?,
        };
        {
            // New invalidations are sent to the primary from now on.
            let mut state = self.state.lock();
            state.primary = Some(Arc::clone(&primary));
            state.is_recovering = state.breaker.state() == BreakerState::HalfOpen;
        }
        loop {
            self.replay(primary.as_ref()).await?;
            let on_recovery = std::mem::take(&mut *self.on_recovery.lock());
            for act in on_recovery {
                act();
            }
            if let Some(period) = self.close_breaker()? {
                return Ok(period);
            }
            // An append is in progress, or has ended.
            self.changed.notified().await;
        }
    }

    /// Closes the breaker if nothing is pending and no append is in progress. Returns the period whose fallback store is not
    /// used any more; `None` if the breaker stays open.
    ///
    /// # Errors
    /// `Unavailable` when the primary failed since the probe began.
    fn close_breaker(&self) -> Result<Option<u64>> {
        let mut state = self.state.lock();
        if state.appending > 0 && !is_planted(Plant::LateAppend) || !self.journal.is_drained() {
            return Ok(None);
        }
        if !state.breaker.close(self.clock.monotonic()) {
            return Err(Error::new(ErrorKind::Unavailable, "Redis failed again during the recovery"));
        }
        state.is_recovering = false;
        state.since = self.clock.now();
        state.cause = None;
        gauges::breaker(BreakerState::Closed);
        Ok(Some(state.period))
    }

    /// Sends the pending invalidations to the primary.
    async fn replay(&self, primary: &dyn Primary) -> Result<()> {
        let batch = self.journal.take_batch();
        let sent = send(primary, &batch).await;
        if sent.is_ok() {
            self.journal.ack();
        } else {
            self.journal.nack();
        }
        gauges::journal_depth(self.journal.depth());
        if sent.is_ok() && !batch.is_empty() {
            cache_core::log::info!(
                limit: self.id, invalidations = batch.len(),
                "sent Redis the invalidations it missed while it was away"
            );
        }
        sent
    }

    /// Waits for the next check of the health or an outage. If calls timed out, probes the primary over a connection of its
    /// own: it is away only if that fails too, else it is busy.
    async fn watch(&self, primary: &dyn Primary, period: u64) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = sleep(CHECK_EVERY) => {
                let health = primary.health().await;
                if health.status == HealthStatus::Degraded {
                    let cause = health.cause.unwrap_or_default();
                    self.failed(period, Failure::Fatal, &Error::new(ErrorKind::Unavailable, cause));
                }
            }
        }
        let mut probe = primary.probe();
        while self.is_in_doubt(period) {
            let probed = tokio::select! {
                probed = &mut probe => probed,
                // It may have been found to be away meanwhile.
                () = self.changed.notified() => continue,
            };
            match probed {
                Ok(()) => {
                    cache_core::log::debug!("Redis is slow to answer, and not away");
                    let mut state = self.state.lock();
                    if state.period == period {
                        state.breaker.clear_doubt(self.clock.monotonic());
                    }
                }
                Err(error) => self.failed(period, Failure::Fatal, &error),
            }
            return;
        }
    }

    /// Whether so many calls of `period` timed out that a probe has to tell whether the primary is away.
    pub(super) fn is_in_doubt(&self, period: u64) -> bool {
        let state = self.state.lock();
        state.period == period && state.breaker.is_in_doubt()
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

/// Invalidates `what` in the primary, in several calls if it is much.
async fn send(primary: &dyn Primary, what: &[Invalidation]) -> Result<()> {
    let everything = [Invalidation::Everything];
    let what = if what.contains(&Invalidation::Everything) { &everything } else { what };
    for some in what.chunks(AT_ONCE) {
        let _ = primary.invalidate(some).await?;
    }
    Ok(())
}

/// Returns a random number from 0 to 1.
fn random_share() -> f64 {
    random_nonzero().get() as f64 / u64::MAX as f64
}
