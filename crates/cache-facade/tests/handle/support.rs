//! Support for these tests: keys, and a backend with switches for its failures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cache_facade::{
    BackendKind, Cache, CacheConfig, CacheKey, Error, ErrorKind, Invalidated, Invalidation, KeyPart, Result,
    backend::{CacheBackend, FillOutcome, FillToken, Lookup, MemoryBackend, NewEntry},
    config::CacheConfigBuilder,
    stats::{CacheStats, Explanation, Health},
};

pub(crate) type Nothing = std::convert::Infallible;

pub(crate) fn key(id: impl KeyPart) -> CacheKey {
    CacheKey::builder("image", id).part("metadata").build().unwrap()
}

/// Lets the other tasks run.
pub(crate) async fn let_others_run() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// A cache over each kind of backend, by name.
pub(crate) struct Stored {
    pub(crate) name: &'static str,
    pub(crate) cache: Cache,
    _directory: Option<tempfile::TempDir>,
}

pub(crate) async fn every_store() -> Vec<Stored> {
    let mut stores = vec![Stored { name: "memory", cache: Cache::memory(), _directory: None }];
    if cfg!(feature = "disk") {
        stores.push(on_disk("disk", |config| config).await);
        stores.push(on_disk("disk behind memory", |config| config.memory_mb(8)).await);
    }
    stores
}

/// A cache on disk, with further settings.
pub(crate) async fn on_disk(
    name: &'static str,
    settings: impl FnOnce(CacheConfigBuilder) -> CacheConfigBuilder,
) -> Stored {
    let directory = tempfile::tempdir().unwrap();
    let config = settings(CacheConfig::builder().directory(directory.path()).size_mb(16)).build().unwrap();
    let cache = Cache::connect(config).await.unwrap();
    Stored { name, cache, _directory: Some(directory) }
}

/// A memory backend whose operations fail, hang or panic by switches.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    pub(crate) inner: MemoryBackend,
    pub(crate) lookups_fail: AtomicBool,
    pub(crate) lookups_hang: AtomicBool,
    pub(crate) fills_hang: AtomicBool,
    pub(crate) invalidations_fail: AtomicBool,
    pub(crate) panics: AtomicBool,
    pub(crate) fills: AtomicU64,
    pub(crate) lookups: AtomicU64,
    at_hand: Mutex<HashMap<CacheKey, Lookup>>,
}

impl Faulty {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Keeps the value of `key` at hand, whatever happens to it in the store.
    pub(crate) async fn keep_at_hand(&self, key: &CacheKey) {
        let found = self.inner.lookup(key).await.unwrap();
        let found = Lookup { backend: BackendKind::Memory, ..found };
        self.at_hand.lock().unwrap().insert(key.clone(), found);
    }

    fn panics_if_told(&self) {
        assert!(!self.panics.load(Ordering::SeqCst), "a bug in the store");
    }
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is away")
}

#[async_trait]
impl CacheBackend for Faulty {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("faulty")
    }

    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.panics_if_told();
        self.at_hand.lock().unwrap().get(key).cloned()
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.panics_if_told();
        self.lookups.fetch_add(1, Ordering::SeqCst);
        if self.lookups_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.lookups_fail.load(Ordering::SeqCst) {
            return Err(away());
        }
        self.inner.lookup(key).await
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.panics_if_told();
        self.fills.fetch_add(1, Ordering::SeqCst);
        if self.fills_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.fill(key, token, entry).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.panics_if_told();
        self.inner.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.panics_if_told();
        if self.invalidations_fail.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::NotDurable, "the disk is full"));
        }
        self.inner.invalidate(what).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.panics_if_told();
        self.inner.stats().await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.panics_if_told();
        self.inner.explain(key).await
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
