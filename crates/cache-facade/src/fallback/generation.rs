//! [`Generation`]: what stands in during one outage. It starts empty, and nothing of an earlier one is in it.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CacheStats, Clock, Entry, Explanation, Fill, FillOutcome, FillToken,
    Invalidation, Lookup, NewEntry, Result,
};
use tokio::sync::Mutex;

/// Opens the stores that stand in, one at a time, each empty.
#[async_trait]
pub(crate) trait Standin: Debug + Send + Sync + 'static {
    /// Opens an empty store, one that keeps nothing where there is no other.
    async fn open(&self) -> Arc<dyn CacheBackend>;

    /// Removes what a closed store left.
    fn tidy(&self);
}

/// The store of one outage. Until it is open, whatever is asked of it is a miss without a token.
#[derive(Debug)]
pub(super) struct Generation {
    number: u64,
    store: OnceLock<Arc<dyn CacheBackend>>,
    max_age: Duration,
    clock: Arc<dyn Clock>,
}

impl Generation {
    pub(super) fn new(number: u64, max_age: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { number, store: OnceLock::new(), max_age, clock }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn kind(&self) -> BackendKind {
        match self.store.get().map(|store| store.kind()) {
            Some(BackendKind::Null) => BackendKind::Null,
            Some(_) | None => BackendKind::Fallback,
        }
    }

    pub(super) async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        match self.store.get() {
            Some(store) => Ok(Lookup { backend: self.kind(), ..store.lookup(key).await? }),
            None => Ok(self.nothing()),
        }
    }

    pub(super) async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        match self.store.get() {
            Some(store) => {
                let found = store.lookup_many(keys).await?;
                Ok(found.into_iter().map(|found| Lookup { backend: self.kind(), ..found }).collect())
            }
            None => Ok(keys.iter().map(|_| self.nothing()).collect()),
        }
    }

    fn nothing(&self) -> Lookup {
        Lookup { entry: None, token: FillToken::never(), backend: self.kind() }
    }

    pub(super) async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        match self.store.get() {
            Some(store) => store.get(key).await,
            None => Ok(None),
        }
    }

    pub(super) async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        match self.store.get() {
            Some(store) => store.get_many(keys).await,
            None => Ok(vec![None; keys.len()]),
        }
    }

    pub(super) async fn fill(
        &self,
        key: &CacheKey,
        token: FillToken,
        entry: NewEntry,
    ) -> Result<FillOutcome> {
        match (self.store.get(), self.aged(entry)) {
            (Some(store), Some(entry)) => store.fill(key, token, entry).await,
            _ => Ok(FillOutcome::Refused),
        }
    }

    pub(super) async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        let mut outcomes = Vec::with_capacity(fills.len());
        for Fill { key, token, entry } in fills {
            outcomes.push(self.fill(&key, token, entry).await?);
        }
        Ok(outcomes)
    }

    pub(super) async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        match (self.store.get(), self.aged(entry)) {
            (Some(store), Some(entry)) => store.set(key, entry).await,
            _ => Ok(()),
        }
    }

    /// Removes `what`; how many entries that were. What is not open yet holds nothing, and has handed out no token.
    pub(super) async fn invalidate(&self, what: &[Invalidation]) -> Result<u64> {
        match self.store.get() {
            Some(store) => Ok(store.invalidate(what).await?.removed()),
            None => Ok(0),
        }
    }

    pub(super) async fn stats(&self) -> Result<CacheStats> {
        let stats = match self.store.get() {
            Some(store) => store.stats().await?,
            None => CacheStats::empty(self.kind()),
        };
        Ok(CacheStats { backend: self.kind(), ..stats })
    }

    pub(super) async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let explanation = match self.store.get() {
            Some(store) => store.explain(key).await?,
            None => Explanation::of(key, self.kind(), None, self.clock.now()),
        };
        Ok(Explanation { backend: self.kind(), ..explanation })
    }

    /// `entry` with an end: other instances' invalidations cannot arrive, so that it may not grow older than the outage
    /// allows, counted from the start of its load. `None` for one that is that old already. [`Duration::MAX`] is no bound.
    fn aged(&self, entry: NewEntry) -> Option<NewEntry> {
        if self.max_age == Duration::MAX {
            return Some(entry);
        }
        let age = entry
            .load_started
            .map_or(Duration::ZERO, |started| self.clock.monotonic().saturating_since(started));
        let left = self.max_age.checked_sub(age).filter(|left| !left.is_zero())?;
        Some(NewEntry { expires_in: Some(entry.expires_in.map_or(left, |asked| asked.min(left))), ..entry })
    }
}

/// Where generations get their stores: one place, so that one is closed before the next is opened.
#[derive(Debug)]
pub(super) struct Shelf {
    standin: Arc<dyn Standin>,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// The last generation that was opened or has ended.
    number: u64,
    store: Option<Arc<dyn CacheBackend>>,
}

impl Shelf {
    pub(super) fn new(standin: Arc<dyn Standin>) -> Self {
        Self { standin, place: Mutex::default() }
    }

    /// Gives `generation` its store, unless it is over already.
    pub(super) async fn open(&self, generation: &Generation) {
        let mut place = self.place.lock().await;
        if generation.number <= place.number {
            return;
        }
        self.clear(&mut place).await;
        let store = self.standin.open().await;
        // Not before: where that panicked, it is tried again.
        place.number = generation.number;
        place.store = Some(Arc::clone(&store));
        // Nobody else sets it: the number has just become ours.
        let _ = generation.store.set(store);
    }

    /// Ends generation `number` and all before it.
    pub(super) async fn retire(&self, number: u64) {
        let mut place = self.place.lock().await;
        if place.number <= number {
            place.number = number;
            self.clear(&mut place).await;
        }
    }

    async fn clear(&self, place: &mut Place) {
        if let Some(store) = place.store.take() {
            if let Err(error) = store.close().await {
                cache_core::log::emit(
                    || tracing::debug!(%error, "the fallback did not close cleanly; what it held is not used again"),
                );
            }
            self.standin.tidy();
        }
    }
}
