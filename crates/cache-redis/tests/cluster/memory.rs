//! Values in memory in front of a cluster.

use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheKey, Invalidation};
use cache_redis::RedisBackend;
use testkit::RedisCluster;

use crate::support::*;

/// What an invalidation takes that waits for acknowledgements only.
const NO_WAIT: Duration = Duration::from_millis(350);

/// Reads keys, so that they are in memory.
async fn read(cache: &RedisBackend, keys: &[CacheKey]) {
    for key in keys {
        // On a busy machine a lease may end in between.
        eventually("it is in memory", async || held(cache, key).await.is_some() && at_hand(cache, key)).await;
    }
}

async fn past_the_beginning() {
    tokio::time::sleep(Duration::from_millis(900)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_of_any_node_is_heard_of_at_once() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let (one, other) = (with_memory(&cluster).await, with_memory(&cluster).await);
    let keys: Vec<CacheKey> = (0..60).map(key).collect();
    past_the_beginning().await;
    for key in &keys {
        load(&other, key, "value").await;
    }
    read(&one, &keys).await;
    let mut times = Vec::new();
    for key in &keys {
        let began = Instant::now();
        let _ = other.invalidate(&[Invalidation::Group(key.to_group())]).await.unwrap();
        times.push(began.elapsed());
        assert!(!at_hand(&one, key), "{key}");
        load(&other, key, "value").await;
    }
    times.sort_unstable();
    assert!(times[times.len() / 2] < Duration::from_millis(50), "{times:?}");
    assert!(times[times.len() - 3] < NO_WAIT, "{times:?}");
    read(&one, &keys).await;
    // Many in one call, of all nodes.
    let all: Vec<_> = keys.iter().cloned().map(Invalidation::Key).collect();
    let _ = other.invalidate(&all).await.unwrap();
    assert!(keys.iter().all(|key| !at_hand(&one, key)));
    for what in ["pattern image", "pattern image:*:metadata", "everything"] {
        for key in &keys {
            load(&other, key, "value").await;
        }
        read(&one, &keys).await;
        read(&other, &keys).await;
        let _ = other.invalidate(&[what.parse().unwrap()]).await.unwrap();
        assert!(keys.iter().all(|key| !at_hand(&one, key) && !at_hand(&other, key)), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_ends_what_is_served_of_its_own_keys_only() {
    let mut cluster = RedisCluster::start_with(3, 0, &["--cluster-require-full-coverage", "no"]).unwrap();
    let (one, other) = (with_memory(&cluster).await, with_memory(&cluster).await);
    past_the_beginning().await;
    let by_node: Vec<_> = (0..3).map(|node| keys_of(&cluster, node, 10)).collect();
    for key in by_node.iter().flatten() {
        load(&other, key, "value").await;
    }
    for keys in &by_node {
        read(&one, keys).await;
    }
    cluster.nodes()[2].kill().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(by_node[2].iter().all(|key| !at_hand(&one, key)), "its lease has ended");
    for keys in &by_node[..2] {
        let served = keys.iter().filter(|key| at_hand(&one, key)).count();
        // A zone at the border of two nodes has its registry at one of them.
        assert!(served >= keys.len() - 2, "{served} of {}", keys.len());
        for key in keys.iter().filter(|key| at_hand(&one, key)) {
            let began = Instant::now();
            let _ = other.invalidate(&[Invalidation::Key(key.clone())]).await.unwrap();
            assert!(began.elapsed() < NO_WAIT, "{key}: {:?}", began.elapsed());
            assert!(!at_hand(&one, key));
        }
    }
}
