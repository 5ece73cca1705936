//! Instances with values in memory in front of one Redis.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use cache_facade::{BackendKind, Cache, CacheConfig, Invalidated, LoadOptions, Source, stats::NearState};
use testkit::{RedisServer, Restart};

use crate::support::*;

async fn with_memory(address: SocketAddr) -> Instance {
    let instance = Instance::with(address, |config| config.memory_mb(8)).await;
    eventually("memory is in use", async || is_serving(&instance.cache).await).await;
    instance
}

async fn is_serving(cache: &Cache) -> bool {
    cache.health().await.near.is_some_and(|near| near.state == NearState::Serving)
}

/// The backend of a read of row `id` that hits.
async fn backend(cache: &Cache, id: u64) -> Option<BackendKind> {
    let load = async || Ok::<u64, Infallible>(u64::MAX);
    let options = LoadOptions::new().keep(|_| false);
    let loaded = cache.get_or_load(&key(id), load).options(options).details().await.unwrap();
    (loaded.source == Source::Hit).then_some(loaded.backend)
}

/// Reads row 1 until the value comes from memory.
async fn reads_from_memory(database: &Arc<Database>, cache: &Cache) {
    eventually("a read is answered from memory", async || {
        database.read(cache, 1).await;
        backend(cache, 1).await == Some(BackendKind::Memory)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_one_instance_is_seen_by_the_next_read_of_another() {
    let server = RedisServer::start().unwrap();
    let (one, two) = (with_memory(server.address()).await, with_memory(server.address()).await);
    let database = Database::new();
    for _ in 0..20 {
        reads_from_memory(&database, &two.cache).await;
        // On a crowded machine it may time out: then the journal has it, and the other instance learns of it later.
        if let Invalidated::Applied { .. } = database.write(&one.cache, 1).await {
            assert_eq!(database.read(&two.cache, 1).await.0, database.version(1));
        }
    }
    let near = two.cache.stats().await.unwrap().near.unwrap();
    assert!(near.hits >= 20, "{near:?}");
    eventually("both instances are known", async || {
        two.cache.health().await.near.is_some_and(|near| near.sessions == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_not_read_during_an_outage_and_holds_nothing_old_after_it() {
    let mut server = RedisServer::start().unwrap();
    let instance = with_memory(server.address()).await;
    let database = Database::new();
    reads_from_memory(&database, &instance.cache).await;
    server.kill().unwrap();
    is_away(&instance.cache).await;
    assert_ne!(backend(&instance.cache, 1).await, Some(BackendKind::Memory));
    assert!(matches!(database.write(&instance.cache, 1).await, Invalidated::Journaled { .. }));
    server.restart(Restart::Empty).unwrap();
    is_back(&instance.cache).await;
    assert_eq!(database.read(&instance.cache, 1).await.0, 1);
    reads_from_memory(&database, &instance.cache).await;
    assert_eq!(database.read(&instance.cache, 1).await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_share_a_decoded_value_of_redis_until_another_instance_changes_it() {
    let server = RedisServer::start().unwrap();
    let (one, two) = (with_memory(server.address()).await, with_memory(server.address()).await);
    let database = Database::new();
    reads_from_memory(&database, &two.cache).await;
    let shared = async || two.cache.get_shared::<u64>(&key(1)).await;
    let (first, second) = (shared().await.unwrap(), shared().await.unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    if let Invalidated::Applied { .. } = database.write(&one.cache, 1).await {
        assert_eq!(shared().await, None);
    }
}

#[tokio::test]
async fn a_server_that_is_trusted_after_a_restart_has_no_values_in_memory() {
    let server = RedisServer::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let redis = redis_at(server.address()).trust_restart(true);
    let config =
        CacheConfig::builder().directory(directory.path()).memory_mb(8).redis(redis).build().unwrap();
    assert!(config.warnings().iter().any(|warning| warning.contains("REDIS_TRUST_RESTART")));
    let cache = Cache::connect(config).await.unwrap();
    assert!(cache.health().await.near.is_none());
}
