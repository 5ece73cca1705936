//! [`FallbackBackend`]: a store that several instances share, with a local store of its own for each outage, and no stale read
//! on the way there or back.
//!
//! - **Zones.** The primary may be several servers that fail one by one. Each [`Zone`] has a breaker; what is said of the
//!   primary holds for each zone.
//! - **Routing.** Reads and fills go to the store that is in use. A fill with a token of another store, or of another outage,
//!   is refused.
//! - **Outage.** Opening the breaker is one step under one lock. If the fallback store may hold older values of the zone,
//!   replacing it by a new, empty one is part of that step.
//! - **Journal.** An invalidation that the primary did not acknowledge is durable in the journal, and applied to the fallback
//!   store, before its caller hears of it; the breaker is open by then.
//! - **Recovery.** The breaker closes when nothing is owed to the zone and no append to the journal that concerns it is in
//!   progress, under the lock under which invalidations are routed.
//!
//! In reading order: [`breaker`] (when), [`router`] (where calls go), [`batches`] and [`invalidate`], [`store`] (the fallback
//! store), [`recovery`] (the background tasks).

mod batches;
mod breaker;
#[cfg(test)]
mod conformance;
mod invalidate;
mod recovery;
mod router;
#[cfg(all(test, feature = "shuttle"))]
mod schedules;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod unopened;

use std::fmt::{self, Debug};
use std::result;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::panics::supervise;
use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, CacheStats, Clock, Entry, EpochScope, Error,
    ErrorKind, Explanation, Fill, FillOutcome, FillToken, Health, Invalidated, Invalidation, Lookup,
    NewEntry, Result,
};
use tokio::task::AbortHandle;

pub(crate) use self::store::{NoFallback, OpenFallback};

use self::router::{Route, Router, Routes, fallback_kind};
use crate::durability::journal::Journal;
use crate::durability::zones::{Zone, ZoneSet};

/// A store that several instances share and that may be away, as a whole or in zones.
#[async_trait]
pub(crate) trait Primary: CacheBackend + AtomicBackend {
    /// Returns the zone of `group`, which is always the same.
    ///
    /// # Cost
    /// No more than a hash of the name: it is called for each key while zones are away.
    fn zone_of(&self, group: &str) -> Zone;

    /// Returns all zones of this store.
    fn zones(&self) -> ZoneSet;

    /// Returns the zones whose server is known to be away, because the store's own heartbeat failed. A successful
    /// [`probe`](Self::probe) ends that.
    ///
    /// # Cost
    /// It is called for each call that fails.
    fn away(&self) -> ZoneSet;

    /// The servers in use: the address of each, and whether it can be used as far as the store's own heartbeat tells.
    fn nodes(&self) -> Vec<(String, bool)> {
        Vec::new()
    }

    /// Checks the servers of `zones`, over connections of their own, and returns those of the zones that may be used now.
    ///
    /// # Errors
    /// Why none may.
    async fn probe(&self, zones: ZoneSet) -> Result<ZoneSet>;

    /// Removes `what` from the servers of `zones`, and need not ask any other.
    ///
    /// The default removes it from all servers: a store of several must replace it, because a pattern cannot be removed that way
    /// while one of them is away.
    ///
    /// # Errors
    /// As for [`invalidate`](CacheBackend::invalidate), with the zones that have not acknowledged it.
    async fn invalidate_in(
        &self,
        zones: ZoneSet,
        what: &[Invalidation],
    ) -> result::Result<Invalidated, Unacknowledged> {
        self.invalidate(what).await.map_err(|error| Unacknowledged { zones, error })
    }
}

/// An invalidation that some zones have not acknowledged; all others that were asked have.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) zones: ZoneSet,
    pub(crate) error: Error,
}

/// Connects to a store that may be away.
#[async_trait]
pub(crate) trait Connector: Debug + Send + Sync + 'static {
    /// Connects for the first time; a connected store reconnects by itself.
    ///
    /// # Errors
    /// Why it cannot be used.
    async fn connect(&self) -> Result<Arc<dyn Primary>>;

    /// Called when the store was used for the last time.
    fn ended(&self) {}
}

/// An action for the next recovery of the primary.
pub(crate) type OnRecovery = Box<dyn FnOnce() + Send>;

