//! [`Observed`]: a store that notes what it is told, and holds a lookup while something else happens.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Explanation, Fill, FillOutcome, FillToken,
    Health, Invalidated, Invalidation, Lookup, MemoryBackend, NewEntry, Result,
};
use tokio::task::block_in_place;

/// A store in memory that notes every invalidation, and holds a lookup when told to.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    store: MemoryBackend,
    noted: Mutex<Vec<String>>,
    held: Mutex<Option<(CacheKey, Held)>>,
}

/// The store's ends of a lookup that is held: it says that it has begun, and goes on when the other end is gone.
type Held = (Sender<()>, Receiver<()>);

impl Observed {
    /// Returns what was noted since the last call, in order of the alphabet.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut noted = std::mem::take(&mut *self.noted.lock().unwrap());
        noted.sort();
        noted
    }

    /// Holds the next lookup of `key`, before it finds out what is stored: the receiver tells that it has begun, and it goes on
    /// when the sender is dropped.
    pub(crate) fn hold(&self, key: CacheKey) -> (Receiver<()>, Sender<()>) {
        let ((begins, begun), (release, released)) = (channel(), channel());
        *self.held.lock().unwrap() = Some((key, (begins, released)));
        (begun, release)
    }

    fn wait_if_held(&self, key: &CacheKey) {
        let held = self.held.lock().unwrap().take_if(|(held, _)| held == key);
        if let Some((_, (begins, released))) = held {
            begins.send(()).unwrap();
            // In the thread, because a lookup that is pending is given up after a while.
            block_in_place(|| released.recv()).unwrap_err();
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CacheBackend for Observed {
    fn kind(&self) -> BackendKind {
        self.store.kind()
    }
    fn polled_within(&self) -> Option<Duration> {
        self.store.polled_within()
    }
    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.store.at_hand(key)
    }
    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.wait_if_held(key);
        self.store.lookup(key).await
    }
    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.store.fill(key, token, entry).await
    }
    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.store.set(key, entry).await
    }
    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.noted.lock().unwrap().extend(what.iter().map(ToString::to_string));
        self.store.invalidate(what).await
    }
    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        self.store.count_matches(what).await
    }
    async fn stats(&self) -> Result<CacheStats> {
        self.store.stats().await
    }
    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.store.get(key).await
    }
    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.store.lookup_many(keys).await
    }
    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.store.fill_many(fills).await
    }
    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.store.get_many(keys).await
    }
    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.store.set_many(entries).await
    }
    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.store.explain(key).await
    }
    async fn health(&self) -> Health {
        self.store.health().await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
