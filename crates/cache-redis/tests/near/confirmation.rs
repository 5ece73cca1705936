//! Servers that are full again and again, slow, or not confirmed.

use std::time::Duration;

use cache_core::CacheBackend;
use cache_redis::RedisBackend;
use testkit::RedisServer;

use crate::support::*;

const KEY: &str = "image:5:metadata";
const WHAT: &str = "key image:5:metadata";

/// A give-up is remembered although a registry was made and given up by another instance since.
#[tokio::test(flavor = "multi_thread")]
async fn a_give_up_of_another_instance_is_waited_out() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]).unwrap();
    let one = with_memory(server.port()).await;
    let slow = config(server.port()).heartbeat(Duration::from_secs(60));
    let p = RedisBackend::connect(slow.clone()).await.unwrap();
    let q = RedisBackend::connect(slow).await.unwrap();
    p.probe().await.unwrap();
    q.probe().await.unwrap();
    past_the_beginning().await;
    let full = |full: bool| {
        let () = raw(&server, &["CONFIG", "SET", "maxmemory", if full { "1" } else { "0" }]);
    };
    full(true);
    invalidate(&p, WHAT).await;
    let mut stale = 0;
    for _ in 0..10 {
        full(false);
        serves(&one).await;
        eventually("it is stored", async || {
            let token = one.lookup(&key(KEY)).await.unwrap().token;
            let _ = one.fill(&key(KEY), token, cache_core::NewEntry::new("old".to_owned())).await;
            read(&one, &key(KEY)).await;
            at_hand(&one, &key(KEY)).is_some()
        })
        .await;
        full(true);
        let other = invalidate(&q, "key image:9:metadata");
        let mine = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            invalidate(&p, WHAT).await;
            at_hand(&one, &key(KEY)).is_some()
        };
        let (_, is_stale) = futures_util::future::join(other, mine).await;
        stale += u32::from(is_stale);
    }
    assert_eq!(stale, 0, "stale values");
}

/// The announcement of a clear whose scan takes longer than one operation, at a server that does not know its script.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_clear_is_announced_by_a_script_that_the_server_forgot() {
    let server = RedisServer::start().unwrap();
    let _one = with_memory(server.port()).await;
    let other = config(server.port()).timeout(Duration::from_millis(100));
    let other = RedisBackend::connect(other).await.unwrap();
    other.probe().await.unwrap();
    past_the_beginning().await;
    let fill = "for i = 1, 300000 do redis.call('SET', 'x' .. i, '') end";
    let () = raw(&server, &["EVAL", fill, "0"]);
    past_the_beginning().await;
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        let () = raw(&server, &["SCRIPT", "FLUSH"]);
        let outcome = other.invalidate(&["everything".parse().unwrap()]).await;
        outcomes.push(outcome.is_ok());
    }
    assert_eq!(outcomes, [true; 3]);
}

/// An instance that cannot confirm its server, over new connections, for three heartbeats reads neither from it nor from memory.
#[tokio::test(flavor = "multi_thread")]
async fn memory_ends_with_the_use_of_a_server_that_is_not_confirmed() {
    let (old, new) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let proxy = testkit::TcpProxy::start(old.address()).await.unwrap();
    let config = config(proxy.port()).connect_timeout(Duration::from_millis(300));
    let one = RedisBackend::connect(config.near(cache_core::NearConfig::new(8 << 20))).await.unwrap();
    serves(&one).await;
    past_the_beginning().await;
    load(&one, &key(KEY), "old").await;
    read(&one, &key(KEY)).await;
    assert!(at_hand(&one, &key(KEY)).is_some());
    // The address leads to a server that cannot be reached from here; the old one still answers over old connections.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    proxy.lead_to(closed);
    let other = without_memory(new.port()).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    invalidate(&other, WHAT).await;
    let lookup = one.lookup(&key(KEY)).await;
    assert!(lookup.is_err(), "without memory the old server is not read any more");
    assert_eq!(at_hand(&one, &key(KEY)), None);
}
