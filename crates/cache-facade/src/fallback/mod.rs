//! [`FallbackBackend`]: a shared store, and what stands in while it is away, without one stale read on either way.
//!
//! - **Routing.** Reads and fills go to the store that is active. A fill that brings the other one's token is refused
//!   there: tokens of one store are worthless at any other, and at any other generation.
//! - **Entering.** Opening the breaker and starting a new, empty generation are one step under one lock.
//! - **Owing.** What the shared store did not acknowledge is durable in the journal, and gone from the current generation,
//!   before the caller hears of it; the breaker is open by then.
//! - **Returning.** The breaker closes when nothing is owed and nothing is on its way into the journal, under the lock
//!   where an invalidation chooses its way.
//!
//! In reading order: [`breaker`] (when), [`switch`] (which way), [`generation`] (what stands in), [`keeper`] (coming
//! back); `invalidate` and `watch` are the two kinds of calls, `contact` remembers which server it was.

mod breaker;
#[cfg(test)]
mod conformance;
pub(crate) mod contact;
mod generation;
mod invalidate;
mod keeper;
mod primary;
#[cfg(all(test, feature = "shuttle"))]
mod schedules;
mod switch;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::panics::supervise;
use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, CacheStats, Clock, Entry, Error, ErrorKind,
    Explanation, Fill, FillOutcome, FillToken, Health, Invalidated, Invalidation, Lookup, NewEntry, Result,
};
use tokio::task::AbortHandle;

pub(crate) use self::generation::Standin;
pub(crate) use self::keeper::FirstReturn;
pub(crate) use self::primary::{Connector, Primary};

use self::generation::Shelf;
use self::switch::{Route, Switch};
use crate::outage::journal::Journal;
use crate::rt;

/// What a fallback is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) standin: Arc<dyn Standin>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long, from the start of its load, a value is served during an outage.
    pub(crate) max_age: Duration,
    /// Done once, when the primary has heard of all that it was owed at the start.
    pub(crate) first_return: FirstReturn,
}

/// A store that several instances share, with another in its place while it is away; see the module's documentation.
pub(crate) struct FallbackBackend {
    shared: Arc<Shared>,
    keeper: Option<AbortHandle>,
}

/// What the backend and its background task share.
#[derive(Debug)]
struct Shared {
    switch: Switch,
    shelf: Shelf,
    connector: Arc<dyn Connector>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    first_return: FirstReturn,
}

impl FallbackBackend {
    /// Tries once to reach the primary; where it cannot be, the fallback stands in at once, and a task in the background
    /// goes on trying.
    pub(crate) async fn start(parts: Parts) -> Self {
        let mut backend = Self::new(parts);
        let shared = Arc::clone(&backend.shared);
        match shared.come_back().await {
            Some(unused) => shared.shelf.retire(unused.number()).await,
            None => shared.shelf.open(&shared.switch.generation()).await,
        }
        let keeping = async move {
            let panicked = |message: &str| {
                let message = format!("the task that brings Redis back panicked: {message}");
                shared.switch.probe_failed(Error::new(ErrorKind::Unavailable, message));
            };
            supervise(|| Arc::clone(&shared).keep(), panicked, tokio::time::sleep).await;
        };
        backend.keeper = Some(tokio::spawn(keeping).abort_handle());
        backend
    }

    fn new(parts: Parts) -> Self {
        let Parts { connector, standin, journal, clock, max_age, first_return } = parts;
        let shared = Shared {
            switch: Switch::new(Arc::clone(&journal), Arc::clone(&clock), max_age),
            shelf: Shelf::new(standin),
            connector,
            journal,
            clock,
            first_return,
        };
        Self { shared: Arc::new(shared), keeper: None }
    }

    /// Why the primary is not in use; `None` when it is.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self.shared.switch.route() {
            Ok(Route::Away(_)) => {
                Some(self.shared.switch.cause().unwrap_or_else(|| "it was not reached yet".to_owned()))
            }
            Ok(Route::Primary(..)) | Err(_) => None,
        }
    }

    /// Whether the primary answers in time that it holds something.
    pub(crate) async fn is_primary_in_use(&self, patience: Duration) -> bool {
        let Ok(Route::Primary(primary, _)) = self.route() else { return false };
        let asked = rt::before(rt::now() + patience, primary.is_in_use()).await;
        matches!(asked, Some(Ok(true)))
    }

    /// Leaves the primary and comes back to it, as after an outage: what is owed is told to it first, and then `duty` is
    /// done. What is owed by then must be in the journal already.
    pub(crate) fn come_back_anew(&self, duty: impl FnOnce() + Send + 'static) {
        self.shared.first_return.add(duty);
        self.shared.switch.leave(&Error::new(ErrorKind::Unavailable, "the cache directory was lost"));
    }

    fn route(&self) -> Result<Route> {
        self.shared.switch.route()
    }

    /// Where to ask after the primary failed with `error`: what stands in, if the breaker is open by now.
    fn instead(&self, error: Error) -> Result<Arc<generation::Generation>> {
        match self.route()? {
            Route::Away(generation) => Ok(generation),
            Route::Primary(..) => Err(error),
        }
    }

    /// The value stands in for what another instance may have set: what the primary holds under these keys is older.
    async fn owe_keys<'a>(&self, keys: impl Iterator<Item = &'a CacheKey>) -> Result<()> {
        let what: Vec<_> = keys.map(|key| Invalidation::Key(key.clone())).collect();
        let _ = self.invalidate(&what).await?;
        Ok(())
    }
}