/// The parts of a [`FallbackBackend`].
pub(crate) struct Parts {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) fallback: Arc<dyn OpenFallback>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long a value is served during an outage, from the start of its load.
    pub(crate) max_age: Duration,
    /// Called once, when the primary has acknowledged everything that is pending at the start.
    pub(crate) on_recovery: OnRecovery,
}

/// A shared store with a fallback; see the module's documentation.
pub(crate) struct FallbackBackend {
    router: Arc<Router>,
    recovery: Option<AbortHandle>,
}

impl FallbackBackend {
    /// Tries once to reach the primary. If it is away, the fallback store is used at once, and a background task keeps trying.
    pub(crate) async fn start(parts: Parts) -> Self {
        let router = Arc::new(Router::new(parts));
        if let Some(period) = router.recover().await.retired {
            router.retire_store(period).await;
        } else {
            let period = router.state.lock().period;
            router.open_store(period).await;
        }
        let supervised = Arc::clone(&router);
        let recovery = async move {
            let panicked = |message: &str| {
                let message = format!("the task that recovers Redis panicked: {message}");
                supervised.round_ended(Some(Error::new(ErrorKind::Unavailable, message)));
            };
            supervise(|| Arc::clone(&supervised).run(), panicked, tokio::time::sleep).await;
        };
        Self { router, recovery: Some(tokio::spawn(recovery).abort_handle()) }
    }

    /// Leaves the primary and recovers it as after an outage: it is cleared, and then `on_recovery` is called.
    pub(crate) fn start_over(&self, on_recovery: OnRecovery) {
        self.router.journal.append_recorded(&[Invalidation::Everything]);
        self.router.on_recovery.lock().push(on_recovery);
        self.router.lose(ZoneSet::ALL, &Error::new(ErrorKind::Unavailable, "the cache directory was lost"));
    }

    /// Reads `key`; see [`read_routed`](Self::read_routed).
    async fn read<T, F>(
        &self,
        key: &CacheKey,
        call: impl Fn(Arc<dyn CacheBackend>) -> F + Send + Sync,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        self.read_routed(|| self.router.route(key), zone_of(key), call).await
    }

    /// Reads from the store that is in use, and from the fallback store if that is the primary and turns out to be away.
    async fn read_routed<T, F>(
        &self,
        route: impl Fn() -> Result<Route> + Send + Sync,
        zones: impl Fn(&dyn Primary) -> ZoneSet + Send + Sync,
        call: impl Fn(Arc<dyn CacheBackend>) -> F + Send + Sync,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let error = match route()? {
            Route::Fallback(store) => return call(store).await,
            Route::Primary(primary, losses) => {
                match self.router.watched(losses, zones, call(primary)).await {
                    Err(error) => error,
                    found => return found,
                }
            }
        };
        match route()? {
            Route::Fallback(store) => call(store).await,
            Route::Primary(..) => Err(error),
        }
    }

    /// Calls the primary, the only store of counters.
    async fn count<T, F>(&self, key: &CacheKey, call: impl FnOnce(Arc<dyn Primary>) -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        match self.router.route(key)? {
            Route::Primary(primary, losses) => self.router.watched(losses, zone_of(key), call(primary)).await,
            Route::Fallback(_) => {
                let message = "Redis is away, and its counters and claims with it; try again later";
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Limits the lifetime of `entry`: invalidations of other instances do not arrive during an outage, so that no value may
    /// grow older than the maximum, counted from the start of its load. `None` for one that is that old already.
    /// [`Duration::MAX`] is no limit.
    fn limited(&self, entry: NewEntry) -> Option<NewEntry> {
        let max_age = self.router.max_age;
        if max_age == Duration::MAX {
            return Some(entry);
        }
        let now = self.router.clock.monotonic();
        let age = entry.load_started.map_or(Duration::ZERO, |started| now.saturating_since(started));
        let left = max_age.checked_sub(age).filter(|left| !left.is_zero())?;
        Some(NewEntry { expires_in: Some(entry.expires_in.map_or(left, |asked| asked.min(left))), ..entry })
    }

    /// Invalidates the keys of values that are set during an outage: the values of the primary are older.
    async fn invalidate_keys<'a>(&self, keys: impl Iterator<Item = &'a CacheKey> + Send) -> Result<()> {
        let what: Vec<_> = keys.map(|key| Invalidation::Key(key.clone())).collect();
        let _ = self.invalidate(&what).await?;
        Ok(())
    }
}

/// Returns the function that returns the zone of `key` in a primary.
fn zone_of(key: &CacheKey) -> impl Fn(&dyn Primary) -> ZoneSet + Send + Sync {
    |primary| primary.zone_of(key.group()).into()
}

impl Debug for FallbackBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackBackend")
            .field("connector", &self.router.connector)
            .field("state", &*self.router.state.lock())
            .finish_non_exhaustive()
    }
}

