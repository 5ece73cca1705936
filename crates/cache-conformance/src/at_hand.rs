//! [`AtHandFirst`]: asks the memory of a backend before the backend, as the facade does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Explanation, Fill, FillOutcome, FillToken,
    Health, Invalidated, Invalidation, Lookup, NewEntry, Result,
};

use crate::subject::Opened;

/// A backend whose lookups are answered from memory where it has the value at hand.
#[derive(Debug)]
pub struct AtHandFirst(Arc<dyn CacheBackend>);

/// A backend of one instance whose sets and invalidations are made by another instance.
#[derive(Debug)]
struct WrittenBeside {
    reader: Arc<dyn CacheBackend>,
    writer: Arc<dyn CacheBackend>,
}

impl Opened {
    /// Has `writer`, another instance of the same store, make the sets and invalidations.
    #[must_use]
    pub fn written_by(self, writer: Arc<dyn CacheBackend>) -> Self {
        Self { cache: Arc::new(WrittenBeside { reader: self.cache, writer }), atomic: self.atomic }
    }
}

impl AtHandFirst {
    /// Wraps the cache of `opened`; its counters are never in memory.
    pub fn wrap(opened: Opened) -> Opened {
        Opened { cache: Arc::new(Self(opened.cache)), atomic: opened.atomic }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for AtHandFirst {
    fn kind(&self) -> BackendKind {
        self.0.kind()
    }

    fn polled_within(&self) -> Option<Duration> {
        self.0.polled_within()
    }

    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.0.at_hand(key)
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        match self.0.at_hand(key) {
            Some(found) => Ok(found),
            None => self.0.lookup(key).await,
        }
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.0.fill(key, token, entry).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.0.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.0.invalidate(what).await
    }

    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        self.0.count_matches(what).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.0.stats().await
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        match self.0.at_hand(key) {
            Some(found) => Ok(found.entry),
            None => self.0.get(key).await,
        }
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.0.lookup_many(keys).await
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.0.fill_many(fills).await
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.0.get_many(keys).await
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.0.set_many(entries).await
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

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for WrittenBeside {
    fn kind(&self) -> BackendKind {
        self.reader.kind()
    }

    fn polled_within(&self) -> Option<Duration> {
        self.reader.polled_within()
    }

    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.reader.at_hand(key)
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.reader.lookup(key).await
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.reader.fill(key, token, entry).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.writer.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.writer.invalidate(what).await
    }

    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        self.reader.count_matches(what).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.reader.stats().await
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.reader.get(key).await
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.reader.lookup_many(keys).await
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.reader.fill_many(fills).await
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.reader.get_many(keys).await
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.writer.set_many(entries).await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.reader.explain(key).await
    }

    async fn health(&self) -> Health {
        self.reader.health().await
    }

    async fn close(&self) -> Result<()> {
        self.writer.close().await?;
        self.reader.close().await
    }
}
