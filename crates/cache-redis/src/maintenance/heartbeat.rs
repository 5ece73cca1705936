//! The heartbeat: checks that the servers are still the same and may be used.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, Result};
use futures_util::future::{BoxFuture, join_all};
use tokio::time::sleep;

use crate::engine::RedisEngine;

impl RedisEngine {
    pub(super) async fn beat_forever(self: &Arc<Self>, interval: Duration) {
        loop {
            sleep(interval).await;
            // `note` keeps the error for `health`.
            let _ = self.probe().await;
        }
    }

    /// Checks all servers over new connections, and enters the epochs of those that are in another one.
    pub(crate) fn probe(self: &Arc<Self>) -> BoxFuture<'_, Result<()>> {
        // Boxed here: each crate that awaits it would compile the futures within anew.
        Box::pin(async move {
            let probed = self.servers.refresh().await;
            let pools = self.servers.pools();
            let looks = pools.iter().filter(|pool| pool.problem.load().is_none());
            // Boxed to keep the futures of callers small.
            Box::pin(join_all(looks.map(|pool| self.look_for_registries(pool)))).await;
            self.announce_repeated();
            self.note(probed.as_ref().err().map(Error::to_string));
            probed
        })
    }

    /// Records why the server cannot be used, or that it can, and logs the change. An outage shortly after another is logged
    /// later, if it lasts.
    pub(super) fn note(&self, cause: Option<String>) {
        let address = &self.address;
        let suppressed = {
            let mut condition = self.condition.lock();
            if condition.cause.is_some() != cause.is_some() {
                condition.since = self.clock.now();
            }
            condition.cause.clone_from(&cause);
            if cause.is_some() == condition.is_logged {
                return;
            }
            let suppressed = if cause.is_some() { cache_core::log::admitted(address) } else { Some(0) };
            condition.is_logged = cause.is_some() && suppressed.is_some();
            suppressed
        };
        match (cause, suppressed) {
            (Some(cause), Some(suppressed)) => cache_core::log::warn!(suppressed, "Redis: {cause}"),
            (None, Some(_)) => cache_core::log::info!(server = %address, "Redis reachable again"),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use testkit::RedisServer;

    use super::*;
    use crate::config::RedisConfig;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_outage_that_several_probes_find_at_once_is_logged_and_known_to_be() {
        let server = RedisServer::start().unwrap();
        let config = RedisConfig::new("127.0.0.1").port(server.port());
        let mut engine = RedisEngine::connect(&config).await.unwrap();
        for trial in 0..200 {
            // A limit of its own.
            engine.address = format!("trial {trial}");
            engine.note(None);
            let (engine, barrier) = (&engine, &Barrier::new(4));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(move || {
                        barrier.wait();
                        engine.note(Some("refused".to_owned()));
                    });
                }
            });
            assert!(engine.condition.lock().is_logged);
        }
    }
}
