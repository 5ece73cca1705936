//! A primary that is away at will, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Error, ErrorKind, Explanation,
    Fill, FillOutcome, FillToken, Health, Invalidated, Invalidation, Lookup, MemoryBackend, NewEntry,
    NullBackend, Result,
};

use super::{Connector, Primary, Standin};

/// What becomes of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mood {
    Up,
    Refuses,
    /// No answer ever.
    Hangs,
    /// Nobody hears of what is invalidated; reads are answered.
    Deaf,
    /// Nobody knows from call to call.
    Moody,
    /// No answer ever, but to probes.
    Busy,
    /// Every call panics.
    Panics,
}

/// A store that outlives whoever uses it, and a network to it.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) store: Arc<MemoryBackend>,
    mood: AtomicU8,
    calls: AtomicU64,
}

impl Shop {
    pub(super) fn new(store: MemoryBackend) -> Arc<Self> {
        Arc::new(Self { store: Arc::new(store), mood: AtomicU8::new(0), calls: AtomicU64::new(0) })
    }

    pub(super) fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// How many calls have come through the network or failed in it.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn pass(&self, is_invalidation: bool) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let away = || Err(Error::new(ErrorKind::Unavailable, "the shop is closed"));
        match self.mood.load(Ordering::SeqCst) {
            1 => away(),
            2 | 5 => std::future::pending().await,
            3 if is_invalidation => away(),
            0 | 3 => Ok(()),
            6 => unreachable!("a bug in the client"),
            _ => {
                // About one call in four fails.
                let dice = call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
                if dice < 4 { away() } else { Ok(()) }
            }
        }
    }
}

/// A connection to a [`Shop`].
#[derive(Debug)]
pub(super) struct Customer(pub(super) Arc<Shop>);

/// Connects to a [`Shop`].
#[derive(Debug)]
pub(super) struct Way(pub(super) Arc<Shop>);

#[async_trait]
impl Connector for Way {
    async fn connect(&self) -> Result<Arc<dyn Primary>> {
        self.0.pass(false).await?;
        Ok(Arc::new(Customer(Arc::clone(&self.0))))
    }

    fn ended(&self) {}
}

#[async_trait]
impl Primary for Customer {
    async fn probe(&self) -> Result<()> {
        if self.0.mood.load(Ordering::SeqCst) == Mood::Busy as u8 {
            return Ok(());
        }
        self.0.pass(false).await
    }
}

#[async_trait]
impl CacheBackend for Customer {
    fn kind(&self) -> BackendKind {
        BackendKind::Redis
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.0.pass(false).await?;
        self.0.store.lookup(key).await
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
        self.0.store.stats().await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.0.pass(false).await?;
        self.0.store.explain(key).await
    }

    async fn health(&self) -> Health {
        self.0.store.health().await
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl AtomicBackend for Customer {
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

/// Stands in from memory.
#[derive(Debug)]
pub(super) struct InMemory(pub(super) Arc<dyn cache_core::Clock>);

#[async_trait]
impl Standin for InMemory {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        Arc::new(MemoryBackend::new().with_clock(Arc::clone(&self.0)))
    }

    fn tidy(&self) {}
}

/// Nothing stands in.
#[derive(Debug)]
pub(super) struct Nobody;

#[async_trait]
impl Standin for Nobody {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        Arc::new(NullBackend::new())
    }

    fn tidy(&self) {}
}

/// Stands in from memory, and cannot forget anything: as a disk cache on a full disk.
#[derive(Debug, Default)]
pub(super) struct Stubborn(Arc<MemoryBackend>);

#[async_trait]
impl Standin for Stubborn {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        Arc::new(Self(Arc::new(MemoryBackend::new())))
    }

    fn tidy(&self) {}
}

#[async_trait]
impl CacheBackend for Stubborn {
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

    async fn stats(&self) -> Result<CacheStats> {
        self.0.stats().await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.0.explain(key).await
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

/// A backend with its journal, closed together, as the facade does it.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) backend: super::FallbackBackend,
    pub(super) journal: Arc<super::Journal>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for Whole {
    fn kind(&self) -> BackendKind {
        self.backend.kind()
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.backend.lookup(key).await
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.backend.fill(key, token, entry).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.backend.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.backend.invalidate(what).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.backend.stats().await
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.backend.get(key).await
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.backend.lookup_many(keys).await
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.backend.fill_many(fills).await
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.backend.get_many(keys).await
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.backend.set_many(entries).await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.backend.explain(key).await
    }

    async fn health(&self) -> Health {
        self.backend.health().await
    }

    async fn close(&self) -> Result<()> {
        let closed = self.backend.close().await;
        self.journal.close().await;
        closed
    }
}

#[async_trait]
impl AtomicBackend for Whole {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.backend.increment(key, by).await
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        self.backend.add(key, value).await
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.backend.reset(key).await
    }
}
