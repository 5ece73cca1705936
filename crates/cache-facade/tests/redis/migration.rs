//! From disk to Redis and back, to another database, to another server: a store that missed a change is not read.

use std::path::Path;

use cache_facade::{BackendKind, CacheConfig, Invalidated, Source};
use testkit::{Mode, RedisServer, TcpProxy};

use crate::support::*;

fn disk(directory: &Path) -> cache_facade::config::CacheConfigBuilder {
    CacheConfig::builder().directory(directory).size_mb(8)
}

/// History 28.
#[tokio::test(flavor = "multi_thread")]
async fn from_disk_to_redis_to_disk_with_a_change_in_each_phase_nothing_old_is_read() {
    let server = RedisServer::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let database = Database::new();
    for round in 0..3 {
        let redis = connect(config(path, server.address())).await;
        assert_eq!(redis.backend_kind(), BackendKind::Redis);
        assert_eq!(database.read(&redis, 1).await.0, database.version(1), "round {round}");
        let _ = database.write(&redis, 1).await;
        database.read(&redis, 1).await;
        eventually("it is kept", async || database.hits(&redis, 1).await).await;
        redis.close().await.unwrap();

        let on_disk = connect(disk(path)).await;
        assert_eq!(on_disk.backend_kind(), BackendKind::Disk);
        assert_eq!(database.read(&on_disk, 1).await.0, database.version(1), "round {round}");
        let _ = database.write(&on_disk, 1).await;
        database.read(&on_disk, 1).await;
        assert!(database.hits(&on_disk, 1).await);
        on_disk.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_run_on_disk_a_redis_that_is_away_is_cleared_before_it_is_read() {
    let server = RedisServer::start().unwrap();
    let mut proxy = TcpProxy::start(server.address()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let database = Database::new();
    let redis = connect(config(path, proxy.address())).await;
    database.read(&redis, 1).await;
    eventually("it is kept", async || database.hits(&redis, 1).await).await;
    redis.close().await.unwrap();
    let on_disk = connect(disk(path)).await;
    let _ = database.write(&on_disk, 1).await;
    on_disk.close().await.unwrap();

    proxy.set(Mode::Refuse).await;
    for _ in 0..2 {
        // The second run finds the record of the first: Redis has still not been cleared.
        let redis = connect(config(path, proxy.address())).await;
        assert_eq!(redis.backend_kind(), BackendKind::Fallback);
        assert_eq!(database.read(&redis, 1).await.0, 1);
        redis.close().await.unwrap();
    }
    let redis = connect(config(path, proxy.address())).await;
    proxy.set(Mode::Pass).await;
    is_back(&redis).await;
    assert_eq!(database.read(&redis, 1).await, (1, Source::Loaded));
    redis.close().await.unwrap();
    // It is cleared once, and trusted from then on.
    let redis = connect(config(path, proxy.address())).await;
    eventually("it is kept", async || database.hits(&redis, 1).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_and_back_with_a_change_in_each_nothing_old_is_read() {
    let server = RedisServer::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let database = Database::new();
    for round in 0..3 {
        for db in [0, 1] {
            let redis = redis_at(server.address()).db(db);
            let cache = connect(config(directory.path(), server.address()).redis(redis)).await;
            assert_eq!(database.read(&cache, 1).await.0, database.version(1), "round {round}");
            let _ = database.write(&cache, 1).await;
            database.read(&cache, 1).await;
            eventually("it is kept", async || database.hits(&cache, 1).await).await;
            cache.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_redis_is_not_cleared_at_a_restart_nor_by_a_new_instance() {
    let server = RedisServer::start().unwrap();
    let one = Instance::new(server.address()).await;
    let database = Database::new();
    database.read(&one.cache, 1).await;
    eventually("it is kept", async || database.hits(&one.cache, 1).await).await;
    one.cache.close().await.unwrap();
    let again = connect(config(one.directory.path(), server.address())).await;
    assert!(database.hits(&again, 1).await);
    assert!(database.hits(&Instance::new(server.address()).await.cache, 1).await);
    let clearing = Instance::with(server.address(), |config| config.clear_on_start(true)).await;
    assert!(!database.hits(&clearing.cache, 1).await, "but it is if configured");
}

/// Leaves `directory` as a process does that used one server, then another, and then ended.
async fn there(directory: &Path, proxy: &mut TcpProxy, first: &RedisServer, second: &RedisServer) {
    let database = Database::new();
    proxy.lead_to(first.address());
    let cache = connect(config(directory, proxy.address())).await;
    database.read(&cache, 1).await;
    eventually("it is kept", async || database.hits(&cache, 1).await).await;
    cache.close().await.unwrap();
    proxy.lead_to(second.address());
    let cache = connect(config(directory, proxy.address())).await;
    assert!(matches!(database.write(&cache, 1).await, Invalidated::Applied { .. }));
    cache.close().await.unwrap();
    proxy.lead_to(first.address());
}

/// History 22, across restarts of the process: the first server has been alive all along.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_there_and_back_brings_nothing_old_back() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let mut proxy = TcpProxy::start(first.address()).await.unwrap();
    // Without the record of the last server the old value is read again; with it, it is not.
    for is_defended in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        there(directory.path(), &mut proxy, &first, &second).await;
        if !is_defended {
            std::fs::remove_file(directory.path().join("instance-0/contact")).unwrap();
        }
        let cache = connect(config(directory.path(), proxy.address())).await;
        let load = async || Ok::<_, std::convert::Infallible>(1_u64);
        let read = cache.get_or_load(&key(1), load).await.unwrap();
        assert_eq!(read == 1, is_defended);
        let _ = cache.clear().await.unwrap();
        cache.close().await.unwrap();
    }
}
