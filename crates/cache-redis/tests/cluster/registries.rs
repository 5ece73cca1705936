//! Registries of zones that are elsewhere than the values, on the move, at deposed masters, or damaged.

use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheKey, FillOutcome, Invalidation, NearConfig, NearState, NewEntry};
use cache_redis::RedisBackend;
use testkit::{FailOver, RedisCluster};
use tokio::time::sleep;

use crate::support::*;

/// The slot of the registry of `zone`.
fn registry_slot(cluster: &RedisCluster, zone: u16) -> u16 {
    (0..100_000)
        .map(|n: u32| cluster.slot_of(&format!("{{{n}}}")).unwrap())
        .find(|slot| slot / 256 == zone)
        .unwrap()
}

/// A key in `zone` at `node`.
fn key_at(cluster: &RedisCluster, zone: u16, node: usize) -> CacheKey {
    let is_it = |key: &CacheKey| {
        let slot = slot(cluster, key);
        slot / 256 == zone && cluster.master_of_slot(slot).unwrap() == node
    };
    (0..100_000).map(key).find(is_it).unwrap()
}

/// The zone at the border of nodes 0 and 1: the node of its registry, and the other one.
fn border(cluster: &RedisCluster) -> (u16, usize, usize) {
    let zone = 5461 / 256;
    let registry = cluster.master_of_slot(registry_slot(cluster, zone)).unwrap();
    (zone, registry, 1 - registry)
}

/// While the slot of a registry is moved, invalidations of values in the zone succeed, wherever those are.
#[tokio::test(flavor = "multi_thread")]
async fn invalidations_succeed_while_the_slot_of_the_registry_is_moved() {
    for has_announced in [true, false] {
        let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
        let (one, other) = (with_memory(&cluster).await, open(&cluster).await);
        other.probe().await.unwrap();
        sleep(Duration::from_millis(900)).await;
        let zone = 5;
        let slot = registry_slot(&cluster, zone);
        let key = key_at(&cluster, zone, 0);
        if has_announced {
            invalidate(&other, Invalidation::Key(key.clone())).await;
        }
        load(&one, &key, "old").await;
        cluster.begin_move(slot, 0, 1).unwrap();
        let mut failures = Vec::new();
        for phase in ["none was moved", "all were moved", "a second later"] {
            if let Err(error) = other.invalidate(&[Invalidation::Key(key.clone())]).await {
                failures.push(format!("announced {has_announced}, {phase}: {error}"));
            }
            assert!(!at_hand(&one, &key) || !failures.is_empty(), "stale");
            if phase == "none was moved" {
                while cluster.move_keys(slot, 0, 1, 100).unwrap() > 0 {}
            } else {
                sleep(Duration::from_secs(1)).await;
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }
}

/// Removals that are repeated at a node that takes over end sessions at the registry of the zone, wherever that is.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_repeated_at_a_new_master_reaches_memories_registered_elsewhere() {
    let cluster = RedisCluster::start_with(3, 1, &["--cluster-require-full-coverage", "no"]).unwrap();
    let (zone, _, master) = border(&cluster);
    let key = key_at(&cluster, zone, master);
    let fast = with_memory(&cluster).await;
    let slow = RedisBackend::connect(config(&cluster).heartbeat(15 * BEAT)).await.unwrap();
    let replica = cluster.replica_of(master).unwrap().unwrap();
    sleep(Duration::from_secs(8)).await;
    slow.probe().await.unwrap();
    for other in (0..6).filter(|other| *other != master) {
        cluster.ask(master, &["CLUSTER", "FORGET", &cluster.id(other).unwrap()]).unwrap().text().unwrap();
    }
    cluster.fail_over(replica, FailOver::TakeOver).unwrap();
    // The fast one uses the new master, and has read the old row.
    let port = cluster.node(replica).port();
    eventually("it is used", async || {
        let _ = fast.probe().await;
        fast.nodes().iter().any(|(node, is_fit)| *is_fit && node.ends_with(&port.to_string()))
            && !fast.nodes().iter().any(|(node, _)| node.ends_with(&cluster.node(master).port().to_string()))
    })
    .await;
    let mut token = None;
    eventually("it has a token", async || {
        token = fast.lookup(&key).await.ok().map(|found| found.token).filter(|token| !token.is_never());
        token.is_some()
    })
    .await;
    // The slow one commits, and removes at the deposed master.
    let _ = slow.invalidate(&[Invalidation::Key(key.clone())]).await.unwrap();
    let filled = fast.fill(&key, token.unwrap(), NewEntry::new("old")).await.unwrap();
    assert_eq!(filled, FillOutcome::Stored);
    eventually("it is in memory", async || {
        let _ = held(&fast, &key).await;
        at_hand(&fast, &key)
    })
    .await;
    // The slow one hears of the new master, and repeats the removal there.
    eventually("it is used", async || {
        slow.probe().await.is_ok()
            && slow.nodes().iter().any(|(node, is_fit)| *is_fit && node.ends_with(&port.to_string()))
    })
    .await;
    assert!(held(&slow, &key).await.is_none(), "removed at the new master");
    // It is announced in the background.
    sleep(Duration::from_millis(700)).await;
    assert!(!at_hand(&fast, &key), "served after the removal was repeated");
}

/// A deposed master that holds the registry of a zone, and whose successor an instance cannot reach, grants it no leases.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_at_a_deposed_master_grants_no_leases_for_long() {
    let cluster = RedisCluster::start_with(3, 1, &["--cluster-require-full-coverage", "no"]).unwrap();
    let (zone, master, of_value) = border(&cluster);
    let replica = cluster.replica_of(master).unwrap().unwrap();
    let key = key_at(&cluster, zone, of_value);
    let from = |host: &str| (host.to_owned(), cluster.node(replica).port());
    let nowhere = ("127.0.0.1".to_owned(), 1);
    let cut_off = config(&cluster)
        .node_map([(from("127.0.0.1"), nowhere.clone()), (from("localhost"), nowhere)])
        .near(NearConfig::new(8 << 20));
    let one = RedisBackend::connect(cut_off).await.unwrap();
    serves(&one).await;
    let other = open(&cluster).await;
    other.probe().await.unwrap();
    load(&other, &key, "old").await;
    // On a busy machine a lease may end in between.
    eventually("it is in memory", async || held(&one, &key).await.is_some() && at_hand(&one, &key)).await;
    for node in (0..6).filter(|node| *node != master) {
        cluster.ask(master, &["CLUSTER", "FORGET", &cluster.id(node).unwrap()]).unwrap().text().unwrap();
    }
    cluster.fail_over(replica, FailOver::TakeOver).unwrap();
    let port = cluster.node(replica).port();
    eventually("it is used", async || {
        other.probe().await.is_ok()
            && other.nodes().iter().any(|(node, is_fit)| *is_fit && node.ends_with(&port.to_string()))
    })
    .await;
    // Three heartbeats, and a lease.
    sleep(10 * BEAT).await;
    let _ = one.probe().await;
    let _ = one.probe().await;
    let (mut stale, began) = (0, Instant::now());
    invalidate(&other, Invalidation::Key(key.clone())).await;
    while began.elapsed() < Duration::from_secs(3) {
        stale += u32::from(at_hand(&one, &key));
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stale, 0, "in three seconds after the invalidation was acknowledged");
}

