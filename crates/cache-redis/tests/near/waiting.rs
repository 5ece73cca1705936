//! What an invalidation waits for, and for how long.

use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheBackend, NearConfig};
use cache_redis::RedisBackend;
use futures_util::future::join_all;
use testkit::{Mode, RedisServer, TcpProxy};

use crate::support::*;

const KEY: &str = "image:5:metadata";
const WHAT: &str = "key image:5:metadata";

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_alone_waits_for_nobody_but_in_its_first_half_second() {
    let server = RedisServer::start().unwrap();
    let one = with_memory(server.port()).await;
    past_the_beginning().await;
    let key = key(KEY);
    for _ in 0..20 {
        load(&one, &key, "value").await;
        read(&one, &key).await;
        let took = invalidate(&one, WHAT).await;
        assert!(took < NO_WAIT, "{took:?}");
        assert_eq!(at_hand(&one, &key), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_anywhere_no_invalidation_waits() {
    let server = RedisServer::start().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let one = without_memory(server.port()).await;
    let took = invalidate(&one, WHAT).await;
    assert!(took < NO_WAIT, "in its first half second: {took:?}");
    let scripts: String = raw(&server, &["INFO", "commandstats"]);
    assert!(!scripts.contains("cmdstat_xadd"), "{scripts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_just_started_or_has_evicted_is_not_relied_on_at_once() {
    let server = RedisServer::start().unwrap();
    let one = without_memory(server.port()).await;
    let took = invalidate(&one, WHAT).await;
    assert!(took < WAIT_AT_MOST, "{took:?}");
    let took = took + invalidate(&one, WHAT).await;
    assert!(took > Duration::from_millis(300), "the first half second passes: {took:?}");
    assert!(invalidate(&one, WHAT).await < NO_WAIT, "then nothing waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_crashed_is_waited_for_once() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (with_memory(server.port()).await, with_memory(server.port()).await);
    past_the_beginning().await;
    drop(one);
    let took = invalidate(&other, WHAT).await;
    assert!(took > Duration::from_millis(100) && took < WAIT_AT_MOST, "{took:?}");
    for _ in 0..3 {
        let took = invalidate(&other, WHAT).await;
        assert!(took < NO_WAIT, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_closed_is_not_waited_for() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (with_memory(server.port()).await, with_memory(server.port()).await);
    let key = key(KEY);
    load(&one, &key, "value").await;
    read(&one, &key).await;
    past_the_beginning().await;
    one.close().await.unwrap();
    assert_eq!(at_hand(&one, &key), None);
    let took = invalidate(&other, WHAT).await;
    assert!(took < NO_WAIT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_crashed_instances_are_removed_before_an_invalidation_meets_them() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (with_memory(server.port()).await, with_memory(server.port()).await);
    past_the_beginning().await;
    let registry = registry(&server);
    let fields = || raw::<u64>(&server, &["HLEN", &registry]);
    assert_eq!(fields(), 5);
    drop(one);
    eventually("the session is removed", async || fields() == 4).await;
    let took = invalidate(&other, WHAT).await;
    assert!(took < NO_WAIT, "{took:?}");
    assert_eq!(other.stats().await.unwrap().near.unwrap().removed_sessions, 1);
}

/// An instance whose replies are held back, and another that changes what the first one has in memory.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_hears_nothing_serves_nothing_when_the_invalidation_returns() {
    let server = RedisServer::start().unwrap();
    let mut proxy = TcpProxy::start(server.address()).await.unwrap();
    let one = with_memory(proxy.port()).await;
    let other = without_memory(server.port()).await;
    let key = key(KEY);
    past_the_beginning().await;
    for mode in [Mode::BlackHole, Mode::SwallowReplies, Mode::Reset, Mode::Delay(Duration::from_millis(450))]
    {
        load(&other, &key, "old").await;
        read(&one, &key).await;
        remembers(&one, &key, "old").await;
        proxy.set(mode.clone()).await;
        let took = invalidate(&other, WHAT).await;
        assert!(took < WAIT_AT_MOST, "{mode:?}: {took:?}");
        for _ in 0..200 {
            assert_eq!(at_hand(&one, &key), None, "{mode:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.set(Mode::Pass).await;
        eventually("it serves again", async || {
            load(&other, &key, "new").await;
            let _ = one.lookup(&key).await;
            let found = at_hand(&one, &key);
            assert_ne!(found.as_deref(), Some("old"), "{mode:?}");
            invalidate(&other, WHAT).await;
            found.is_some()
        })
        .await;
        past_the_beginning().await;
    }
}

/// With replies that take longer than a lease lasts, a lease that began when the reply came would outlast the wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_begins_when_its_renewal_is_sent() {
    let server = RedisServer::start().unwrap();
    let mut proxy = TcpProxy::start(server.address()).await.unwrap();
    let mut instances = Vec::new();
    for _ in 0..8 {
        // At different points of their rounds.
        tokio::time::sleep(Duration::from_millis(70)).await;
        let config = config(proxy.port()).near(NearConfig::new(8 << 20));
        instances.push(RedisBackend::connect(config).await.unwrap());
    }
    let other = without_memory(server.port()).await;
    let key = key(KEY);
    past_the_beginning().await;
    proxy.set(Mode::DelayReplies(Duration::from_millis(400))).await;
    let mut stale = 0;
    for round in 0..6 {
        let value = format!("old {round}");
        load(&other, &key, &value).await;
        for read in join_all(instances.iter().map(|one| read(one, &key))).await {
            assert_eq!(read.as_ref(), Some(&value));
        }
        invalidate(&other, WHAT).await;
        for _ in 0..200 {
            stale += instances.iter().filter(|one| at_hand(one, &key).is_some()).count();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(stale > 0, is_planted(Plant::NearLeaseFromReply), "{stale} stale values");
}
