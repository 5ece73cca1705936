//! [`RedisEngine`]: the shared state of the backend, and the loop in which every operation runs.

use std::sync::Arc;

use cache_core::miss_log::MissLog;
use cache_core::{Clock, Error, Result, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::error::Fault;
use crate::manager::Manager;
use crate::miss_predictor::MissPredictor;
use crate::pool::Pool;
use crate::protocol::layout::Layout;
use crate::stats::Stats;

#[derive(Debug)]
pub(crate) struct RedisEngine {
    pub(crate) pool: Pool,
    pub(crate) layout: Arc<Layout>,
    pub(crate) stats: Stats,
    pub(crate) miss_log: Mutex<MissLog>,
    pub(crate) predictor: MissPredictor,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) condition: Mutex<Condition>,
}

/// Whether the heartbeat reaches the server, since when, and why not.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) since: Timestamp,
    pub(crate) cause: Option<String>,
    /// Whether the outage was logged.
    pub(crate) is_logged: bool,
}

impl RedisEngine {
    pub(crate) async fn connect(config: &RedisConfig) -> Result<Self> {
        config.check()?;
        let layout = Arc::new(Layout::new(&config.namespace));
        let pool = Pool::connect(config, Manager::new(config, Arc::clone(&layout))?).await?;
        Ok(Self {
            pool,
            layout,
            stats: Stats::default(),
            miss_log: Mutex::default(),
            predictor: MissPredictor::default(),
            clock: Arc::clone(&config.clock),
            condition: Mutex::new(Condition { since: config.clock.now(), cause: None, is_logged: false }),
        })
    }

    /// Runs `operation`, which sends `bytes` of values, until its deadline; again where its connection was gone.
    pub(crate) async fn run<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        bytes: usize,
        operation: impl Fn(Connection, Instant) -> F,
    ) -> Result<T> {
        let mut attempts = self.pool.attempts(bytes);
        loop {
            let connection = attempts.connection().await?;
            match operation(connection, attempts.deadline).await {
                Ok(done) => return Ok(done),
                Err(fault) if attempts.may_retry(&fault) => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    /// Counts `fault` and converts it to an error.
    pub(crate) fn failed(&self, fault: Fault) -> Error {
        self.stats.add(|stats| stats.errors += 1);
        fault.into_error(&self.pool.address)
    }
}
