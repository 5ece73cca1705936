//! A primary whose failures the tests choose.

use std::num::NonZeroU64;
use std::result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, CacheStats, Entry, EpochScope, Error, ErrorKind,
    Explanation, Fill, FillOutcome, FillToken, Health, Invalidated, Invalidation, Lookup, ManualClock,
    MemoryBackend, NearCache, NearConfig, NearHealth, NearSession, NearState, NewEntry, Result, Timestamp,
    random_nonzero,
};
use parking_lot::Mutex;

use super::invalidate::concerned;
use super::{Connector, OpenFallback, Primary, Unacknowledged};
use crate::durability::zones::{Zone, ZoneSet};

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

/// One server of a shared store.
#[derive(Debug)]
struct Shard {
    zones: Mutex<ZoneSet>,
    store: Arc<MemoryBackend>,
    behaviour: Mutex<Behaviour>,
}

impl Shard {
    fn zones(&self) -> ZoneSet {
        *self.zones.lock()
    }
}

/// A store shared by connections, on one server or on several, and the network to it.
#[derive(Debug)]
pub(super) struct SharedStore {
    shards: Vec<Shard>,
    /// Whether the primary knows at once which of its servers refuse.
    knows: bool,
    calls: AtomicU64,
    /// The memory in front of the store, which all connections have in common.
    near: NearCache,
    session: NearSession,
}

impl SharedStore {
    /// A store on one server.
    pub(super) fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        let store = MemoryBackend::new().limit_bytes(16 << 20).clock(clock.clone());
        Self::of(vec![(Zone::new(0).into(), store)], false, clock)
    }

    /// A store on `count` servers, of which the zone `n` is on the server `n` modulo `count`. It `knows` at once which of them
    /// refuse, or does not know.
    pub(super) fn sharded(count: u8, knows: bool, clock: &Arc<ManualClock>) -> Arc<Self> {
        let zones = |shard| (0..Zone::COUNT).filter(move |number| number % count == shard).map(Zone::new);
        let store = || MemoryBackend::new().limit_bytes(16 << 20).clock(clock.clone());
        Self::of((0..count).map(|shard| (zones(shard).collect(), store())).collect(), knows, clock)
    }

    fn of(shards: Vec<(ZoneSet, MemoryBackend)>, knows: bool, clock: &Arc<ManualClock>) -> Arc<Self> {
        let behaviour = || Mutex::new(Behaviour::Up);
        let shard = |(zones, store)| Shard {
            zones: Mutex::new(zones),
            store: Arc::new(store),
            behaviour: behaviour(),
        };
        Arc::new(Self {
            shards: shards.into_iter().map(shard).collect(),
            knows,
            calls: AtomicU64::new(0),
            near: NearCache::new(&NearConfig::new(4 << 20)).with_clock(clock.clone()),
            session: NearSession::endless(),
        })
    }

    pub(super) fn set(&self, behaviour: Behaviour) {
        self.shards.iter().for_each(|shard| *shard.behaviour.lock() = behaviour);
    }

    pub(super) fn set_shard(&self, shard: usize, behaviour: Behaviour) {
        *self.shards[shard].behaviour.lock() = behaviour;
    }

    /// Moves `zone` to `shard`, without what is stored.
    pub(super) fn move_zone(&self, zone: Zone, shard: usize) {
        self.shards.iter().for_each(|shard| *shard.zones.lock() -= zone.into());
        *self.shards[shard].zones.lock() |= zone.into();
        self.session.forget(EpochScope::All);
    }

    /// How many calls have come through the network to a server or failed in it.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The content of the server of `key`.
    pub(super) fn store_of(&self, key: &CacheKey) -> &MemoryBackend {
        &self.shard_of(key).store
    }

    pub(super) fn zone_of(&self, group: &str) -> Zone {
        if self.shards.len() == 1 {
            return Zone::new(0);
        }
        let number = group.rsplit(':').next().and_then(|id| id.parse::<u64>().ok());
        let hash = number.unwrap_or_else(|| group.bytes().map(u64::from).sum());
        Zone::new(u8::try_from(hash % u64::from(Zone::COUNT)).unwrap())
    }

    fn shard_of(&self, key: &CacheKey) -> &Shard {
        let zone = self.zone_of(key.group());
        self.shards.iter().find(|shard| shard.zones().contains(zone)).unwrap()
    }

    /// Sends a call to `shard`.
    async fn pass(&self, shard: &Shard, is_invalidation: bool) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let away = || Err(Error::new(ErrorKind::Unavailable, "the shared store is away"));
        let behaviour = *shard.behaviour.lock();
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

    /// Sends a call to the server of `key`.
    async fn of_key(&self, key: &CacheKey) -> Result<&MemoryBackend> {
        let shard = self.shard_of(key);
        self.pass(shard, false).await?;
        Ok(&shard.store)
    }
}

/// A connection to a [`SharedStore`], which refuses the tokens of every other connection.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<SharedStore>,
    id: u64,
}

impl Connection {
    pub(super) fn new(shared: &Arc<SharedStore>) -> Self {
        Self { shared: Arc::clone(shared), id: random_nonzero().get() }
    }

    /// Turns a token of the store into one of this connection, and back.
    fn issued(&self, token: FillToken) -> FillToken {
        let issuer = token.issuer().and_then(|issuer| NonZeroU64::new(issuer.get() ^ self.id));
        issuer.map_or_else(FillToken::never, |issuer| FillToken::new(issuer, token.value()))
    }
}

