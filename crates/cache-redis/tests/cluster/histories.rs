//! Interleavings that would serve removed values without one of the rules. With one incarnation for all nodes
//! (`PLANTED_BUG=one-incarnation`), or without repeated removals (`PLANTED_BUG=no-replay`), some must.

use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheBackend, CacheBackendExt, CacheKey, FillOutcome, Invalidation, NewEntry};
use cache_redis::RedisBackend;
use testkit::{FailOver, RedisCluster, Restart};
use tokio::time::sleep;

use crate::support::*;

/// After this time an instance knows what it has removed in the time that a change of nodes takes, and clears nothing.
const GROWN_UP: Duration = Duration::from_secs(8);

/// Checks that no removed value was read, or that some were where the defence against it is planted away.
fn judge(defences: &[Plant], stale: usize) {
    if defences.iter().any(|plant| is_planted(*plant)) {
        assert!(stale > 0, "without the defence, old values must be read");
    } else {
        assert_eq!(stale, 0);
    }
}

async fn is_held(cache: &RedisBackend, key: &CacheKey) -> usize {
    eventually("the key's node is used", async || cache.lookup(key).await.is_ok()).await;
    usize::from(held(cache, key).await.is_some())
}

/// 1. The value is on A. A migration to B fails half-way: B has a copy.
/// 2. A acknowledges the removal.
/// 3. The slot goes to B, with the copy, and back to A.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_failed_migration_that_comes_back_is_not_served() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let cache = open(&cluster).await;
    let key = keys_of(&cluster, 0, 1).remove(0);
    let slot = slot(&cluster, &key);
    load(&cache, &key, "old").await;
    sleep(GROWN_UP).await;
    cluster.begin_move(slot, 0, 1).unwrap();
    cluster.copy_key(&name(&key), 0, 1).unwrap();
    // By an instance that ends: it does not repeat this.
    invalidate(&open(&cluster).await, Invalidation::Group(key.to_group())).await;
    cluster.end_move(slot, 0, 1).unwrap();
    cluster.settle().unwrap();
    eventually("the new node is used", async || {
        cache.lookup(&key).await.is_ok_and(|found| !found.token.is_never())
    })
    .await;
    assert!(is_planted(Plant::OneIncarnation) || held(&cache, &key).await.is_none(), "at the new node");
    cluster.move_slot(slot, 1, 0).unwrap();
    cluster.settle().unwrap();
    let mut stale = 0;
    for cache in [&cache, &open(&cluster).await] {
        stale += is_held(cache, &key).await;
    }
    judge(&[Plant::OneIncarnation], stale);
}

/// As above, while the slot is still being moved: a read that follows `ASK` would find the copy.
#[tokio::test(flavor = "multi_thread")]
async fn while_its_slot_is_moved_a_key_is_a_miss_and_can_be_removed_at_both_nodes() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let cache = open(&cluster).await;
    let key = keys_of(&cluster, 0, 1).remove(0);
    let slot = slot(&cluster, &key);
    load(&cache, &key, "old").await;
    let before = cache.lookup(&key).await.unwrap().token;
    cluster.begin_move(slot, 0, 2).unwrap();
    assert_eq!(held(&cache, &key).await.unwrap(), "old", "it was not moved yet");
    cluster.copy_key(&name(&key), 0, 2).unwrap();
    cluster.move_keys(slot, 0, 2, 100).unwrap();
    let lookup = cache.lookup(&key).await.unwrap();
    assert!(lookup.entry.is_none() && lookup.token.is_never());
    assert_eq!(cache.fill(&key, before, NewEntry::new("late")).await.unwrap(), FillOutcome::Refused);
    cache.set(&key, NewEntry::new("set")).await.unwrap();
    assert_eq!(held(&cache, &key).await, None, "it is not decided where it would be stored");
    for what in [
        Invalidation::Key(key.clone()),
        Invalidation::Group(key.to_group()),
        Invalidation::Pattern(format!("{}:*", key.group()).parse().unwrap()),
        Invalidation::Everything,
    ] {
        // As a copy that comes later would be.
        invalidate(&cache, what).await;
    }
    let mut target = cluster.node(2).connect().unwrap();
    target.ask(&["ASKING"]).unwrap();
    let copies = target.ask(&["EXISTS", &name(&key)]).unwrap();
    assert_eq!(copies.text().unwrap(), "0", "the copy is removed, too");
    cluster.end_move(slot, 0, 2).unwrap();
    cluster.settle().unwrap();
    let lookup = eventually_lookup(&cache, &key).await;
    assert!(lookup.entry.is_none());
    assert_eq!(cache.fill(&key, lookup.token, NewEntry::new("new")).await.unwrap(), FillOutcome::Stored);
    assert_eq!(held(&cache, &key).await.unwrap(), "new");
}

