//! [`RedisBackend`]: the public type, and its implementation of [`CacheBackend`].

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::miss_log::MissLog;
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Error, ErrorKind, Explanation, Fill, FillOutcome,
    FillToken, Health, Invalidated, Invalidation, Lookup, NewEntry, Result,
};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::connection::watchdog::FIRST_LOOK;
use crate::engine::RedisEngine;
use crate::error::Fault;
use crate::maintenance::Maintenance;
use crate::ops::Unacknowledged;
use crate::pool::Pool;
use crate::protocol::layout::Layout;
use crate::protocol::scan::{Scan, Throttle};
use crate::protocol::slot::{ALL_ZONES, Slot};

/// A cache in a Redis server that many instances share.
///
/// Every operation has one deadline, [`RedisConfig::timeout`], for the wait for a connection and all round trips. Clearing a
/// family, a glob or everything takes as long as its scan; each step of the scan is bounded. Rules never need a scan.
#[derive(Debug)]
pub struct RedisBackend {
    pub(crate) engine: Arc<RedisEngine>,
    maintenance: Maintenance,
}

impl RedisBackend {
    /// Connects and checks the server: its role, its commands, its memory policy, and that it is one server.
    ///
    /// # Errors
    /// `Configuration` for settings that cannot work, a wrong password, a command that is not allowed, a replica, a cluster,
    /// an address behind which several servers answer, or other instances with other settings in this namespace;
    /// `Unavailable` or `Timeout` if the server does not answer.
    ///
    /// # Cost
    /// Four connections, one `INFO` each, and one round trip that tries every command; one connection more for each server where
    /// values are kept in memory.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let engine = RedisEngine::connect_checked(&config).await?;
        for pool in engine.servers.pools() {
            if let Some(warning) = pool.manager.info.load().warning() {
                cache_core::log::warn!(
                    limit: (&pool.address, &warning), server = %pool.address, "Redis: {warning}"
                );
            }
        }
        let maintenance = Maintenance::start(&engine, config.heartbeat);
        Ok(Self { engine, maintenance })
    }

    /// Whether the server holds groups of this namespace, of any incarnation or layout.
    ///
    /// # Errors
    /// `Unavailable` and `Timeout` when it does not answer.
    ///
    /// # Cost
    /// A scan up to the first group.
    pub async fn is_in_use(&self) -> Result<bool> {
        for pool in self.engine.servers.pools() {
            if self.engine.holds_groups(&pool).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks, over a new connection, that the server answers, is a master and is still the same; uses a new server from now
    /// on. The heartbeat does this.
    ///
    /// # Errors
    /// Any error that keeps the server from being used.
    pub async fn probe(&self) -> Result<()> {
        self.engine.servers.check_open()?;
        self.engine.probe().await
    }

    /// The servers in use: the address of each, and whether the last heartbeat found it fit for use.
    pub fn nodes(&self) -> Vec<(String, bool)> {
        let state = |pool: Arc<Pool>| (pool.address.clone(), pool.problem.load().is_none());
        self.engine.servers.pools().into_iter().map(state).collect()
    }

    /// The zones of this cache: bit n stands for zone n. One server has the zone 0 only, a cluster all 64.
    pub fn zones(&self) -> u64 {
        if self.engine.servers.is_cluster() { ALL_ZONES } else { Slot::default().zones() }
    }

    /// Returns the number of the zone of `group`: its slot divided by 256, or 0 without a cluster. It is always the same,
    /// wherever the slot is.
    pub fn zone_of(&self, group: &str) -> u8 {
        self.engine.slot(group).zone()
    }

    /// The zones in which slots cannot be used now, as far as the last heartbeat tells.
    pub fn zones_away(&self) -> u64 {
        // One server is away also where its heartbeat does not run.
        let is_one_away = !self.engine.servers.is_cluster() && self.engine.condition.lock().cause.is_some();
        if is_one_away { self.zones() } else { self.engine.servers.map().away() }
    }

    /// Checks all servers, as [`probe`](Self::probe) does, and returns those of `zones` that may be used.
    ///
    /// # Errors
    /// Why none of them may.
    pub async fn probe_zones(&self, zones: u64) -> Result<u64> {
        let probed = self.probe().await;
        match (zones & !self.zones_away(), probed) {
            (0, Err(error)) => Err(error),
            (0, Ok(())) => {
                Err(Error::new(ErrorKind::Unavailable, "Redis cluster: the slots are held by no node"))
            }
            (usable, _) => Ok(usable),
        }
    }

    /// Invalidates `what` at the servers of `zones`, and asks no other; keys and groups in other zones are left out.
    ///
    /// # Errors
    /// Why it was not acknowledged, with the zones of which that is.
    ///
    /// # Cancellation
    /// The invalidation runs on.
    pub async fn invalidate_in(
        &self,
        zones: u64,
        what: &[Invalidation],
    ) -> Result<Invalidated, Unacknowledged> {
        let failed = |error| Unacknowledged { zones, error };
        self.engine.servers.check_open().map_err(failed)?;
        if what.is_empty() {
            return Ok(Invalidated::Applied { removed: 0 });
        }
        let (engine, what) = (Arc::clone(&self.engine), what.to_vec());
        // In a task: dropping this future does not cut the invalidation short.
        let invalidation = tokio::spawn(async move { engine.invalidate(&what, zones).await });
        match invalidation.await {
            Ok(outcome) => outcome.map(|removed| Invalidated::Applied { removed }),
            Err(failed) if failed.is_panic() => resume_unwind(failed.into_panic()),
            Err(_) => Err(failed(Error::new(ErrorKind::Unavailable, "the runtime was shut down"))),
        }
    }
}

impl RedisEngine {
    /// Whether a server holds groups, of any layout.
    fn holds_groups<'a>(&'a self, pool: &'a Pool) -> BoxFuture<'a, Result<bool>> {
        // Boxed here: each crate that awaits it would compile the futures within anew.
        Box::pin(async move {
            let mut connection = pool.check_out(Instant::now() + self.servers.config.timeout).await?;
            let found = holds_groups(&self.layout, &mut connection).await;
            found.map_err(|fault| fault.into_error(&pool.address))
        })
    }
}

async fn holds_groups(layout: &Layout, connection: &mut Connection) -> Result<bool, Fault> {
    let (mut scan, mut throttle) = (Scan::keys(layout.groups_of_any_layout()), Throttle::start());
    while let Some(keys) = scan.next_keys(connection, &mut throttle).await? {
        if keys.iter().any(|key| layout.parse(key).is_some() || layout.is_of_layout_1(key)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for RedisBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Redis
    }

    fn polled_within(&self) -> Option<Duration> {
        Some(FIRST_LOOK)
    }

    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.engine.at_hand(key)
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.engine.lookup(key).await
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        let outcomes = self.engine.fill(&[Fill { key: key.clone(), token, entry }]).await?;
        Ok(outcomes.into_iter().next().unwrap_or(FillOutcome::Refused))
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.engine.set(&[(key.clone(), entry)]).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let invalidated = self.invalidate_in(ALL_ZONES, what).await;
        invalidated.map_err(|unacknowledged| unacknowledged.error)
    }

    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        self.engine.servers.check_open()?;
        self.engine.count_matches(what).await.map(Some)
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.engine.servers.check_open()?;
        let limits: Vec<u64> =
            self.engine.servers.pools().iter().map(|pool| pool.manager.info.load().maxmemory).collect();
        let is_limited = !limits.contains(&0);
        let reference = self.engine.servers.config.reference_limit_bytes;
        Ok(self.engine.stats(if is_limited { limits.iter().sum() } else { reference }))
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.engine.get(key).await
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.engine.lookup_many(keys).await
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.engine.fill(&fills).await
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.engine.get_many(keys).await
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.engine.set(&entries).await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let entry = self.engine.peek(key).await?.entry;
        let last_miss = self.engine.miss_log.lock().last_miss(MissLog::hash(key));
        let explanation = Explanation::of(key, BackendKind::Redis, entry.as_ref(), self.engine.clock.now());
        Ok(Explanation { last_miss, in_memory: self.engine.is_at_hand(key), ..explanation })
    }

    async fn health(&self) -> Health {
        let condition = self.engine.condition.lock();
        let health = match &condition.cause {
            None => Health::ok(BackendKind::Redis, condition.since),
            Some(cause) => Health::degraded(BackendKind::Redis, condition.since, cause),
        };
        Health { near: self.engine.near.health(), ..health }
    }

    async fn close(&self) -> Result<()> {
        self.maintenance.stop();
        self.engine.end_sessions().await;
        self.engine.servers.close();
        Ok(())
    }
}
