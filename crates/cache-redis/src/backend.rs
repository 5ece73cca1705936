//! [`RedisBackend`]: the face of the engine.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Explanation, Fill, FillOutcome, FillToken,
    Health, Invalidated, Invalidation, Lookup, NewEntry, Result,
};

use crate::config::RedisConfig;
use crate::engine::Engine;
use crate::error::Fault;
use crate::finish::ToTheEnd;
use crate::keeper::Keeper;
use crate::removed::Removed;
use crate::scan::{self, Pace, Scan};

/// A cache in a Redis that many instances share; see the crate's documentation.
///
/// Every operation has one deadline, [`RedisConfig::timeout`], for the wait for a connection and all its round trips.
/// Only clearing families, globs and everything takes as long as the server holds keys; rules never need that.
#[derive(Debug)]
pub struct RedisBackend {
    pub(crate) engine: Arc<Engine>,
    keeper: Keeper,
}

impl RedisBackend {
    /// Connects, and looks at the server: its role, its memory policy, and whether it is one server.
    ///
    /// # Errors
    /// `Configuration` for settings that cannot work, a wrong password, a command that is not allowed, a replica, a cluster, an address behind which
    /// several servers answer, or other instances with other settings in this namespace; `Unavailable` or `Timeout` when nobody answers.
    ///
    /// # Cost
    /// Four connections, one `INFO` each, and one round trip that tries every command.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let engine = Arc::new(Engine::connect_checked(&config).await?);
        for warning in engine.pool.manager.info.load().warnings() {
            cache_core::log::limited(
                (&engine.pool.address, &warning),
                |suppressed| tracing::warn!(server = %engine.pool.address, suppressed, "Redis: {warning}"),
            );
        }
        let keeper = Keeper::start(&engine, config.heartbeat);
        Ok(Self { engine, keeper })
    }

    /// Whether the server holds entries of this namespace, of whichever of its lives.
    ///
    /// # Errors
    /// `Unavailable` and `Timeout` when it does not answer.
    ///
    /// # Cost
    /// A scan up to the first group.
    pub async fn is_in_use(&self) -> Result<bool> {
        let engine = &self.engine;
        let failed = |fault: Fault| fault.into_error(&engine.pool.address);
        let mut connection = engine.pool.tries().next().await?;
        let (mut scan, mut pace) = (Scan::keys(engine.layout.groups_from("")), Pace::start());
        while let Some(found) = scan.next(&mut connection, &mut pace).await.map_err(failed)? {
            if found.into_iter().filter_map(scan::text).any(|key| engine.layout.parse(&key).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Connects anew and sees whether the server answers, is a master and is still the same one; a new one is entered.
    ///
    /// This is what the heartbeat does. It does not go through the pool, so that it says what is really wrong.
    ///
    /// # Errors
    /// Whatever keeps the server from being used.
    pub async fn probe(&self) -> Result<()> {
        self.engine.pool.check_open()?;
        self.engine.probe().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for RedisBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Redis
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
        self.engine.pool.check_open()?;
        if what.is_empty() {
            return Ok(Invalidated::Applied { removed: 0 });
        }
        let (engine, what) = (Arc::clone(&self.engine), what.to_vec());
        let removed = ToTheEnd::new(async move {
            let mut removed = Removed::default();
            let outcome = engine.remove(&what, &mut removed).await;
            engine.memory.removed(&what);
            engine.count_removed(&what, &removed);
            outcome.map(|()| removed.total())
        })
        .await?;
        Ok(Invalidated::Applied { removed })
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.engine.pool.check_open()?;
        let maxmemory = self.engine.pool.manager.info.load().maxmemory;
        let limit = if maxmemory == 0 { self.engine.reference_limit_bytes } else { maxmemory };
        Ok(self.engine.stats.read(limit))
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
        let entry = self.engine.peek(key).await?;
        let now = self.engine.clock.now();
        let explanation = Explanation::of(key, BackendKind::Redis, entry.as_ref(), now);
        Ok(Explanation { last_miss: self.engine.memory.last_miss(key), ..explanation })
    }

    async fn health(&self) -> Health {
        let condition = self.engine.condition.lock();
        match &condition.cause {
            None => Health::ok(BackendKind::Redis, condition.since),
            Some(cause) => Health::degraded(BackendKind::Redis, condition.since, cause),
        }
    }

    async fn close(&self) -> Result<()> {
        self.keeper.stop();
        self.engine.pool.close();
        Ok(())
    }
}