/// A slot that goes to a node with a registry of its zone is not held back for half a second: requests would be late.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_costs_misses_and_no_errors() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let (zone, registry, of_value) = border(&cluster);
    let key = key_at(&cluster, zone, of_value);
    let unrelated = keys_of(&cluster, 2, 1).remove(0);
    let has_memory = std::env::var("WITHOUT").is_err();
    let _one = if has_memory { Some(with_memory(&cluster).await) } else { None };
    let other = open(&cluster).await;
    sleep(Duration::from_secs(8)).await;
    invalidate(&other, Invalidation::Key(unrelated.clone())).await;
    cluster.move_slot(slot(&cluster, &key), of_value, registry).unwrap();
    let (began, mut errors) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs(2) {
        if let Err(error) = other.lookup(&key).await {
            errors.push(format!("{:?}: {error}", began.elapsed()));
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(errors.is_empty(), "{} {errors:#?}", errors.len());
}

#[derive(Debug, Default)]
struct PanicsOnce {
    shall: std::sync::atomic::AtomicBool,
    readings: std::sync::atomic::AtomicU64,
}

impl cache_core::Clock for PanicsOnce {
    fn now(&self) -> cache_core::Timestamp {
        cache_core::SystemClock.now()
    }

    fn monotonic(&self) -> cache_core::Monotonic {
        cache_core::SystemClock.monotonic()
    }

    fn boot(&self) -> cache_core::Monotonic {
        use std::sync::atomic::Ordering::SeqCst;
        self.readings.fetch_add(1, SeqCst);
        assert!(!self.shall.swap(false, SeqCst), "a bug in the application's clock");
        cache_core::SystemClock.boot()
    }
}

/// A panic in the task of one node begins the tasks of all nodes again, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_task_of_one_node_is_recovered_from() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let clock = std::sync::Arc::new(PanicsOnce::default());
    let config = config(&cluster).near(NearConfig::new(8 << 20)).clock(clock.clone());
    let cache = RedisBackend::connect(config).await.unwrap();
    serves(&cache).await;
    clock.shall.store(true, std::sync::atomic::Ordering::SeqCst);
    sleep(Duration::from_secs(3)).await;
    let near = cache.health().await.near.unwrap();
    assert_eq!(near.state, NearState::Serving, "{near:?}");
}

/// A bell of another kind costs time, and not what is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_bell_is_repaired_or_does_without() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let one = with_memory(&cluster).await;
    let tag = (0..100_000).find(|n: &u32| cluster.slot_of(&format!("{{{n}}}")).unwrap() / 256 == 0).unwrap();
    let bell = format!("app:#near:bell:{{{tag}}}");
    cluster.ask(0, &["UNLINK", &bell]).unwrap().text().unwrap();
    cluster.ask(0, &["SET", &bell, "no stream"]).unwrap().text().unwrap();
    let mut serving = 0;
    for _ in 0..30 {
        sleep(Duration::from_millis(100)).await;
        serving += u32::from(one.health().await.near.unwrap().state == NearState::Serving);
    }
    assert!(serving > 20, "{serving} of 30");
}
