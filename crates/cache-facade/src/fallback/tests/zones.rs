//! Laws of a primary on several servers, some of which are away.

use cache_core::HealthStatus;

use super::*;

mod returns;

/// The key of shard `n` is `key(n)`, and each shard has a third of the zones.
const SHARDS: u8 = 3;

struct Cluster(Setup);

impl Cluster {
    async fn new() -> Self {
        Self::with(true, |_| {}, || {}).await
    }

    /// A cluster that `knows` which of its servers refuse, or does not know.
    async fn with(
        knows: bool,
        prepare: impl FnOnce(&SharedStore) + Send,
        on_recovery: impl FnOnce() + Send + 'static,
    ) -> Self {
        let clock = Arc::new(ManualClock::new());
        let shared = SharedStore::sharded(SHARDS, knows, &clock);
        prepare(&shared);
        let fallback = Arc::new(InMemory(clock.clone()));
        Self(Setup::over(shared, fallback, clock, Box::new(on_recovery)).await)
    }

    fn router(&self) -> &Router {
        &self.0.backend.inner.router
    }

    fn away(&self) -> ZoneSet {
        self.router().state.lock().breaker.away()
    }

    fn owed(&self) -> ZoneSet {
        let state = self.router().state.lock();
        let primary = state.primary.as_deref().unwrap();
        self.0.backend.journal.owed(|what| invalidate::concerned(primary, what))
    }

    async fn lookup(&self, key: &CacheKey) -> Lookup {
        self.0.backend.lookup(key).await.unwrap()
    }

    async fn value(&self, key: &CacheKey) -> Option<Bytes> {
        self.lookup(key).await.entry.map(|entry| entry.payload)
    }

