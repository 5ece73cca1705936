//! A part of a cluster is away, far, or not what it seems: the other parts are used, and nothing is believed without reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheBackendExt, Invalidation, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use testkit::{FailOver, Mode, RedisCluster, TcpProxy};

use crate::support::*;

const SERVES_IN_PART: [&str; 2] = ["--cluster-require-full-coverage", "no"];

/// Reaches a node of the cluster through a proxy.
fn through(config: RedisConfig, cluster: &RedisCluster, nodes: &[(usize, &TcpProxy)]) -> RedisConfig {
    let host = || "127.0.0.1".to_owned();
    config.node_map(
        nodes.iter().map(|(node, proxy)| ((host(), cluster.node(*node).port()), (host(), proxy.port()))),
    )
}

/// Fills all nodes with keys of another namespace, which scans have to pass.
async fn populate(cluster: &RedisCluster, count: usize) {
    let other = RedisBackend::connect(config(cluster).namespace("other").timeout(Duration::from_secs(5)))
        .await
        .unwrap();
    for first in (0..count).step_by(500) {
        other.set_many((first..first + 500).map(|n| (key(n), NewEntry::new("x"))).collect()).await.unwrap();
    }
    other.close().await.unwrap();
}

fn connections(cluster: &RedisCluster, node: usize) -> u64 {
    number(cluster, node, "INFO stats", "total_connections_received:")
}

fn number(cluster: &RedisCluster, node: usize, command: &str, field: &str) -> u64 {
    let text = cluster.node(node).connect().unwrap();
    let mut connection = text;
    let words: Vec<&str> = command.split(' ').collect();
    let text = connection.ask(&words).unwrap().text().unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0");
    value.trim().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap_or(0)
}