impl Drop for FallbackBackend {
    fn drop(&mut self) {
        if let Some(recovery) = &self.recovery {
            recovery.abort();
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for FallbackBackend {
    fn kind(&self) -> BackendKind {
        self.router.state.lock().kind()
    }

    /// Promises nothing while a zone is away: the call may be one of the fallback store.
    fn polled_within(&self) -> Option<Duration> {
        match self.router.routes() {
            Ok(Routes::One(Route::Primary(primary, _))) => primary.polled_within(),
            _ => None,
        }
    }

    /// Asks the memory of the primary only while the primary is in use: what is invalidated meanwhile is told to it first.
    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        match self.router.route(key) {
            Ok(Route::Primary(primary, _)) => primary.at_hand(key),
            _ => None,
        }
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let found = self.read(key, |store| async move { store.lookup(key).await }).await?;
        Ok(Lookup { backend: fallback_kind(found.backend), ..found })
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        match self.router.route(key)? {
            Route::Primary(primary, losses) => {
                self.router.watched(losses, zone_of(key), primary.fill(key, token, entry)).await
            }
            Route::Fallback(store) => match self.limited(entry) {
                Some(entry) => store.fill(key, token, entry).await,
                None => Ok(FillOutcome::Refused),
            },
        }
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        match self.router.route(key)? {
            Route::Primary(primary, losses) => {
                self.router.watched(losses, zone_of(key), primary.set(key, entry)).await
            }
            Route::Fallback(store) => {
                self.invalidate_keys(std::iter::once(key)).await?;
                match self.limited(entry) {
                    Some(entry) => store.set(key, entry).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.router.invalidate(what).await
    }

    /// Counts in the store that is in use: of a pattern over several groups, in the primary as long as any zone of it is.
    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        let route = || match what.epoch_scope() {
            EpochScope::Group(group) => self.router.route_group(group),
            EpochScope::All => self.router.routes().map(Routes::of_the_whole),
        };
        let zones = |primary: &dyn Primary| invalidate::concerned(primary, what);
        self.read_routed(route, zones, |store| async move { store.count_matches(what).await }).await
    }

    /// Returns the figures of the primary as long as any of its zones is in use.
    async fn stats(&self) -> Result<CacheStats> {
        let route = || self.router.routes().map(Routes::of_the_whole);
        let stats = self.read_routed(route, Primary::zones, |store| async move { store.stats().await });
        let stats = stats.await?;
        Ok(CacheStats { backend: fallback_kind(stats.backend), ..stats })
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.read(key, |store| async move { store.get(key).await }).await
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        let found = self.read_many(keys, |store, keys| async move { store.lookup_many(&keys).await }).await?;
        Ok(found.into_iter().map(|found| Lookup { backend: fallback_kind(found.backend), ..found }).collect())
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.fill_parts(fills).await
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.read_many(keys, |store, keys| async move { store.get_many(&keys).await }).await
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.set_parts(entries).await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let explanation = self.read(key, |store| async move { store.explain(key).await }).await?;
        Ok(Explanation { backend: fallback_kind(explanation.backend), ..explanation })
    }

    async fn health(&self) -> Health {
        let journal = &self.router.journal;
        let (health, primary) = {
            let state = self.router.state.lock();
            (state.health(), state.primary.clone())
        };
        let near = match primary {
            Some(primary) => primary.health().await.near,
            None => None,
        };
        Health { journal: journal.kind(), journal_depth: journal.depth(), near, ..health }
    }

    async fn close(&self) -> Result<()> {
        let primary = self.router.close();
        if let Some(recovery) = &self.recovery {
            recovery.abort();
        }
        let closed = match primary {
            Some(primary) => primary.close().await,
            None => Ok(()),
        };
        self.router.retire_store(u64::MAX).await;
        self.router.connector.ended();
        closed
    }
}

#[async_trait]
impl AtomicBackend for FallbackBackend {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.count(key, |primary| async move { primary.increment(key, by).await }).await
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        self.count(key, |primary| async move { primary.add(key, value).await }).await
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.count(key, |primary| async move { primary.reset(key).await }).await
    }
}