    async fn fill(&self, key: &CacheKey, value: &'static str) {
        let token = self.lookup(key).await.token;
        let filled = self.0.backend.fill(key, token, NewEntry::new(value)).await.unwrap();
        assert_eq!(filled, FillOutcome::Stored);
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Invalidated {
        self.0.backend.invalidate(what).await.unwrap()
    }

    /// What the servers hold.
    async fn there(&self, key: &CacheKey) -> Option<Bytes> {
        self.0.shared.store_of(key).lookup(key).await.unwrap().entry.map(|entry| entry.payload)
    }

    /// The servers of `shard` go away, and the keys there are read from the fallback store.
    async fn lose(&self, shard: u8) {
        self.0.shared.set_shard(usize::from(shard), Behaviour::Refuses);
        let _ = self.lookup(&key(shard)).await;
        self.is_open(shard).await;
    }

    async fn is_open(&self, shard: u8) {
        self.0
            .until("a fallback store is open", |setup| {
                let state = setup.backend.inner.router.state.lock();
                state.store.kind() != BackendKind::Fallback
            })
            .await;
        assert!(self.away().covers(zones(shard)));
    }

    async fn regains(&self, shard: u8) {
        self.0.shared.set_shard(usize::from(shard), Behaviour::Up);
        self.0
            .until("the shard is in use", |setup| {
                !setup.backend.inner.router.state.lock().breaker.away().meets(zones(shard))
            })
            .await;
    }
}

fn key(shard: u8) -> CacheKey {
    CacheKey::builder("image", shard).part("metadata").build().unwrap()
}

fn zones(shard: u8) -> ZoneSet {
    (0..Zone::COUNT).filter(|number| number % SHARDS == shard).map(Zone::new).collect()
}

fn keys<const N: usize>(shards: [u8; N]) -> Vec<Invalidation> {
    shards.map(|shard| Invalidation::Key(key(shard))).to_vec()
}

fn pattern() -> Vec<Invalidation> {
    vec!["pattern image:*".parse().unwrap()]
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_away_takes_only_its_own_keys_to_the_fallback_store() {
    let cluster = Cluster::new().await;
    cluster.lose(1).await;
    assert_eq!(cluster.away(), zones(1), "the zones of a server that is known to be away go together");
    let kinds = [BackendKind::Redis, BackendKind::Fallback, BackendKind::Redis];
    for (shard, kind) in (0..).zip(kinds) {
        let before = cluster.0.shared.calls();
        assert_eq!(cluster.lookup(&key(shard)).await.backend, kind);
        cluster.fill(&key(shard), "new").await;
        assert_eq!(cluster.value(&key(shard)).await.unwrap(), "new");
        assert_eq!(cluster.0.shared.calls() == before, kind == BackendKind::Fallback);
        assert_eq!(cluster.there(&key(shard)).await.is_some(), kind == BackendKind::Redis);
    }
    let health = cluster.0.backend.health().await;
    assert_eq!((health.status, health.active), (HealthStatus::Degraded, BackendKind::Redis));
    assert_ne!(health.breaker, Some(BreakerState::Closed));
    let cause = health.cause.unwrap();
    assert!(cause.contains("33 % of the keys") && cause.contains("the shared store is away"), "{cause}");
    cluster.regains(1).await;
    assert!(cluster.value(&key(1)).await.is_none(), "Redis never had it");
    assert_eq!(cluster.0.backend.health().await.status, HealthStatus::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_its_heartbeat_finds_away_is_left_without_a_call() {
    let cluster = Cluster::new().await;
    cluster.0.shared.set_shard(2, Behaviour::Refuses);
    let is_away = |setup: &Setup| setup.backend.inner.router.state.lock().breaker.away() == zones(2);
    cluster.0.until("the shard is away", is_away).await;
}

#[tokio::test(start_paused = true)]
async fn when_all_shards_are_away_everything_is_served_by_the_fallback_store() {
    let cluster = Cluster::new().await;
    for shard in 0..SHARDS {
        cluster.lose(shard).await;
    }
    assert_eq!((cluster.away(), cluster.0.backend.kind()), (ZoneSet::ALL, BackendKind::Fallback));
    assert!(!cluster.0.backend.health().await.cause.unwrap().contains('%'));
    for shard in 0..SHARDS {
        cluster.regains(shard).await;
    }
    cluster.0.is_back().await;
}

#[tokio::test(start_paused = true)]
async fn batches_are_split_by_zone_and_joined_in_order() {
    let cluster = Cluster::new().await;
    cluster.lose(1).await;
    let keys: Vec<_> = [1, 0, 2, 4, 1, 3, 7, 5].into_iter().map(key).collect();
    let value = |at: usize| NewEntry::new(at.to_string());
    let backend = &cluster.0.backend;
    let tokens = backend.lookup_many(&keys).await.unwrap();
    let fills =
        (0..keys.len()).map(|at| Fill { key: keys[at].clone(), token: tokens[at].token, entry: value(at) });
    let filled = backend.fill_many(fills.collect()).await.unwrap();
    assert_eq!(filled, vec![FillOutcome::Stored; keys.len()]);
    let read = async || {
        let found = backend.get_many(&keys).await.unwrap();
        let values =
            found.into_iter().map(|entry| entry.unwrap().payload).map(|payload| payload[..].to_vec());
        values.map(|text| String::from_utf8(text).unwrap()).collect::<Vec<_>>()
    };
    // The first and the fifth are one key.
    assert_eq!(read().await, ["4", "1", "2", "3", "4", "5", "6", "7"]);
    let found = backend.lookup_many(&keys).await.unwrap();
    let on_fallback: Vec<_> = found.iter().map(|found| found.backend == BackendKind::Fallback).collect();
    assert_eq!(on_fallback, [true, false, false, true, true, false, true, false]);
    let entries = (0..keys.len()).map(|at| (keys[at].clone(), value(at + 10)));
    backend.set_many(entries.collect()).await.unwrap();
    assert_eq!(read().await, ["14", "11", "12", "13", "14", "15", "16", "17"]);
    assert_eq!(cluster.owed(), (zones(1) & keys_zones(&cluster, &keys)));
    cluster.regains(1).await;
    assert!(backend.get(&keys[0]).await.unwrap().is_none());
    assert!(backend.get(&keys[1]).await.unwrap().is_some());
}

fn keys_zones(cluster: &Cluster, keys: &[CacheKey]) -> ZoneSet {
    keys.iter().map(|key| cluster.0.shared.zone_of(key.group())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_finds_a_shard_away_is_read_again_in_two_parts() {
    let cluster = Cluster::new().await;
    cluster.fill(&key(0), "there").await;
    cluster.0.shared.set_shard(1, Behaviour::Refuses);
    let found = cluster.0.backend.lookup_many(&[key(1), key(0)]).await.unwrap();
    assert_eq!(found[1].entry.as_ref().unwrap().payload, "there");
    assert_eq!(found[0].backend, BackendKind::Fallback);
}

#[tokio::test(start_paused = true)]
async fn where_an_error_does_not_tell_which_zone_failed_a_probe_does() {
    let cluster = Cluster::with(false, |_| {}, || {}).await;
    cluster.0.shared.set_shard(1, Behaviour::Refuses);
    let keys = [key(0), key(1), key(4)];
    assert!(cluster.0.backend.lookup_many(&keys).await.is_err());
    assert!(cluster.away().is_empty() && cluster.router().is_in_doubt());
    cluster.0.until("a probe told", |setup| !setup.backend.inner.router.is_in_doubt()).await;
    assert_eq!(cluster.away(), zones(1) & keys_zones(&cluster, &keys));
    let _ = cluster.0.backend.lookup_many(&keys).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_is_journaled_only_for_the_zones_that_are_away() {
    let cluster = Cluster::new().await;
    for shard in 0..SHARDS {
        cluster.fill(&key(shard), "old").await;
    }
    cluster.lose(1).await;
    cluster.fill(&key(1), "old").await;
    assert!(matches!(cluster.invalidate(&keys([0])).await, Invalidated::Applied { removed: 1 }));
    assert!(cluster.owed().is_empty() && cluster.value(&key(0)).await.is_none());
    let both = cluster.invalidate(&keys([1, 2])).await;
    assert!(matches!(both, Invalidated::Journaled { removed: 2 }));
    assert_eq!((cluster.owed(), cluster.0.backend.journal.depth()), (Zone::new(1).into(), 1));
    assert!(cluster.value(&key(1)).await.is_none() && cluster.value(&key(2)).await.is_none());
    assert_eq!(cluster.there(&key(1)).await.unwrap(), "old");
    assert_eq!(cluster.away(), zones(1));
    cluster.regains(1).await;
    assert!(cluster.value(&key(1)).await.is_none() && cluster.there(&key(1)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pattern_is_applied_where_shards_are_in_use_and_owed_to_those_that_are_away() {
    for what in [pattern(), vec![Invalidation::Everything]] {
        let cluster = Cluster::new().await;
        for shard in 0..SHARDS {
            cluster.fill(&key(shard), "old").await;
        }
        cluster.lose(1).await;
        assert!(matches!(cluster.invalidate(&what).await, Invalidated::Journaled { removed: 2 }));
        assert_eq!((cluster.away(), cluster.owed()), (zones(1), zones(1)));
        for shard in 0..SHARDS {
            assert!(cluster.value(&key(shard)).await.is_none());
        }
        cluster.fill(&key(0), "new").await;
        cluster.regains(1).await;
        assert!(cluster.owed().is_empty() && cluster.value(&key(1)).await.is_none());
        assert_eq!(cluster.value(&key(0)).await.unwrap(), "new", "it was not told again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_does_not_acknowledge_an_invalidation_is_left_and_the_others_are_not() {
    let cluster = Cluster::new().await;
    for shard in 0..SHARDS {
        cluster.fill(&key(shard), "old").await;
    }
    cluster.0.shared.set_shard(1, Behaviour::RefusesInvalidations);
    let journaled = cluster.invalidate(&pattern()).await;
    assert!(matches!(journaled, Invalidated::Journaled { .. }));
    assert_eq!((cluster.away(), cluster.owed()), (zones(1), zones(1)));
    assert!(cluster.there(&key(1)).await.is_some() && cluster.value(&key(1)).await.is_none());
    // Its probes succeed, and it is not read before it has acknowledged what is owed to it.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.away(), zones(1));
    cluster.regains(1).await;
    assert!(cluster.there(&key(1)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn counters_work_in_the_zones_that_are_in_use() {
    let cluster = Cluster::new().await;
    cluster.lose(1).await;
    assert_eq!(cluster.0.backend.increment(&key(0), 1).await.unwrap(), 1);
    let refused = cluster.0.backend.increment(&key(1), 1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
}
