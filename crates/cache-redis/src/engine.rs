//! [`RedisEngine`]: the shared state of the backend, and the loop in which every operation runs.

use std::sync::Arc;

use cache_core::miss_log::MissLog;
use cache_core::{Clock, Error, Result, Timestamp};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::error::Fault;
use crate::miss_predictor::MissPredictor;
use crate::near::Near;
use crate::protocol::layout::Layout;
use crate::protocol::slot::Slot;
use crate::servers::Servers;
use crate::stats::Stats;

#[derive(Debug)]
pub(crate) struct RedisEngine {
    pub(crate) servers: Arc<Servers>,
    /// The address of the settings, for messages.
    pub(crate) address: String,
    pub(crate) layout: Arc<Layout>,
    pub(crate) stats: Stats,
    pub(crate) miss_log: Mutex<MissLog>,
    pub(crate) predictor: MissPredictor,
    pub(crate) near: Arc<Near>,
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
        let servers = Servers::connect(config, &layout).await?;
        let near = Arc::new(Near::new(config, servers.is_cluster()));
        Ok(Self {
            servers,
            address: config.address(),
            layout,
            stats: Stats::default(),
            miss_log: Mutex::default(),
            predictor: MissPredictor::default(),
            near,
            clock: Arc::clone(&config.clock),
            condition: Mutex::new(Condition { since: config.clock.now(), cause: None, is_logged: false }),
        })
    }

    /// Runs `operation` on the server that holds `slot`, until its deadline; again where its connection was gone, or where the
    /// slot is held by another server by now. It sends `bytes` of values.
    pub(crate) async fn run<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        slot: Slot,
        bytes: usize,
        operation: impl Fn(Connection, Instant) -> F,
    ) -> Result<T> {
        let mut attempts = Attempts::new(&self.servers, slot, bytes);
        loop {
            let connection = attempts.connection().await?;
            match operation(connection, attempts.deadline).await {
                Ok(done) => return Ok(done),
                Err(fault) if attempts.may_retry(&fault) => {}
                Err(fault) => return Err(self.failed(slot, fault)),
            }
        }
    }

    /// Runs `operation` on `count` items for each server at once, with the positions of the items whose slots it holds. Returns
    /// the results in the order of the items.
    ///
    /// # Errors
    /// The first error of a server, once all servers have done their part.
    pub(crate) async fn spread<T, F: Future<Output = Result<Vec<T>>>>(
        &self,
        count: usize,
        slot_of: impl Fn(usize) -> Slot,
        operation: impl Fn(Slot, Vec<usize>) -> F,
    ) -> Result<Vec<T>> {
        if !self.servers.is_cluster() {
            return operation(Slot::default(), (0..count).collect()).await;
        }
        let mut done: Vec<(usize, T)> = Vec::with_capacity(count);
        for (positions, part) in self.spread_apart(count, slot_of, operation).await {
            done.extend(positions.into_iter().zip(part?));
        }
        done.sort_unstable_by_key(|(position, _)| *position);
        Ok(done.into_iter().map(|(_, done)| done).collect())
    }

    /// Runs `operation` as [`spread`](Self::spread) does, and returns the positions and the outcome of each part.
    pub(crate) async fn spread_apart<T, F: Future<Output = Result<Vec<T>>>>(
        &self,
        count: usize,
        slot_of: impl Fn(usize) -> Slot,
        operation: impl Fn(Slot, Vec<usize>) -> F,
    ) -> Vec<(Vec<usize>, Result<Vec<T>>)> {
        let version = self.servers.version();
        let parts = self.servers.map().split((0..count).map(&slot_of));
        let part = async |slot, positions: Vec<usize>| {
            let is_one = positions.iter().all(|position| slot_of(*position) == slot);
            match operation(slot, positions.clone()).await {
                // Some of its slots are held by another server by now.
                Err(_) if !is_one && self.servers.version() != version => {
                    let each = positions.iter().map(|&position| operation(slot_of(position), vec![position]));
                    let each = join_all(each).await.into_iter().collect::<Result<Vec<_>>>()?;
                    Ok(each.into_iter().flatten().collect())
                }
                done => done,
            }
        };
        let parts = parts.into_iter().map(async |(slot, positions)| {
            let done = part(slot, positions.clone()).await;
            (positions, done)
        });
        join_all(parts).await
    }

    /// Counts `fault` of the server that holds `slot`, and converts it to an error.
    pub(crate) fn failed(&self, slot: Slot, fault: Fault) -> Error {
        self.stats.add(|stats| stats.errors += 1);
        let map = self.servers.map();
        let address =
            map.owner(slot).map_or_else(|| self.servers.config.address(), |pool| pool.address.clone());
        fault.into_error(&address)
    }

    /// Returns the slot of `group`.
    pub(crate) fn slot(&self, group: &str) -> Slot {
        self.servers.slot(group)
    }
}
