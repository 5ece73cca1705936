//! The heartbeat: checks that the server is still the same and may be used.

use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use tokio::time::sleep;

use crate::connection::clock_skew;
use crate::engine::RedisEngine;

impl RedisEngine {
    pub(super) async fn beat_forever(&self, interval: Duration) {
        loop {
            sleep(interval).await;
            // `note` keeps the error for `health`.
            let _ = self.probe().await;
        }
    }

    /// Checks the server over a new connection, and enters its epoch if it is another one.
    pub(crate) async fn probe(&self) -> Result<()> {
        let probed = self.check_server().await;
        if probed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Configuration) {
            // It answers and may not be used any more: it became a replica, or the password or the settings of another
            // instance changed.
            self.pool.manager.epochs.leave();
        }
        self.note(probed.as_ref().err().map(Error::to_string));
        probed
    }

    async fn check_server(&self) -> Result<()> {
        let (manager, address) = (&self.pool.manager, &self.pool.address);
        let mut connection = manager.open().await?;
        if let Some(problem) = &manager.info.load().clock_problem {
            cache_core::log::warn!(
                limit: address, server = %address, "Redis: {problem}; {}", clock_skew::ADVICE
            );
        }
        self.agreement.check(&mut connection, address).await
    }

    /// Records why the server cannot be used, or that it can, and logs the change. An outage shortly after another is logged
    /// later, if it lasts.
    pub(super) fn note(&self, cause: Option<String>) {
        let was_logged = {
            let mut condition = self.condition.lock();
            if condition.cause.is_some() != cause.is_some() {
                condition.since = self.clock.now();
            }
            condition.cause.clone_from(&cause);
            let is_over = cause.is_none();
            if is_over { std::mem::take(&mut condition.is_logged) } else { condition.is_logged }
        };
        let address = &self.pool.address;
        match cause {
            Some(cause) if !was_logged => {
                let is_logged = cache_core::log::warn!(limit: address, "Redis: {cause}");
                let mut condition = self.condition.lock();
                condition.is_logged = is_logged && condition.cause.is_some();
            }
            None if was_logged => cache_core::log::info!(server = %address, "Redis reachable again"),
            Some(_) | None => {}
        }
    }
}
