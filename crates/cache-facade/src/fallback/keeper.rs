//! What happens in the background: seeing that the primary is gone, and coming back to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::contained_in;
use cache_core::{Error, ErrorKind, HealthStatus, Invalidation, Monotonic, Result, random_nonzero};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::Shared;
use super::breaker::Failure;
use super::generation::Generation;
use super::primary::Primary;
use super::switch::Route;
use crate::gauges;

/// How often the primary's own heartbeat, one a second, is looked at while it is in use.
const LOOK: Duration = Duration::from_millis(250);

/// How many invalidations the primary is told of in one call.
const AT_ONCE: usize = 500;

/// How often what only a change of settings can cure is said.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// Something to be done when the primary is in use for the first time.
pub(crate) struct FirstReturn(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl FirstReturn {
    pub(crate) fn new(duty: impl FnOnce() + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(duty))))
    }

    /// Something else to be done then, after what is still to be done.
    pub(super) fn add(&self, duty: impl FnOnce() + Send + 'static) {
        let mut duties = self.0.lock();
        let before = duties.take();
        *duties = Some(Box::new(move || {
            if let Some(before) = before {
                before();
            }
            duty();
        }));
    }

    fn fulfil(&self) {
        let duty = self.0.lock().take();
        if let Some(duty) = duty {
            duty();
        }
    }
}

impl fmt::Debug for FirstReturn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstReturn").finish_non_exhaustive()
    }
}

impl Shared {
    /// Looks after the primary while it is there, and after the way back while it is not.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut said = Some(self.clock.monotonic());
        while !self.switch.is_closed() {
            match self.switch.route() {
                Ok(Route::Primary(primary, period)) => self.watch_over(&primary, period).await,
                Ok(Route::Away(_)) => {
                    self.open_generation();
                    sleep(self.switch.wait(random_share())).await;
                    if let Some(stood_in) = self.come_back().await {
                        if self.switch.is_logged() {
                            cache_core::log::emit(|| tracing::info!("Redis cache available again"));
                        }
                        self.shelf.retire(stood_in.number()).await;
                        said = None;
                    } else {
                        self.say_what_only_settings_cure(&mut said);
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Probes the primary, tells it what it missed, and closes the breaker. If that went well, gives what stood in until
    /// then, which is to be retired.
    pub(super) async fn come_back(&self) -> Option<Arc<Generation>> {
        self.switch.probe_begins();
        match self.try_to_come_back().await {
            Ok(stood_in) => Some(stood_in),
            Err(error) => {
                cache_core::log::emit(|| tracing::debug!(%error, "Redis is still away"));
                self.switch.probe_failed(error);
                None
            }
        }
    }

    async fn try_to_come_back(&self) -> Result<Arc<Generation>> {
        let primary = match self.switch.primary() {
            Some(primary) => {
                primary.probe().await?;
                primary
            }
            None => self.connector.connect().await?,
        };
        self.switch.returns(&primary);
        loop {
            self.replay(primary.as_ref()).await?;
            self.first_return.fulfil();
            if let Some(stood_in) = self.switch.close_breaker()? {
                return Ok(stood_in);
            }
            // Something is on its way into the journal, or came to be there.
            self.switch.changed().await;
        }
    }

    /// Tells the primary what it missed.
    async fn replay(&self, primary: &dyn Primary) -> Result<()> {
        let owed = self.journal.begin_to_pay();
        let told = if owed.contains(&Invalidation::Everything) {
            tell(primary, &[Invalidation::Everything]).await
        } else {
            let mut told = Ok(());
            for some in owed.chunks(AT_ONCE) {
                told = tell(primary, some).await;
                if told.is_err() {
                    break;
                }
            }
            told
        };
        self.journal.end_to_pay(told.is_ok());
        gauges::journal_depth(self.journal.depth());
        if told.is_ok() && !owed.is_empty() {
            cache_core::log::limited(self.switch.id(), |suppressed| {
                tracing::info!(
                    invalidations = owed.len(),
                    suppressed,
                    "told Redis what was invalidated while it was away"
                );
            });
        }
        told
    }

    /// Waits for the next heartbeat or an outage.
    async fn watch_over(&self, primary: &Arc<dyn Primary>, period: u64) {
        tokio::select! {
            () = self.switch.changed() => {}
            () = sleep(LOOK) => {
                let health = primary.health().await;
                if health.status == HealthStatus::Degraded {
                    let cause = health.cause.unwrap_or_default();
                    let error = Error::new(ErrorKind::Unavailable, cause);
                    self.switch.failed(period, Failure::Fatal, &error);
                }
            }
        }
        self.settle_doubt(primary, period).await;
    }

    /// Starts what stands in now, if it has not been started; the way back does not wait for a disk.
    fn open_generation(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let generation = self.switch.generation();
        tokio::spawn(contained_in(async move { shared.shelf.open(&generation).await }));
    }

    fn say_what_only_settings_cure(&self, said: &mut Option<Monotonic>) {
        let is_settings = self.switch.cause_kind() == Some(ErrorKind::Configuration);
        let now = self.clock.monotonic();
        if is_settings && said.is_none_or(|at| now.saturating_since(at) >= SAY_AGAIN) {
            let cause = self.switch.cause();
            cache_core::log::emit(|| {
                tracing::warn!(error = cause, "Redis cannot be used as it is configured; the fallback stays");
            });
            *said = Some(now);
        }
    }
}

/// Invalidates `what` in the primary.
async fn tell(primary: &dyn Primary, what: &[Invalidation]) -> Result<()> {
    if what.is_empty() {
        return Ok(());
    }
    let _ = primary.invalidate(what).await?;
    Ok(())
}

/// A number from 0 to 1.
fn random_share() -> f64 {
    random_nonzero().get() as f64 / u64::MAX as f64
}