/// 1. A node's address goes to a node of another cluster, whose epochs are higher (a pod that was replaced).
/// 2. The heartbeat asks it how it sees the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_at_the_address_of_a_node_is_not_used() {
    let cluster = RedisCluster::start_with(3, 0, &SERVES_IN_PART).unwrap();
    let other = RedisCluster::start_with(3, 0, &SERVES_IN_PART).unwrap();
    for _ in 0..5 {
        for node in 0..3 {
            let _ = other.node(node).command("CLUSTER BUMPEPOCH").unwrap();
        }
    }
    other.settle().unwrap();
    let mut proxy = TcpProxy::start(cluster.node(0).address()).await.unwrap();
    let config = RedisConfig::new("127.0.0.1").port(cluster.node(1).port()).heartbeat(BEAT);
    let cache = RedisBackend::connect(through(config, &cluster, &[(0, &proxy)])).await.unwrap();
    let kept = keys_of(&cluster, 1, 1).remove(0);
    load(&cache, &kept, "a value").await;
    proxy.lead_to(other.node(0).address());
    proxy.set(Mode::Reset).await;
    proxy.set(Mode::Pass).await;
    let until = Instant::now() + 10 * BEAT;
    while Instant::now() < until {
        assert_eq!(held(&cache, &kept).await.expect("its own cluster is used"), "a value");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// 1. A slot goes to a node that has to be cleared, which takes longer than the lease. 2. Nothing else is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cleared_for_long_does_not_stop_the_others() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    populate(&cluster, 15_000).await;
    let mut proxy = TcpProxy::start(cluster.node(1).address()).await.unwrap();
    let cache = RedisBackend::connect(through(config(&cluster), &cluster, &[(1, &proxy)])).await.unwrap();
    let kept = keys_of(&cluster, 2, 1).remove(0);
    // More patterns than are repeated one by one.
    for family in ["a", "b", "c", "d"] {
        invalidate(&cache, Invalidation::Pattern(format!("{family}*").parse().unwrap())).await;
    }
    load(&cache, &kept, "a value").await;
    proxy.set(Mode::Delay(Duration::from_millis(40))).await;
    let moved = slot(&cluster, &keys_of(&cluster, 0, 1)[0]);
    cluster.move_slot(moved, 0, 1).unwrap();
    cluster.settle().unwrap();
    let (until, mut failed, mut asked) = (Instant::now() + 40 * BEAT, 0, 0);
    let mut last = String::new();
    while Instant::now() < until {
        asked += 1;
        match cache.get(&kept).await {
            Ok(found) => assert!(found.is_some()),
            Err(error) => (failed, last) = (failed + 1, error.to_string()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(failed, 0, "of {asked} reads of a node that nothing happened to: {last}");
}

/// The only master dies and its replica takes over. The settings name the master alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_replica_of_the_only_master_is_found_where_the_settings_name_the_master() {
    let mut cluster = RedisCluster::start_with(1, 1, &SERVES_IN_PART).unwrap();
    let cache = open(&cluster).await;
    let key = key(1);
    load(&cache, &key, "a value").await;
    tokio::time::sleep(3 * BEAT).await;
    cluster.nodes()[0].kill().unwrap();
    cluster.fail_over(1, FailOver::TakeOver).unwrap();
    cluster.wait_for_master(1).unwrap();
    eventually("the replica is used", async || cache.lookup(&key).await.is_ok()).await;
}

/// A process starts while a node hangs for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_while_a_node_hangs_does_not_clear_it_for_all() {
    let cluster = RedisCluster::start_with(3, 0, &["--cluster-node-timeout", "20000"]).unwrap();
    let cache = open(&cluster).await;
    let key = keys_of(&cluster, 2, 1).remove(0);
    load(&cache, &key, "a value").await;
    cluster.node(2).pause().unwrap();
    let young = open(&cluster).await;
    cluster.node(2).resume().unwrap();
    eventually("it is used", async || young.probe().await.is_ok() && cache.probe().await.is_ok()).await;
    assert_eq!(held(&cache, &key).await.expect("no process has removed it"), "a value");
}

/// While one shard is away, the others are counted at most as often as before.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_node_is_away_the_others_are_not_scanned_all_the_time() {
    let mut cluster = RedisCluster::start_with(3, 0, &SERVES_IN_PART).unwrap();
    populate(&cluster, 30_000).await;
    let _cache = open(&cluster).await;
    cluster.nodes()[2].kill().unwrap();
    tokio::time::sleep(15 * BEAT).await;
    // A change of the servers, after which they are counted again.
    let _ = cluster.node(1).command("CLUSTER BUMPEPOCH").unwrap();
    tokio::time::sleep(5 * BEAT).await;
    let scans = || number(&cluster, 0, "INFO commandstats", "cmdstat_scan:calls=");
    let before = scans();
    tokio::time::sleep(15 * BEAT).await;
    let scans = scans() - before;
    println!("{scans} steps of scans in three seconds");
    assert!(scans <= 60, "{scans} steps of scans in three seconds; one count takes about 20");
}

/// A slot goes to a node that this process cannot reach.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_a_node_that_cannot_be_reached_does_not_make_all_nodes_be_asked_all_the_time() {
    let cluster = RedisCluster::start_with(3, 0, &SERVES_IN_PART).unwrap();
    let mut proxy = TcpProxy::start(cluster.node(2).address()).await.unwrap();
    let cache = Arc::new(
        RedisBackend::connect(through(config(&cluster).heartbeat(5 * BEAT), &cluster, &[(2, &proxy)]))
            .await
            .unwrap(),
    );
    let key = keys_of(&cluster, 0, 1).remove(0);
    load(&cache, &key, "a value").await;
    proxy.set(Mode::Refuse).await;
    cluster.move_slot(slot(&cluster, &key), 0, 2).unwrap();
    cluster.settle().unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let before = connections(&cluster, 1);
    let (is_over, mut slowest) = (Arc::new(AtomicBool::default()), Duration::ZERO);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (cache, key, is_over) = (Arc::clone(&cache), key.clone(), Arc::clone(&is_over));
        tasks.push(tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                assert!(cache.get(&key).await.is_err());
                slowest = slowest.max(asked.elapsed());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            slowest
        }));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        slowest = slowest.max(task.await.unwrap());
    }
    let made = connections(&cluster, 1) - before;
    println!("{made} connections in 4 s, the slowest failure took {slowest:?}");
    assert!(made < 20, "{made} connections to a node that nothing happened to in 4 s, at a beat of 1 s");
    assert!(slowest < Duration::from_millis(100), "an unreachable shard costs {slowest:?}");
}

