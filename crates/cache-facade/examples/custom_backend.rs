//! A store of one's own: anything that keeps the contract of `CacheBackend` can be plugged in.
//!
//! `cargo run -p cache-facade --example custom_backend`. It passes the conformance suite of `cache-core`, which has a test
//! for each law of the contract: `tests/custom_backend.rs` is all that takes.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use cache_facade::{
    BackendKind, Cache, CacheBackend, CacheKey, CacheStats, Clock, Entry, Epochs, Error, ErrorKind,
    Explanation, FillOutcome, FillToken, Health, Invalidated, Invalidation, Load, Lookup, NewEntry, Result,
    SystemClock,
};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

type Entries = HashMap<CacheKey, Entry>;

/// A map that never evicts. `Epochs` does what is hard: it says which fills come too late.
#[derive(Debug)]
pub(crate) struct MapBackend {
    clock: Arc<dyn Clock>,
    epochs: Epochs,
    /// `None` once it is closed.
    entries: Mutex<Option<Entries>>,
}

impl MapBackend {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, epochs: Epochs::new(), entries: Mutex::new(Some(HashMap::new())) }
    }

    fn entries(&self) -> Result<MappedMutexGuard<'_, Entries>> {
        MutexGuard::try_map(self.entries.lock(), Option::as_mut)
            .map_err(|_| Error::new(ErrorKind::Closed, "the map was closed"))
    }
}

#[async_trait]
impl CacheBackend for MapBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("map")
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let entries = self.entries()?;
        let entry = entries.get(key).filter(|entry| entry.is_live(self.clock.now())).cloned();
        Ok(Lookup { entry, token: self.epochs.token(key), backend: self.kind() })
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        let mut entries = self.entries()?;
        // Under the lock of the insertion, or an invalidation could run to its end between the two.
        if !self.epochs.stands(key, token) {
            return Ok(FillOutcome::Refused);
        }
        entries.insert(key.clone(), entry.stored_at(self.clock.now()));
        Ok(FillOutcome::Stored)
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        let mut entries = self.entries()?;
        self.epochs.bump(Invalidation::Key(key.clone()).epoch_scope());
        entries.insert(key.clone(), entry.stored_at(self.clock.now()));
        Ok(())
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let mut entries = self.entries()?;
        let now = self.clock.now();
        entries.retain(|_, entry| entry.is_live(now));
        let before = entries.len();
        for what in what {
            self.epochs.bump(what.epoch_scope());
            entries.retain(|key, _| !what.matches(key.as_str()));
        }
        Ok(Invalidated::Applied { removed: (before - entries.len()) as u64 })
    }

    async fn stats(&self) -> Result<CacheStats> {
        let (entries, now) = (self.entries()?, self.clock.now());
        let count = entries.values().filter(|entry| entry.is_live(now)).count() as u64;
        Ok(CacheStats { count, approximate: true, ..CacheStats::empty(self.kind()) })
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let (entries, now) = (self.entries()?, self.clock.now());
        let entry = entries.get(key).filter(|entry| entry.is_live(now));
        Ok(Explanation::of(key, self.kind(), entry, now))
    }

    async fn health(&self) -> Health {
        match self.entries() {
            Ok(_) => Health::ok(self.kind(), self.clock.now()),
            Err(closed) => Health::degraded(self.kind(), self.clock.now(), closed.to_string()),
        }
    }

    async fn close(&self) -> Result<()> {
        *self.entries.lock() = None;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::new(Arc::new(MapBackend::new(Arc::new(SystemClock))));
    let key = CacheKey::builder("answer", 42).build()?;
    for _ in 0..2 {
        let answer = cache.get_or_load_with(&key, Load::new(), async || Ok::<_, Error>(42_u32)).await?;
        println!("{} ({} from {})", *answer, answer.source, answer.backend);
    }
    println!("{:?}", cache.delete(&key).await?);
    Ok(())
}
