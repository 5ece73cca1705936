//! A custom backend: any type that keeps the contract of `CacheBackend` can be plugged in.
//!
//! `cargo run -p cache-facade --example custom_backend`. It passes the crate `cache-conformance`, which has a test for
//! each law of the contract: see `tests/custom_backend.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_facade::backend::{
    CacheBackend, Entry, Epochs, FillOutcome, FillToken, Lookup, NewEntry, async_trait,
};
use cache_facade::{
    BackendKind, Cache, CacheKey, Invalidated, Invalidation, Result,
    backend::{Clock, SystemClock},
};

/// A map that never evicts. [`Epochs`] decides which fills come too late.
#[derive(Debug)]
pub(crate) struct MapBackend {
    clock: Arc<dyn Clock>,
    epochs: Epochs,
    entries: Mutex<HashMap<CacheKey, Entry>>,
}

impl MapBackend {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, epochs: Epochs::new(), entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<CacheKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CacheBackend for MapBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("map")
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let entry = self.entries().get(key).filter(|entry| entry.is_live(self.clock.now())).cloned();
        Ok(Lookup { entry, token: self.epochs.token(key), backend: self.kind() })
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        let mut entries = self.entries();
        // Under the lock of the insertion: otherwise an invalidation could complete between the two.
        if !self.epochs.is_valid(key, token) {
            return Ok(FillOutcome::Refused);
        }
        entries.insert(key.clone(), entry.stored_at(self.clock.now()));
        Ok(FillOutcome::Stored)
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        let mut entries = self.entries();
        self.epochs.advance(Invalidation::Key(key.clone()).epoch_scope());
        entries.insert(key.clone(), entry.stored_at(self.clock.now()));
        Ok(())
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let (mut entries, now) = (self.entries(), self.clock.now());
        entries.retain(|_, entry| entry.is_live(now));
        let before = entries.len();
        for what in what {
            self.epochs.advance(what.epoch_scope());
            entries.retain(|key, _| !what.matches(key.as_str()));
        }
        Ok(Invalidated::Applied { removed: (before - entries.len()) as u64 })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cache = Cache::new(Arc::new(MapBackend::new(Arc::new(SystemClock))));
    let answers = cache.family::<u32, u32>("answer")?;
    for _ in 0..2 {
        let answer = answers.get_or_compute(42, async || 42).await;
        println!("{answer}: {}", answers.key(42));
    }
    Ok(())
}