/// Connects to a [`SharedStore`].
#[derive(Debug)]
pub(super) struct TestConnector(pub(super) Arc<SharedStore>);

#[async_trait]
impl Connector for TestConnector {
    async fn connect(&self) -> Result<Arc<dyn Primary>> {
        let connection = Connection::new(&self.0);
        connection.probe(ZoneSet::ALL).await?;
        Ok(Arc::new(connection))
    }
}

#[async_trait]
impl Primary for Connection {
    fn zone_of(&self, group: &str) -> Zone {
        self.shared.zone_of(group)
    }

    fn zones(&self) -> ZoneSet {
        self.shared.shards.iter().map(Shard::zones).collect()
    }

    fn away(&self) -> ZoneSet {
        let refusing = |shard: &&Shard| self.shared.knows && *shard.behaviour.lock() == Behaviour::Refuses;
        self.shared.shards.iter().filter(refusing).map(Shard::zones).collect()
    }

    async fn probe(&self, zones: ZoneSet) -> Result<ZoneSet> {
        let (mut usable, mut failed) = (ZoneSet::EMPTY, None);
        for shard in self.shared.shards.iter().filter(|shard| shard.zones().meets(zones)) {
            let is_busy = *shard.behaviour.lock() == Behaviour::Busy;
            let probed = if is_busy { Ok(()) } else { self.shared.pass(shard, false).await };
            match probed {
                Ok(()) => usable |= shard.zones() & zones,
                Err(error) => failed = Some(error),
            }
        }
        failed.filter(|_| usable.is_empty()).map_or(Ok(usable), Err)
    }

    async fn invalidate_in(
        &self,
        zones: ZoneSet,
        what: &[Invalidation],
    ) -> result::Result<Invalidated, Unacknowledged> {
        let (mut removed, mut failed) = (0, None);
        for shard in &self.shared.shards {
            let zones = shard.zones() & zones;
            let concerns = |what: &&Invalidation| concerned(self, what).meets(zones);
            let what: Vec<_> = what.iter().filter(concerns).cloned().collect();
            if what.is_empty() {
                continue;
            }
            let outcome = match self.shared.pass(shard, true).await {
                Ok(()) => {
                    let invalidated = shard.store.invalidate(&what).await;
                    for what in &what {
                        self.shared.session.forget(what.epoch_scope());
                    }
                    invalidated
                }
                Err(error) => Err(error),
            };
            match (outcome, &mut failed) {
                (Ok(invalidated), _) => removed += invalidated.removed(),
                (Err(error), None) => failed = Some(Unacknowledged { zones, error }),
                (Err(_), Some(failed)) => failed.zones |= zones,
            }
        }
        failed.map_or(Ok(Invalidated::Applied { removed }), Err)
    }
}

#[async_trait]
impl CacheBackend for Connection {
    fn kind(&self) -> BackendKind {
        BackendKind::Redis
    }

    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        let found = self.shared.near.find(key, &self.shared.session)?;
        Some(Lookup { token: self.issued(found.token), ..found })
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let read_under = self.shared.session.token(key);
        let store = self.shared.of_key(key).await?;
        let found = store.lookup(key).await?;
        self.shared.near.put(key, read_under, &found);
        Ok(Lookup { backend: self.kind(), token: self.issued(found.token), ..found })
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        let outcome = self.shared.of_key(key).await?.fill(key, self.issued(token), entry).await;
        self.shared.session.forget(EpochScope::Group(key.group()));
        outcome
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        let set = self.shared.of_key(key).await?.set(key, entry).await;
        self.shared.session.forget(EpochScope::Group(key.group()));
        set
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.invalidate_in(self.zones(), what).await.map_err(|failed| failed.error)
    }

    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        let mut total = Some(0);
        for shard in &self.shared.shards {
            self.shared.pass(shard, false).await?;
            let count = shard.store.count_matches(what).await?;
            total = total.zip(count).map(|(total, count)| total + count);
        }
        Ok(total)
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let store = self.shared.of_key(key).await?;
        Ok(Explanation { backend: self.kind(), ..store.explain(key).await? })
    }

    async fn health(&self) -> Health {
        let since = Timestamp::default();
        let near = NearHealth { state: NearState::Serving, since, cause: None, sessions: 1 };
        let health = if self.away().is_empty() {
            Health::ok(self.kind(), since)
        } else {
            Health::degraded(self.kind(), since, "the shared store is away")
        };
        Health { near: Some(near), ..health }
    }

    async fn stats(&self) -> Result<CacheStats> {
        let shard = &self.shared.shards[0];
        self.shared.pass(shard, false).await?;
        let near = Some(self.shared.near.stats());
        Ok(CacheStats { backend: self.kind(), near, ..shard.store.stats().await? })
    }
}

#[async_trait]
impl AtomicBackend for Connection {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.shared.of_key(key).await?.increment(key, by).await
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        self.shared.of_key(key).await?.add(key, value).await
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.shared.of_key(key).await?.reset(key).await
    }
}

/// Opens fallback stores in memory.
#[derive(Debug)]
pub(super) struct InMemory(pub(super) Arc<dyn cache_core::Clock>);

#[async_trait]
impl OpenFallback for InMemory {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        Arc::new(MemoryBackend::new().clock(Arc::clone(&self.0)))
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

    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.inner.at_hand(key)
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

    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        self.inner.count_matches(what).await
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