impl fmt::Debug for FallbackBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackBackend")
            .field("connector", &self.shared.connector)
            .field("health", &self.shared.switch.health())
            .finish_non_exhaustive()
    }
}

impl Drop for FallbackBackend {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for FallbackBackend {
    fn kind(&self) -> BackendKind {
        self.shared.switch.kind()
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        match self.route()? {
            Route::Away(generation) => generation.lookup(key).await,
            Route::Primary(primary, period) => match self.shared.watched(period, primary.lookup(key)).await {
                Err(error) => self.instead(error)?.lookup(key).await,
                found => found,
            },
        }
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        match self.route()? {
            Route::Away(generation) => generation.fill(key, token, entry).await,
            Route::Primary(primary, period) => {
                self.shared.watched(period, primary.fill(key, token, entry)).await
            }
        }
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        match self.route()? {
            Route::Primary(primary, period) => self.shared.watched(period, primary.set(key, entry)).await,
            Route::Away(generation) => {
                self.owe_keys(std::iter::once(key)).await?;
                generation.set(key, entry).await
            }
        }
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        // In a task of its own: it runs to its end also when its caller goes away.
        let (shared, what) = (Arc::clone(&self.shared), what.to_vec());
        let task = |reply: tokio::sync::oneshot::Sender<_>| async move {
            drop(reply.send(shared.invalidate(&what).await));
        };
        let cut_off = || Err(Error::new(ErrorKind::Unavailable, "the runtime was shut down"));
        rt::detached(task).await.unwrap_or_else(cut_off)
    }

    async fn stats(&self) -> Result<CacheStats> {
        match self.route()? {
            Route::Primary(primary, _) => primary.stats().await,
            Route::Away(generation) => generation.stats().await,
        }
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        match self.route()? {
            Route::Away(generation) => generation.get(key).await,
            Route::Primary(primary, period) => match self.shared.watched(period, primary.get(key)).await {
                Err(error) => self.instead(error)?.get(key).await,
                found => found,
            },
        }
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        match self.route()? {
            Route::Away(generation) => generation.lookup_many(keys).await,
            Route::Primary(primary, period) => {
                match self.shared.watched(period, primary.lookup_many(keys)).await {
                    Err(error) => self.instead(error)?.lookup_many(keys).await,
                    found => found,
                }
            }
        }
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        match self.route()? {
            Route::Away(generation) => generation.fill_many(fills).await,
            Route::Primary(primary, period) => self.shared.watched(period, primary.fill_many(fills)).await,
        }
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        match self.route()? {
            Route::Away(generation) => generation.get_many(keys).await,
            Route::Primary(primary, period) => {
                match self.shared.watched(period, primary.get_many(keys)).await {
                    Err(error) => self.instead(error)?.get_many(keys).await,
                    found => found,
                }
            }
        }
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        match self.route()? {
            Route::Primary(primary, period) => self.shared.watched(period, primary.set_many(entries)).await,
            Route::Away(generation) => {
                self.owe_keys(entries.iter().map(|(key, _)| key)).await?;
                for (key, entry) in entries {
                    generation.set(&key, entry).await?;
                }
                Ok(())
            }
        }
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        match self.route()? {
            Route::Away(generation) => generation.explain(key).await,
            Route::Primary(primary, period) => self.shared.watched(period, primary.explain(key)).await,
        }
    }

    async fn health(&self) -> Health {
        let health = self.shared.switch.health();
        Health { journal: self.shared.journal.kind(), journal_depth: self.shared.journal.depth(), ..health }
    }

    async fn close(&self) -> Result<()> {
        let shared = &self.shared;
        shared.switch.close();
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
        let closed = match shared.switch.primary() {
            Some(primary) => primary.close().await,
            None => Ok(()),
        };
        shared.shelf.retire(u64::MAX).await;
        shared.connector.ended();
        closed
    }
}

#[async_trait]
impl AtomicBackend for FallbackBackend {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        let (primary, period) = self.counters()?;
        self.shared.watched(period, primary.increment(key, by)).await
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        let (primary, period) = self.counters()?;
        self.shared.watched(period, primary.add(key, value)).await
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        let (primary, period) = self.counters()?;
        self.shared.watched(period, primary.reset(key)).await
    }
}

impl FallbackBackend {
    /// Where counters are: nothing stands in for them.
    fn counters(&self) -> Result<(Arc<dyn Primary>, u64)> {
        match self.route()? {
            Route::Primary(primary, period) => Ok((primary, period)),
            Route::Away(_) => {
                let message = "Redis is away, and its counters and claims with it; try again later";
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }
}
