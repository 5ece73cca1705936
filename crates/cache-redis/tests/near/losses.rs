//! The server loses the registry, the log or everything, refuses to write, or restarts.

use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheBackend, NewEntry};
use testkit::{RedisServer, Restart};

use crate::support::*;

const KEY: &str = "image:5:metadata";
const WHAT: &str = "key image:5:metadata";

/// Two instances, of which the first has a value in memory.
async fn pair(server: &RedisServer) -> (cache_redis::RedisBackend, cache_redis::RedisBackend) {
    let (one, other) = (with_memory(server.port()).await, with_memory(server.port()).await);
    past_the_beginning().await;
    load(&other, &key(KEY), "old").await;
    read(&one, &key(KEY)).await;
    remembers(&one, &key(KEY), "old").await;
    (one, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_lost_right_before_an_invalidation_is_waited_out() {
    let server = RedisServer::start().unwrap();
    let (one, other) = pair(&server).await;
    let key = key(KEY);
    let mut stale = 0;
    for round in 0..8 {
        let registry = registry(&server);
        for lost in [vec!["UNLINK", registry.as_str()], vec!["FLUSHALL"]] {
            let value = format!("old {round}");
            load(&other, &key, &value).await;
            serves(&one).await;
            read(&one, &key).await;
            let () = raw(&server, &lost);
            let took = invalidate(&other, WHAT).await;
            assert!(took < WAIT_AT_MOST, "{took:?}");
            for _ in 0..100 {
                stale += u32::from(at_hand(&one, &key).is_some());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    assert_eq!(stale > 0, is_planted(Plant::NearTrustsNewRegistry), "{stale} stale values");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_lost_costs_the_content_of_the_memory_and_nothing_else() {
    let server = RedisServer::start().unwrap();
    let (one, other) = pair(&server).await;
    let (key, neighbour) = (key(KEY), key("image:6:metadata"));
    load(&other, &neighbour, "same").await;
    read(&one, &neighbour).await;
    let log = format!("{}:log", registry(&server));
    // A log of another kind refuses the change.
    let () = raw(&server, &["UNLINK", &log]);
    let () = raw(&server, &["SET", &log, "no stream"]);
    let took = invalidate(&other, WHAT).await;
    assert!(took < WAIT_AT_MOST, "{took:?}");
    assert_eq!(at_hand(&one, &key), None);
    let () = raw(&server, &["UNLINK", &log]);
    serves(&one).await;
    past_the_beginning().await;
    load(&other, &key, "new").await;
    read(&one, &key).await;
    let took = invalidate(&other, WHAT).await;
    assert!(took < NO_WAIT, "{took:?}");
    assert_eq!(at_hand(&one, &key), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_registry_is_given_up() {
    let server = RedisServer::start().unwrap();
    let (one, other) = pair(&server).await;
    let registry = registry(&server);
    let damages: [&[&str]; 4] = [
        &["HSET", &registry, "n", "nonsense"],
        &["HDEL", &registry, "g"],
        &["SET", &registry, "no hash"],
        &["HDEL", &registry, "n"],
    ];
    for damage in damages {
        serves(&one).await;
        load(&other, &key(KEY), "old").await;
        read(&one, &key(KEY)).await;
        let () = raw(&server, damage);
        let took = invalidate(&other, WHAT).await;
        assert!(took < 3 * WAIT_AT_MOST, "{damage:?}: {took:?}");
        assert_eq!(at_hand(&one, &key(KEY)), None, "{damage:?}");
        eventually("it serves again", async || {
            invalidate(&other, WHAT).await;
            load(&other, &key(KEY), "new").await;
            read(&one, &key(KEY)).await;
            at_hand(&one, &key(KEY)).as_deref() == Some("new")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_ends_what_is_served_from_memory_and_acknowledges_invalidations() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]).unwrap();
    let (one, other) = pair(&server).await;
    let () = raw(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let took = invalidate(&other, WHAT).await;
    assert!(took < 2 * WAIT_AT_MOST, "{took:?}");
    assert_eq!(at_hand(&one, &key(KEY)), None);
    let () = raw(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    serves(&one).await;
    load(&other, &key(KEY), "new").await;
    read(&one, &key(KEY)).await;
    remembers(&one, &key(KEY), "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_from_before_a_restart_is_served() {
    let mut server = RedisServer::start_with(&["--save", "3600 1"]).unwrap();
    let (one, other) = pair(&server).await;
    let () = raw(&server, &["SAVE"]);
    server.kill().unwrap();
    server.restart(Restart::WithData).unwrap();
    let key = key(KEY);
    eventually("the other instance is back", async || {
        other.set(&key, NewEntry::new("new".to_owned())).await.is_ok()
    })
    .await;
    for _ in 0..500 {
        assert_ne!(at_hand(&one, &key).as_deref(), Some("old"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The first instance repeats its removals at the restarted server, which may remove the new value.
    eventually("it serves again", async || {
        let _ = other.set(&key, NewEntry::new("new".to_owned())).await;
        let _ = one.lookup(&key).await;
        at_hand(&one, &key).as_deref() == Some("new")
    })
    .await;
}
