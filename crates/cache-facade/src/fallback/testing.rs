//! A primary whose failures the tests choose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Error, ErrorKind, Explanation,
    Fill, FillOutcome, FillToken, Health, Invalidated, Invalidation, Lookup, MemoryBackend, NewEntry, Result,
};
use parking_lot::Mutex;

use super::{Connector, OpenFallback, Primary};

/// How calls end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    Up,
    Refuses,
    /// Calls never end.
    Hangs,
    /// Invalidations fail; reads are answered.
    RefusesInvalidations,
    /// About one call in four fails.
    Flaky,
    /// Calls never end, but probes succeed.
    Busy,
    /// Every call panics.
    Panics,
}

/// A store shared by connections, and the network to it.
#[derive(Debug)]
pub(super) struct SharedStore {
    pub(super) store: Arc<MemoryBackend>,
    behaviour: Mutex<Behaviour>,
    calls: AtomicU64,
}

impl SharedStore {
    pub(super) fn new(store: MemoryBackend) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(store),
            behaviour: Mutex::new(Behaviour::Up),
            calls: AtomicU64::new(0),
        })
    }

    pub(super) fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = behaviour;
    }

    /// How many calls have come through the network or failed in it.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn pass(&self, is_invalidation: bool) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let away = || Err(Error::new(ErrorKind::Unavailable, "the shared store is away"));
        let behaviour = *self.behaviour.lock();
        match behaviour {
            Behaviour::Up => Ok(()),
            Behaviour::Refuses => away(),
            Behaviour::Hangs | Behaviour::Busy => std::future::pending().await,
            Behaviour::RefusesInvalidations => {
                if is_invalidation {
                    away()
                } else {
                    Ok(())
                }
            }
            Behaviour::Flaky => {
                let dice = call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
                if dice < 4 { away() } else { Ok(()) }
            }
            Behaviour::Panics => unreachable!("a bug in the client"),
        }
    }
}

/// A connection to a [`SharedStore`].
#[derive(Debug)]
pub(super) struct Connection(pub(super) Arc<SharedStore>);

/// Connects to a [`SharedStore`].
#[derive(Debug)]
pub(super) struct TestConnector(pub(super) Arc<SharedStore>);

#[async_trait]
impl Connector for TestConnector {
    async fn connect(&self) -> Result<Arc<dyn Primary>> {
        self.0.pass(false).await?;
        Ok(Arc::new(Connection(Arc::clone(&self.0))))
    }
}

#[async_trait]
impl Primary for Connection {
    async fn probe(&self) -> Result<()> {
        if *self.0.behaviour.lock() == Behaviour::Busy {
            return Ok(());
        }
        self.0.pass(false).await
    }
}

#[async_trait]
impl CacheBackend for Connection {
    fn kind(&self) -> BackendKind {
        BackendKind::Redis
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.0.pass(false).await?;
        Ok(Lookup { backend: self.kind(), ..self.0.store.lookup(key).await? })
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.0.pass(false).await?;
        self.0.store.fill(key, token, entry).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.0.pass(false).await?;
        self.0.store.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.0.pass(true).await?;
        self.0.store.invalidate(what).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        Ok(CacheStats { backend: self.kind(), ..self.0.store.stats().await? })
    }
}

#[async_trait]
impl AtomicBackend for Connection {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.0.pass(false).await?;
        self.0.store.increment(key, by).await
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        self.0.pass(false).await?;
        self.0.store.add(key, value).await
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.0.pass(false).await?;
        self.0.store.reset(key).await
    }
}

/// Opens fallback stores in memory.
#[derive(Debug)]
pub(super) struct InMemory(pub(super) Arc<dyn cache_core::Clock>);

#[async_trait]
impl OpenFallback for InMemory {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        Arc::new(MemoryBackend::new().with_clock(Arc::clone(&self.0)))
    }
}

/// A fallback store that cannot invalidate, as a disk cache on a full disk.
#[derive(Debug, Default)]
pub(super) struct Undeletable(Arc<MemoryBackend>);

#[async_trait]
impl OpenFallback for Undeletable {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        Arc::new(Self(Arc::new(MemoryBackend::new())))
    }
}

#[async_trait]
impl CacheBackend for Undeletable {
    fn kind(&self) -> BackendKind {
        BackendKind::Disk
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.0.lookup(key).await
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.0.fill(key, token, entry).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.0.set(key, entry).await
    }

    async fn invalidate(&self, _what: &[Invalidation]) -> Result<Invalidated> {
        Err(Error::new(ErrorKind::NotDurable, "no room"))
    }
}

/// A backend that closes its journal too, as the facade does.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) inner: super::FallbackBackend,
    pub(super) journal: Arc<super::Journal>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for Closing {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn polled_within(&self) -> Option<Duration> {
        self.inner.polled_within()
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.inner.lookup(key).await
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.inner.fill(key, token, entry).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.inner.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.inner.invalidate(what).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.inner.stats().await
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.inner.get(key).await
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.inner.lookup_many(keys).await
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.inner.fill_many(fills).await
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.inner.get_many(keys).await
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.inner.set_many(entries).await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.inner.explain(key).await
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self) -> Result<()> {
        let closed = self.inner.close().await;
        self.journal.close().await;
        closed
    }
}

#[async_trait]
impl AtomicBackend for Closing {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.inner.increment(key, by).await
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        self.inner.add(key, value).await
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.inner.reset(key).await
    }
}