async fn eventually_lookup(cache: &RedisBackend, key: &CacheKey) -> cache_core::Lookup {
    let mut found = None;
    eventually("it can be looked up with a token", async || {
        found = cache.lookup(key).await.ok().filter(|lookup| !lookup.token.is_never());
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// 1. A clear scans B. 2. A key moves from A to B. 3. The clear scans A.
#[tokio::test(flavor = "multi_thread")]
async fn a_clear_finds_keys_that_move_meanwhile() {
    let cluster = RedisCluster::start_with(3, 0, &[]).unwrap();
    let (cache, writer) = (open(&cluster).await, open(&cluster).await);
    let keys = keys_of(&cluster, 0, 40);
    let (mut round, mut cleared, mut from) = (0, 0, 0);
    // The slower the machine, the fewer clears are acknowledged while slots move.
    while round < 20 || cleared < 5 {
        assert!(round < 200, "{cleared} of {round} clears were acknowledged");
        let to = (from + 1) % 3;
        for key in &keys {
            let token = eventually_lookup(&cache, key).await.token;
            let filled = cache.fill(key, token, NewEntry::new("a value")).await.unwrap();
            assert_eq!(filled, FillOutcome::Stored);
        }
        let clear = async {
            sleep(Duration::from_millis(7 * (round % 20))).await;
            writer.invalidate(&[Invalidation::Everything]).await
        };
        let is_cleared = std::thread::scope(|scope| {
            let moving = scope.spawn(|| {
                for key in &keys {
                    cluster.move_slot(slot(&cluster, key), from, to).unwrap();
                }
            });
            let clear = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(clear));
            moving.join().unwrap();
            clear.is_ok()
        });
        cluster.settle().unwrap();
        // A value that moved is not served in any case: what counts is that nothing is left of it.
        let is_left =
            |key: &&CacheKey| cluster.node(to).command(&format!("EXISTS {}", name(key))).unwrap() != ":0";
        let left = keys.iter().filter(is_left).count();
        assert!(!is_cleared || left == 0, "{left} of {} keys in round {round}", keys.len());
        cleared += usize::from(is_cleared);
        from = to;
        round += 1;
    }
}

/// 1. The value is on A and its replica B. 2. B stops. 3. A acknowledges the removal. 4. A is killed, B goes on and is
/// promoted.
#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_replica_that_is_promoted_serves_nothing_that_was_removed() {
    let mut cluster = RedisCluster::start().unwrap();
    let cache = open(&cluster).await;
    let replica = cluster.replica_of(0).unwrap().unwrap();
    let keys = keys_of(&cluster, 0, 20);
    for key in &keys {
        load(&cache, key, "old").await;
    }
    sleep(GROWN_UP).await;
    assert!(cluster.node(0).command("WAIT 1 1000").unwrap().starts_with(':'));
    cluster.node(replica).pause().unwrap();
    // By an instance that ends: it does not repeat this.
    let other = open(&cluster).await;
    for key in &keys {
        let _ = other.delete(key).await.unwrap();
    }
    drop(other);
    cluster.nodes()[0].kill().unwrap();
    cluster.node(replica).resume().unwrap();
    cluster.wait_for_master(replica).unwrap();
    cluster.settle().unwrap();
    let mut stale = 0;
    for key in &keys {
        stale += is_held(&cache, key).await;
    }
    assert_eq!(stale, 0);
}

/// The epoch and the id of a node that restarts in place are as before; only its `run_id` is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_in_place_serves_nothing_that_was_removed() {
    let mut cluster = RedisCluster::start_with(3, 0, &["--cluster-node-timeout", "20000"]).unwrap();
    let cache = open(&cluster).await;
    let key = keys_of(&cluster, 0, 1).remove(0);
    load(&cache, &key, "old").await;
    assert_eq!(cluster.node(0).command("SAVE").unwrap(), "+OK");
    let _ = cache.delete(&key).await.unwrap();
    cluster.nodes()[0].restart(Restart::WithData).unwrap();
    let mut stale = 0;
    for cache in [&cache, &open_when_possible(&cluster).await] {
        stale += is_held(cache, &key).await;
    }
    judge(&[Plant::OneIncarnation], stale);
}

async fn open_when_possible(cluster: &RedisCluster) -> RedisBackend {
    let mut opened = None;
    eventually("a cache can be opened", async || {
        opened = RedisBackend::connect(config(cluster)).await.ok();
        opened.is_some()
    })
    .await;
    opened.unwrap()
}

/// 1. B takes over from A, which is cut off from the others and still answers. 2. One instance loads from B what another, which has not heard, removes at
/// A.
#[tokio::test(flavor = "multi_thread")]
async fn no_removal_that_a_deposed_master_acknowledges_is_lost() {
    let cluster = RedisCluster::start_with(3, 1, &["--cluster-require-full-coverage", "no"]).unwrap();
    let (fast, slow) =
        (open(&cluster).await, RedisBackend::connect(config(&cluster).heartbeat(10 * BEAT)).await.unwrap());
    let replica = cluster.replica_of(0).unwrap().unwrap();
    let keys = keys_of(&cluster, 0, 60);
    sleep(GROWN_UP).await;
    for other in 1..6 {
        cluster.ask(0, &["CLUSTER", "FORGET", &cluster.id(other).unwrap()]).unwrap().text().unwrap();
    }
    cluster.fail_over(replica, FailOver::TakeOver).unwrap();
    let mut acknowledged = 0;
    for key in &keys {
        if let Ok(found) = fast.lookup(key).await {
            let _ = fast.fill(key, found.token, NewEntry::new("old")).await;
        }
        acknowledged += usize::from(slow.delete(key).await.is_ok());
        sleep(Duration::from_millis(10)).await;
    }
    assert!(acknowledged > keys.len() / 2, "{acknowledged} of {}", keys.len());
    assert!(cluster.node(0).command("ROLE").is_ok(), "it answers");
    eventually("both use the new master", async || fast.probe().await.is_ok() && slow.probe().await.is_ok())
        .await;
    let mut stale = 0;
    for key in &keys {
        for cache in [&fast, &slow] {
            stale += is_held(cache, key).await;
        }
    }
    judge(&[Plant::NoReplay], stale);
}
