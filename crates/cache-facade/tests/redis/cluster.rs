//! A cluster of which a part is away: its keys fall back to the disk, and all others stay on Redis.

use std::time::{Duration, Instant};

use cache_facade::{
    Cache, CacheConfig, Invalidated,
    stats::{BreakerState, HealthStatus},
};
use testkit::{FailOver, RedisCluster, Restart};

use crate::support::*;

async fn over(cluster: &RedisCluster, directory: &tempfile::TempDir) -> Cache {
    let nodes: Vec<_> =
        cluster.masters().unwrap().into_iter().map(|node| cluster.node(node).port()).collect();
    let list: Vec<_> = nodes.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let config = CacheConfig::from_pairs([
        ("CACHE_DIR", directory.path().to_str().unwrap()),
        ("REDIS_ENABLED", "true"),
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", &nodes[0].to_string()),
        ("REDIS_NODES", &list.join(",")),
    ]);
    Cache::connect(config.unwrap()).await.unwrap()
}

/// Returns rows whose keys `node` holds, in zones that it shares with no other node: a zone is 256 slots.
fn rows_of(cluster: &RedisCluster, node: usize) -> Vec<u64> {
    let is_its = |id: &u64| {
        let slot = cluster.slot_of(&format!("app:{}:@", key(*id).group())).unwrap();
        let (first, last) = (slot / 256 * 256, slot / 256 * 256 + 255);
        [first, slot, last].into_iter().all(|slot| cluster.master_of_slot(slot).unwrap() == node)
    };
    (0..64).filter(is_its).collect()
}

/// Whether a value of this row is in Redis.
fn is_in_redis(cluster: &RedisCluster, node: usize, id: u64) -> bool {
    cluster.node(node).command(&format!("EXISTS app:{}:@", key(id).group())).unwrap() == ":1"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_away_takes_only_its_own_keys_to_the_disk() {
    let patient = ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "3000"];
    let mut cluster = RedisCluster::start_with(3, 1, &patient).unwrap();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (one, two) = (over(&cluster, &directories[0]).await, over(&cluster, &directories[1]).await);
    is_back(&one).await;
    is_back(&two).await;
    let (lost, kept) = (rows_of(&cluster, 0), rows_of(&cluster, 1));
    let database = Database::new();
    for id in lost.iter().chain(&kept) {
        database.read(&one, *id).await;
    }
    let replica = cluster.replica_of(0).unwrap().unwrap();
    for node in [0, replica] {
        cluster.nodes()[node].kill().unwrap();
    }
    for cache in [&one, &two] {
        eventually("the shard is away", async || cache.health().await.status == HealthStatus::Degraded).await;
    }
    let mut longest = Duration::ZERO;
    for round in 0..20 {
        for id in &lost {
            let asked = Instant::now();
            let (version, _) = database.read(&one, *id).await;
            longest = longest.max(asked.elapsed());
            assert_eq!(version, database.version(*id));
        }
        for id in &kept {
            let changed = database.write(&one, *id).await;
            assert!(matches!(changed, Invalidated::Applied { .. }), "{changed:?}");
            assert_eq!(database.read(&two, *id).await.0, database.version(*id), "round {round}");
        }
    }
    println!("the longest read of the lost shard took {longest:?}");
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    eventually("the kept shard is read from Redis", async || {
        database.read(&one, kept[0]).await;
        is_in_redis(&cluster, 1, kept[0])
    })
    .await;
    assert!(database.hits(&one, lost[0]).await, "from the disk");
    let changed = database.write(&one, lost[0]).await;
    assert!(matches!(changed, Invalidated::Journaled { .. }), "{changed:?}");
    let health = one.health().await;
    assert_eq!(health.breaker, Some(BreakerState::Open));
    assert!(health.journal_depth > 0 && health.cause.is_some(), "{health:?}");
    // A clear reaches the shards that are there at once, and the others when they return.
    let cleared = one.clear().await.unwrap();
    assert!(matches!(cleared, Invalidated::Journaled { .. }), "{cleared:?}");
    assert!(!is_in_redis(&cluster, 1, kept[1]));

    for node in [0, replica] {
        cluster.nodes()[node].restart(Restart::WithData).unwrap();
    }
    cluster.settle().unwrap();
    is_back(&one).await;
    is_back(&two).await;
    assert_eq!(one.health().await.journal_depth, 0);
    for id in lost.iter().chain(&kept) {
        for cache in [&one, &two] {
            assert_eq!(database.read(cache, *id).await.0, database.version(*id));
        }
        let _ = database.write(&two, *id).await;
        assert_eq!(database.read(&one, *id).await.0, database.version(*id));
    }
    one.close().await.unwrap();
    two.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_starts_while_a_shard_is_away_and_uses_the_others() {
    let mut cluster = RedisCluster::start_with(3, 0, &["--cluster-require-full-coverage", "no"]).unwrap();
    let (lost, kept) = (rows_of(&cluster, 2), rows_of(&cluster, 0));
    cluster.nodes()[2].kill().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (directory, database) = (tempfile::tempdir().unwrap(), Database::new());
    let cache = over(&cluster, &directory).await;
    eventually("the kept shards are used", async || {
        database.read(&cache, kept[0]).await;
        is_in_redis(&cluster, 0, kept[0])
    })
    .await;
    let _ = database.write(&cache, lost[0]).await;
    assert_eq!(database.read(&cache, lost[0]).await.0, 1);
    cluster.nodes()[2].restart(Restart::WithData).unwrap();
    cluster.settle().unwrap();
    is_back(&cache).await;
    assert_eq!(database.read(&cache, lost[0]).await.0, 1);
    cache.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_is_replaced_while_requests_are_answered_and_no_change_is_lost() {
    let mut cluster = RedisCluster::start_with(3, 1, &["--cluster-require-full-coverage", "no"]).unwrap();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (one, two) = (over(&cluster, &directories[0]).await, over(&cluster, &directories[1]).await);
    is_back(&one).await;
    is_back(&two).await;
    let (database, rows) = (Database::new(), 64);
    for id in 0..rows {
        database.read(&one, id).await;
    }
    let replica = cluster.replica_of(0).unwrap().unwrap();
    cluster.nodes()[0].kill().unwrap();
    let (killed, mut longest, mut round) = (Instant::now(), Duration::ZERO, 0);
    while killed.elapsed() < Duration::from_secs(4) {
        let id = round % rows;
        let _ = database.write(&one, id).await;
        let asked = Instant::now();
        assert_eq!(database.read(&one, id).await.0, database.version(id), "its own changes are seen at once");
        longest = longest.max(asked.elapsed());
        round += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.wait_for_master(replica).unwrap();
    is_back(&one).await;
    is_back(&two).await;
    println!("{round} changes, the longest read {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    // A planned failover costs no request more than a moment.
    cluster.nodes()[0].restart(Restart::WithData).unwrap();
    cluster.settle().unwrap();
    cluster.fail_over(0, FailOver::Planned).unwrap();
    cluster.wait_for_master(0).unwrap();
    for id in 0..rows {
        assert_eq!(database.read(&two, id).await.0, database.version(id));
        let _ = database.write(&one, id).await;
        assert_eq!(database.read(&one, id).await.0, database.version(id));
    }
    is_back(&one).await;
    is_back(&two).await;
    for id in 0..rows {
        let _ = database.write(&one, id).await;
        assert_eq!(database.read(&two, id).await.0, database.version(id), "a change is seen by the other");
    }
    one.close().await.unwrap();
    two.close().await.unwrap();
}
