//! Batches of any size are stored and served in parts; a short slowness of Redis is no outage.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_facade::{
    BackendKind, Cache, CacheKey, ErrorKind, Source, backend::Timestamp, stats::BreakerState,
};
use testkit::RedisServer;
use tokio::sync::Mutex;

use crate::support::*;

const ITEMS: u64 = 20_000;

/// Runs one of these tests at a time: each loads the machine.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Loads the missing items; every key is its own group.
async fn read_all(cache: &Cache, loaded: &Arc<AtomicU64>) {
    let loaded = Arc::clone(loaded);
    let load = async move |ids: Vec<u64>| {
        loaded.fetch_add(ids.len() as u64, Ordering::SeqCst);
        Ok::<_, Infallible>(ids.into_iter().map(|id| (id, format!("value {id}"))))
    };
    let items = (0..ITEMS).map(|id| (id, key(id)));
    let values: HashMap<u64, String> = cache.get_or_load_many(items, load).await.unwrap();
    assert_eq!(values.len() as u64, ITEMS);
    assert!(values.iter().all(|(id, value)| *value == format!("value {id}")));
}

/// Checks that Redis has been in use without an outage.
async fn was_never_away(cache: &Cache, since: Timestamp) {
    let health = cache.health().await;
    assert_eq!(
        (health.active, health.breaker),
        (BackendKind::Redis, Some(BreakerState::Closed)),
        "{health:?}"
    );
    assert_eq!(health.since, since, "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_any_size_is_stored_by_the_first_call_and_served_to_the_second() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start().unwrap();
    let site = Instance::new(server.address()).await;
    let since = site.cache.health().await.since;
    let loaded = Arc::default();
    read_all(&site.cache, &loaded).await;
    assert_eq!(loaded.load(Ordering::SeqCst), ITEMS);
    read_all(&site.cache, &loaded).await;
    assert_eq!(loaded.load(Ordering::SeqCst), ITEMS, "everything was stored");
    let keys: Vec<CacheKey> = (0..ITEMS).map(key).collect();
    let found = site.cache.get_many::<String>(&keys).await;
    assert!(found.iter().all(Option::is_some), "everything is found");
    was_never_away(&site.cache, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_large_batches_do_not_open_the_breaker() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start().unwrap();
    let site = Instance::new(server.address()).await;
    let since = site.cache.health().await.since;
    let loaded = Arc::default();
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (cache, loaded) = (site.cache.clone(), Arc::clone(&loaded));
            tokio::spawn(async move { read_all(&cache, &loaded).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let before = loaded.load(Ordering::SeqCst);
    read_all(&site.cache, &loaded).await;
    assert_eq!(loaded.load(Ordering::SeqCst), before, "everything was stored");
    was_never_away(&site.cache, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_sets_are_stored_whole() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start().unwrap();
    let site = Instance::new(server.address()).await;
    let since = site.cache.health().await.since;
    let values: Vec<(CacheKey, u64)> = (0..ITEMS).map(|id| (key(id), id)).collect();
    site.cache.set_many(values.iter().map(|(key, value)| (key, value))).await.unwrap();
    let keys: Vec<CacheKey> = values.iter().map(|(key, _)| key.clone()).collect();
    let found = site.cache.get_many::<u64>(&keys).await;
    assert!(found.into_iter().zip(0..).all(|(found, id)| found == Some(id)));
    was_never_away(&site.cache, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_warmed_by_many_loads_at_once_is_warm() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start().unwrap();
    let site = Instance::new(server.address()).await;
    let since = site.cache.health().await.since;
    let loaded = Arc::<AtomicU64>::default();
    for _ in 0..2 {
        let warmed = site
            .cache
            .warm(
                0..ITEMS,
                100,
                async |cache, id| {
                    let loaded = Arc::clone(&loaded);
                    let load = async move || {
                        loaded.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(id)
                    };
                    cache.get_or_load(&key(id), load).await
                },
                |_| {},
            )
            .await;
        assert_eq!((warmed.done, warmed.failed), (ITEMS, 0));
    }
    // On a loaded machine some lookups time out: their values are loaded, and not stored.
    let again = loaded.load(Ordering::SeqCst) - ITEMS;
    assert!(again < ITEMS / 10, "{again} of {ITEMS} are not there the second time");
    was_never_away(&site.cache, since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_64_megabytes_is_stored_without_an_outage() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start().unwrap();
    let site = Instance::new(server.address()).await;
    let since = site.cache.health().await.since;
    let picture = Bytes::from(vec![7; 64 << 20]);
    for turn in 0..5 {
        let picture = picture.clone();
        let load = async move || Ok::<_, Infallible>(picture);
        let loaded = site.cache.get_or_load(&key(turn), load).details().await.unwrap();
        assert_eq!(loaded.source, Source::Loaded);
        eventually("it is stored", async || site.cache.stats().await.unwrap().fills == turn + 1).await;
    }
    site.cache.set(&key(9), &picture).await.unwrap();
    was_never_away(&site.cache, since).await;
}

/// The server runs a slow command of another client: longer than callers wait, shorter than a probe waits.
#[tokio::test(flavor = "multi_thread")]
async fn time_outs_are_no_outage_while_probes_succeed() {
    let _alone = ALONE.lock().await;
    let server = Arc::new(RedisServer::start().unwrap());
    let redis = redis_at(server.address()).connect_timeout(Duration::from_secs(20));
    let site = Instance::with(server.address(), |config| config.redis(redis)).await;
    let since = site.cache.health().await.since;
    site.cache.set(&key(0), &0_u64).await.unwrap();
    let busy = tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        let script = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
                      local ends = now() + 1500 while now() < ends do end";
        move || raw(&server, &["EVAL", script, "0"])
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut callers = Vec::new();
    for id in 0..20 {
        let cache = site.cache.clone();
        callers
            .push(tokio::spawn(async move { cache.set(&key(id), &id).await.map_err(|error| error.kind()) }));
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Err(ErrorKind::Timeout));
    }
    was_never_away(&site.cache, since).await;
    busy.await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    was_never_away(&site.cache, since).await;
    site.cache.set(&key(1), &1_u64).await.unwrap();
}
