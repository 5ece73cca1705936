//! An outage and the recovery: no instance reads an invalidated value afterwards.

use std::convert::Infallible;
use std::time::Duration;

use cache_facade::{
    BackendKind, ErrorKind, Invalidated, ManualClock, Source, config::Fallback, images::ImageChange,
    stats::HealthStatus,
};
use testkit::{Mode, RedisServer, TcpProxy};
use tokio::sync::oneshot;

use crate::support::*;

/// A server and two instances, one of them over a proxy.
struct Site {
    _server: RedisServer,
    proxy: TcpProxy,
    /// The instance over the proxy.
    one: Instance,
    /// The instance with a direct connection.
    two: Instance,
}

impl Site {
    async fn new() -> Self {
        let server = RedisServer::start().unwrap();
        let proxy = TcpProxy::start(server.address()).await.unwrap();
        let (one, two) = (Instance::new(proxy.address()).await, Instance::patient(server.address()).await);
        is_back(&one.cache).await;
        Self { _server: server, proxy, one, two }
    }

    async fn cut(&mut self) {
        self.proxy.set(Mode::Refuse).await;
        is_away(&self.one.cache).await;
    }

    async fn mend(&mut self) {
        self.proxy.set(Mode::Pass).await;
        is_back(&self.one.cache).await;
    }
}

/// History 23.
#[tokio::test(flavor = "multi_thread")]
async fn journaled_invalidations_reach_all_instances_after_the_recovery() {
    let mut site = Site::new().await;
    let database = Database::new();
    database.read(&site.two.cache, 1).await;
    eventually("it is shared", async || database.hits(&site.one.cache, 1).await).await;
    site.cut().await;
    assert!(matches!(database.write(&site.one.cache, 1).await, Invalidated::Journaled { .. }));
    assert_eq!(database.read(&site.one.cache, 1).await.0, 1, "this instance sees it at once");
    assert_eq!(database.read(&site.two.cache, 1).await, (0, Source::Hit), "the documented window");
    let health = site.one.cache.health().await;
    assert_eq!((health.status, health.journal_depth), (HealthStatus::Degraded, 1));
    site.mend().await;
    assert_eq!(database.read(&site.two.cache, 1).await.0, 1);
    assert_eq!(database.read(&site.one.cache, 1).await.0, 1);
    let health = site.one.cache.health().await;
    assert_eq!((health.status, health.journal_depth), (HealthStatus::Ok, 0));
}

