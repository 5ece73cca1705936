//! One part of a cluster fails, and the others go on.

use std::time::{Duration, Instant};

use cache_core::{AtomicBackend, CacheBackend, CacheBackendExt, HealthStatus, Invalidation, NewEntry};
use testkit::{RedisCluster, Restart};

use crate::support::*;

const SERVES_IN_PART: [&str; 2] = ["--cluster-require-full-coverage", "no"];

#[tokio::test(flavor = "multi_thread")]
async fn while_one_shard_is_away_the_others_are_as_fast_as_before() {
    let mut cluster = RedisCluster::start_with(3, 0, &SERVES_IN_PART).unwrap();
    let cache = open(&cluster).await;
    let (lost, kept) = (keys_of(&cluster, 0, 10), keys_of(&cluster, 1, 10));
    for key in lost.iter().chain(&kept) {
        load(&cache, key, "a value").await;
    }
    cluster.nodes()[0].kill().unwrap();
    eventually("the node is known to be away", async || cache.probe().await.is_err()).await;
    for _ in 0..50 {
        for key in &kept {
            let asked = Instant::now();
            assert_eq!(held(&cache, key).await.unwrap(), "a value");
            assert!(asked.elapsed() < Duration::from_millis(100));
        }
        let asked = Instant::now();
        assert!(cache.get(&lost[0]).await.is_err());
        assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
    }
    assert!(cache.get_many(&[lost[0].clone(), kept[0].clone()]).await.is_err());
    assert!(cache.invalidate(&[Invalidation::Everything]).await.is_err());
    assert!(cache.invalidate(&[Invalidation::Key(lost[0].clone())]).await.is_err());
    let _ = cache.delete(&kept[0]).await.unwrap();
    assert_eq!(cache.health().await.status, HealthStatus::Degraded);
    cluster.nodes()[0].restart(Restart::Empty).unwrap();
    let error = cache.probe().await.unwrap_err();
    assert!(error.to_string().contains("Redis at 127.0.0.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_node_does_not_hold_up_a_failover_elsewhere() {
    let mut cluster = RedisCluster::start_with(5, 1, &SERVES_IN_PART).unwrap();
    let cache = open(&cluster).await;
    let (hung, failed) = (cluster.replica_of(4).unwrap().unwrap(), keys_of(&cluster, 0, 1).remove(0));
    load(&cache, &failed, "a value").await;
    // Its replica too, so that nothing replaces it.
    cluster.node(hung).pause().unwrap();
    cluster.node(4).pause().unwrap();
    eventually("the node is known to hang", async || cache.probe().await.is_err()).await;
    let replica = cluster.replica_of(0).unwrap().unwrap();
    cluster.nodes()[0].kill().unwrap();
    cluster.wait_for_master(replica).unwrap();
    let took = eventually("the new master is used", async || cache.lookup(&failed).await.is_ok()).await;
    println!("used {took:?} after the promotion");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    for node in [hung, 4] {
        cluster.node(node).resume().unwrap();
    }
}

/// As a master that is cut off from the others, which may have replaced it.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_no_other_node_confirms_is_not_used() {
    let cluster = RedisCluster::start_with(3, 0, &["--cluster-node-timeout", "20000"]).unwrap();
    let cache = open(&cluster).await;
    let key = keys_of(&cluster, 0, 1).remove(0);
    load(&cache, &key, "a value").await;
    for other in [1, 2] {
        cluster.node(other).pause().unwrap();
    }
    eventually("it is not used", async || cache.get(&key).await.is_err()).await;
    assert_eq!(cluster.node(0).command(&format!("EXISTS {}", name(&key))).unwrap(), ":1", "it serves");
    let error = cache.get(&key).await.unwrap_err();
    assert!(error.to_string().contains("no other node of the cluster confirms"), "{error}");
    cluster.node(1).resume().unwrap();
    eventually("it is used again", async || cache.get(&key).await.is_ok()).await;
    cluster.node(2).resume().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_counters_and_clears_reach_all_nodes() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let (cache, other) = (open(&cluster).await, open(&cluster).await);
    let keys: Vec<_> = (0..100).map(key).collect();
    let entries = keys.iter().enumerate().map(|(n, key)| (key.clone(), NewEntry::new(format!("{n}"))));
    cache.set_many(entries.collect()).await.unwrap();
    let found = other.get_many(&keys).await.unwrap();
    for (n, found) in found.into_iter().enumerate() {
        assert_eq!(found.unwrap().payload, format!("{n}"), "in the order of the keys");
    }
    for node in 0..3 {
        assert!(
            cluster.node(node).command("DBSIZE").unwrap().trim_start_matches(':').parse::<u64>().unwrap()
                > 20
        );
    }
    for n in 1..5 {
        for key in &keys[..10] {
            assert_eq!(cache.increment(key, 1).await.unwrap(), n);
        }
    }
    for key in &keys[..10] {
        assert!(cache.add(key, "a".into()).await.unwrap() && !other.add(key, "b".into()).await.unwrap());
        cache.reset(key).await.unwrap();
        assert_eq!(other.increment(key, 1).await.unwrap(), 1);
    }
    let removed = cache.invalidate(&[Invalidation::Pattern("image:1*".parse().unwrap())]).await.unwrap();
    assert_eq!(removed.removed(), 11);
    let removed = cache.invalidate(&[Invalidation::Everything]).await.unwrap();
    assert_eq!(removed.removed(), 89);
    assert!(other.get_many(&keys).await.unwrap().iter().all(Option::is_none));
    eventually("the entries are counted", async || cache.stats().await.unwrap().count == 0).await;
}
