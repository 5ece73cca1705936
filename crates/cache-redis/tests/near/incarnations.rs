//! Instances that see one server in two incarnations, and servers that take over.

use std::time::{Duration, Instant};

use cache_core::{CacheBackend, NearConfig, NewEntry};
use cache_redis::RedisBackend;
use testkit::{Mode, RedisServer, TcpProxy};

use crate::support::*;

const KEY: &str = "image:5:metadata";
const WHAT: &str = "key image:5:metadata";

fn near() -> NearConfig {
    NearConfig::new(8 << 20)
}

fn replication_id(server: &RedisServer) -> String {
    let text: String = raw(server, &["INFO", "replication"]);
    text.lines().find_map(|line| line.strip_prefix("master_replid:")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_announced_in_a_newer_incarnation_is_heard_of_in_the_older_one() {
    // Redis before 7 always has the command.
    let server = RedisServer::start_with(&["--enable-debug-command", "yes"]);
    let server = server.or_else(|_| RedisServer::start()).unwrap();
    let slow = config(server.port()).heartbeat(Duration::from_secs(3)).near(near());
    let one = RedisBackend::connect(slow).await.unwrap();
    serves(&one).await;
    let other = with_memory(server.port()).await;
    past_the_beginning().await;
    load(&one, &key(KEY), "old").await;
    read(&one, &key(KEY)).await;
    let () = raw(&server, &["DEBUG", "CHANGE-REPL-ID"]);
    other.probe().await.unwrap();
    invalidate(&other, WHAT).await;
    let began = Instant::now();
    let mut stale = 0;
    while began.elapsed() < Duration::from_secs(2) {
        stale += u32::from(at_hand(&one, &key(KEY)).is_some());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stale, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_announced_in_an_incarnation_that_others_have_left_is_heard_of() {
    let server =
        RedisServer::start_with(&["--repl-backlog-ttl", "1", "--repl-diskless-sync-delay", "0"]).unwrap();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &server.port().to_string()]).unwrap();
    let mut one = None;
    eventually("the replica follows", async || {
        let text: String = raw(&server, &["INFO", "replication"]);
        text.contains("state=online")
    })
    .await;
    let other = RedisBackend::connect(config(server.port()).heartbeat(Duration::from_secs(6))).await.unwrap();
    let one = one.get_or_insert(with_memory(server.port()).await);
    past_the_beginning().await;
    invalidate(&other, WHAT).await;
    let before = replication_id(&server);
    drop(replica);
    eventually("the id changes", async || replication_id(&server) != before).await;
    one.probe().await.unwrap();
    serves(one).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    eventually("it is at hand", async || {
        let token = one.lookup(&key(KEY)).await.unwrap().token;
        let _ = one.fill(&key(KEY), token, NewEntry::new("old")).await;
        read(one, &key(KEY)).await;
        at_hand(one, &key(KEY)).is_some()
    })
    .await;
    invalidate(&other, WHAT).await;
    let first = at_hand(one, &key(KEY));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = at_hand(one, &key(KEY));
    assert_eq!((first, later), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_that_are_repeated_at_another_server_end_what_others_have_read_there() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let one = with_memory(second.port()).await;
    let mut proxy = TcpProxy::start(first.address()).await.unwrap();
    let other = RedisBackend::connect(config(proxy.port()).heartbeat(Duration::from_secs(60))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    load(&one, &key(KEY), "old").await;
    read(&one, &key(KEY)).await;
    // The window of a failover, as without memory: this is acknowledged by the server that was replaced.
    invalidate(&other, WHAT).await;
    proxy.lead_to(second.address());
    proxy.set(Mode::Reset).await;
    proxy.set(Mode::Pass).await;
    eventually("the other instance is at the second server", async || other.probe().await.is_ok()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(at_hand(&one, &key(KEY)), None, "served 2 s after the end of the window");
}