/// History 26: each store refuses the tokens of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_began_on_one_store_is_not_stored_in_the_other() {
    let mut site = Site::new().await;
    let database = Database::new();
    let one = site.one.cache.clone();
    let slow = |id: u64| {
        let cache = one.clone();
        let (begun, begins) = oneshot::channel();
        let (go, going) = oneshot::channel::<()>();
        let load = async move || {
            begun.send(()).unwrap();
            going.await.unwrap();
            Ok::<_, Infallible>(0_u64)
        };
        let loading = tokio::spawn(async move { cache.get_or_load(&key(id), load).details().await.unwrap() });
        (loading, begins, go)
    };
    let (on_redis, begins, go_redis) = slow(1);
    begins.await.unwrap();
    site.cut().await;
    let (on_disk, begins, go_disk) = slow(2);
    begins.await.unwrap();
    let _ = database.write(&site.one.cache, 1).await;
    go_redis.send(()).unwrap();
    assert_eq!(on_redis.await.unwrap().value, 0);
    assert_eq!(database.read(&site.one.cache, 1).await.0, 1, "the disk took no token of Redis");
    site.mend().await;
    assert_eq!(database.read(&site.one.cache, 1).await.0, 1);
    let _ = database.write(&site.one.cache, 2).await;
    go_disk.send(()).unwrap();
    assert_eq!(on_disk.await.unwrap().value, 0);
    assert_eq!(database.read(&site.two.cache, 2).await.0, 1, "Redis took no token of the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_one_outage_are_not_read_in_the_next() {
    let mut site = Site::new().await;
    let database = Database::new();
    site.cut().await;
    database.read(&site.one.cache, 1).await;
    assert!(database.hits(&site.one.cache, 1).await);
    site.mend().await;
    // A change of another instance, which no fallback store sees.
    assert!(matches!(database.write(&site.two.cache, 1).await, Invalidated::Applied { .. }));
    site.cut().await;
    assert_eq!(database.read(&site.one.cache, 1).await, (1, Source::Loaded));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_outage_a_value_is_served_for_the_maximum_age_from_the_start_of_its_load() {
    let clock = std::sync::Arc::new(ManualClock::new());
    let one = Instance::with(nowhere(), |config| {
        config.clock(clock.clone()).fallback_max_age(Duration::from_secs(10))
    })
    .await;
    is_away(&one.cache).await;
    let load = |took: u64| {
        let clock = clock.clone();
        async move || {
            clock.advance(Duration::from_secs(took));
            Ok::<_, Infallible>(1)
        }
    };
    let read = async |took| one.cache.get_or_load(&key(1), load(took)).details().await.unwrap().source;
    assert_eq!(read(4).await, Source::Loaded);
    clock.advance(Duration::from_millis(5_999));
    assert_eq!(read(0).await, Source::Hit);
    clock.advance(Duration::from_millis(1));
    assert_ne!(read(10).await, Source::Hit);
    assert_ne!(read(0).await, Source::Hit, "a load that took that long is not stored");
    one.cache.set(&key(2), &1).await.unwrap();
    clock.advance(Duration::from_secs(10));
    assert_eq!(one.cache.get::<i32>(&key(2)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fallback_everything_is_loaded_and_invalidations_are_pending() {
    let server = RedisServer::start().unwrap();
    let mut proxy = TcpProxy::start(server.address()).await.unwrap();
    let one = Instance::with(proxy.address(), |config| config.fallback(Fallback::None)).await;
    let two = Instance::patient(server.address()).await;
    let database = Database::new();
    database.read(&one.cache, 1).await;
    eventually("it is shared", async || database.hits(&two.cache, 1).await).await;
    proxy.set(Mode::Refuse).await;
    eventually("nothing stands in", async || one.cache.backend_kind() != BackendKind::Redis).await;
    for _ in 0..3 {
        assert_ne!(database.read(&one.cache, 1).await.1, Source::Hit);
    }
    eventually("nothing is kept", async || one.cache.health().await.active == BackendKind::Null).await;
    assert!(matches!(database.write(&one.cache, 1).await, Invalidated::Journaled { .. }));
    proxy.set(Mode::Pass).await;
    is_back(&one.cache).await;
    assert_eq!(database.read(&two.cache, 1).await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_are_unavailable_in_an_outage_and_continue_after_it() {
    let mut site = Site::new().await;
    let counter = cache_facade::CacheKey::builder("visits", 1).build().unwrap();
    assert_eq!(site.one.cache.increment(&counter, 2).await.unwrap(), 2);
    site.cut().await;
    assert_eq!(site.one.cache.increment(&counter, 2).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(site.one.cache.add(&counter, "me").await.unwrap_err().kind(), ErrorKind::Unavailable);
    site.mend().await;
    assert_eq!(site.two.cache.increment(&counter, 2).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_set_in_an_outage_is_not_followed_by_an_older_one() {
    let mut site = Site::new().await;
    site.one.cache.set(&key(1), &"old").await.unwrap();
    site.cut().await;
    site.one.cache.set(&key(1), &"new").await.unwrap();
    assert_eq!(site.one.cache.get::<String>(&key(1)).await.as_deref(), Some("new"));
    site.mend().await;
    assert_eq!(site.two.cache.get::<String>(&key(1)).await, None);
}

/// More invalidations than the journal has slots for become one clear.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_with_more_changes_than_the_journal_holds_ends_in_one_clear() {
    let mut site = Site::new().await;
    let database = Database::new();
    for id in 0..4 {
        database.read(&site.two.cache, id).await;
        eventually("it is shared", async || database.hits(&site.one.cache, id).await).await;
    }
    site.cut().await;
    let many: Vec<_> = (0..6_000).map(|image| ImageChange::ImageUpdated { project: image, image }).collect();
    assert!(matches!(site.one.cache.invalidate(&many).await.unwrap(), Invalidated::Journaled { .. }));
    assert_eq!(site.one.cache.health().await.journal_depth, 1);
    site.mend().await;
    for id in 0..4 {
        assert!(!database.hits(&site.two.cache, id).await);
    }
}

/// The recovery succeeds also while writers never stop.
#[tokio::test(flavor = "multi_thread")]
async fn redis_recovers_under_constant_changes_without_a_stale_read() {
    let mut site = Site::new().await;
    let database = Database::new();
    site.cut().await;
    let writers: Vec<_> = (0..8)
        .map(|id| {
            let (database, cache) = (database.clone(), site.one.cache.clone());
            tokio::spawn(async move {
                loop {
                    let _ = database.write(&cache, id).await;
                    let written = database.version(id);
                    let read = database.read(&cache, id).await.0;
                    assert!(read >= written, "stale: {read} after {written}");
                }
            })
        })
        .collect();
    for _ in 0..3 {
        site.mend().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        site.cut().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    site.mend().await;
    for writer in &writers {
        assert!(!writer.is_finished(), "a writer failed");
        writer.abort();
    }
}
