//! [`Maintenance`]: the background tasks of a cache.

mod heartbeat;
mod vacuum;

use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::supervise;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::engine::RedisEngine;

/// Runs the heartbeat, the vacuum and the session of values in memory until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Maintenance(Mutex<JoinSet<()>>);

impl Maintenance {
    pub(crate) fn start(engine: &Arc<RedisEngine>, interval: Duration) -> Self {
        let (beating, vacuuming) = (Arc::clone(engine), Arc::clone(engine));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let panicked = |message: &str| beating.note(Some(format!("the heartbeat panicked: {message}")));
            supervise(|| beating.beat_forever(interval), panicked, sleep).await;
        });
        tasks.spawn(async move {
            supervise(|| vacuuming.vacuum_forever(interval), |_| {}, sleep).await;
        });
        if engine.near.cache.is_some() {
            let holding = Arc::clone(engine);
            tasks.spawn(async move {
                supervise(|| holding.hold_sessions_forever(), |_| {}, sleep).await;
            });
        }
        Self(Mutex::new(tasks))
    }

    pub(crate) fn stop(&self) {
        self.0.lock().abort_all();
    }
}