/// 1. One master hangs. 2. Another one cannot be reached. 3. The rest is well.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_hang_do_not_stop_the_others() {
    let cluster = RedisCluster::start_with(
        5,
        0,
        &["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "20000"],
    )
    .unwrap();
    let mut proxy = TcpProxy::start(cluster.node(4).address()).await.unwrap();
    proxy.set(Mode::BlackHole).await;
    let cache =
        RedisBackend::connect(through(config(&cluster).heartbeat(2 * BEAT), &cluster, &[(4, &proxy)]))
            .await
            .unwrap();
    let kept = keys_of(&cluster, 1, 1).remove(0);
    load(&cache, &kept, "a value").await;
    cluster.node(3).pause().unwrap();
    let (until, mut failed, mut asked) = (Instant::now() + 25 * BEAT, 0, 0);
    let mut last = String::new();
    while Instant::now() < until {
        asked += 1;
        let began = Instant::now();
        match cache.get(&kept).await {
            Ok(found) => assert!(found.is_some()),
            Err(error) => {
                (failed, last) = (failed + 1, error.to_string());
                println!("{:?} before the end, after {:?}: {error}", until - Instant::now(), began.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.node(3).resume().unwrap();
    assert_eq!(failed, 0, "of {asked} reads of a node that nothing happened to: {last}");
}

/// A new master that holds no slots yet receives its first one. Keys that are there already can be removed.
#[tokio::test(flavor = "multi_thread")]
async fn keys_can_be_removed_while_the_first_slot_goes_to_a_new_node() {
    let cluster = RedisCluster::start_with(3, 1, &[]).unwrap();
    assert_eq!(cluster.node(5).command("CLUSTER RESET SOFT").unwrap(), "+OK");
    let met = cluster.node(5).command(&format!("CLUSTER MEET 127.0.0.1 {}", cluster.node(0).port())).unwrap();
    assert_eq!(met, "+OK");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let cache = open(&cluster).await;
    let key = keys_of(&cluster, 0, 1).remove(0);
    let slot = slot(&cluster, &key);
    load(&cache, &key, "a value").await;
    cluster.begin_move(slot, 0, 5).unwrap();
    cluster.move_keys(slot, 0, 5, 100).unwrap();
    let removed = cache.delete(&key).await;
    cluster.end_move(slot, 0, 5).unwrap();
    assert!(removed.is_ok(), "{removed:?}");
}

/// Of two shards, this process cannot reach one. The replica of the other confirms that it is a master.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_shards_the_one_that_can_be_reached_is_used() {
    let cluster = RedisCluster::start_with(2, 1, &SERVES_IN_PART).unwrap();
    let mut proxy = TcpProxy::start(cluster.node(1).address()).await.unwrap();
    let cache = RedisBackend::connect(through(config(&cluster), &cluster, &[(1, &proxy)])).await.unwrap();
    let key = keys_of(&cluster, 0, 1).remove(0);
    load(&cache, &key, "a value").await;
    proxy.set(Mode::Refuse).await;
    tokio::time::sleep(15 * BEAT).await;
    let found = cache.get(&key).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.unwrap().payload, "a value");
}

/// Greeting a node takes more than half of the time that it may. The node is away for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_far_away_is_used_again_after_an_outage() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let mut proxy = TcpProxy::start(cluster.node(1).address()).await.unwrap();
    let millis = Duration::from_millis;
    let config = config(&cluster).connect_timeout(millis(550)).timeout(millis(500));
    let cache = RedisBackend::connect(through(config, &cluster, &[(1, &proxy)])).await.unwrap();
    let key = keys_of(&cluster, 1, 1).remove(0);
    load(&cache, &key, "a value").await;
    proxy.set(Mode::Delay(Duration::from_millis(70))).await;
    let until = Instant::now() + 15 * BEAT;
    while Instant::now() < until {
        assert!(cache.get(&key).await.expect("it can be greeted in time").is_some());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    proxy.set(Mode::BlackHole).await;
    tokio::time::sleep(15 * BEAT).await;
    assert!(cache.get(&key).await.is_err());
    proxy.set(Mode::Delay(Duration::from_millis(70))).await;
    eventually("it is used again", async || cache.get(&key).await.is_ok()).await;
}
