//! A restart or a failover may bring back removed values, which are never read. With one incarnation for all servers
//! (`PLANTED_BUG=one-incarnation`) they must be read, and without a replay (`PLANTED_BUG=no-replay`) those of history 34.

use std::path::Path;
use std::time::Duration;

use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheBackend, CacheKey, Invalidation, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use redis::FromRedisValue;
use testkit::{Mode, RedisServer, Restart, TcpProxy};

const KEYS: usize = 20;

async fn open(port: u16) -> RedisBackend {
    let config = RedisConfig::new("127.0.0.1").port(port).timeout(Duration::from_secs(5));
    RedisBackend::connect(config.heartbeat(Duration::from_millis(200))).await.expect("it answers")
}

fn keys() -> Vec<CacheKey> {
    (0..KEYS).map(|n| CacheKey::builder("image", n).part("metadata").build().expect("it is short")).collect()
}

async fn load(cache: &RedisBackend) {
    for key in keys() {
        let token = cache.lookup(&key).await.expect("it answers").token;
        let _ = cache.fill(&key, token, NewEntry::new("old")).await.expect("it answers");
    }
}

async fn invalidate(cache: &RedisBackend) {
    let what: Vec<_> = keys().iter().map(|key| Invalidation::Group(key.to_group())).collect();
    let _ = cache.invalidate(&what).await.expect("it acknowledges");
}

/// Counts the old values that `cache` and a new instance serve.
async fn stale(cache: &RedisBackend, port: u16) -> usize {
    let mut seen = 0;
    for reader in [cache, &open(port).await] {
        for key in keys() {
            seen += usize::from(reader.get(&key).await.expect("it answers").is_some());
        }
    }
    seen
}

fn judge(stale: usize) {
    judge_with(&[Plant::OneIncarnation], stale);
}

fn judge_with(plants: &[Plant], stale: usize) {
    if plants.iter().any(|plant| is_planted(*plant)) {
        assert!(stale > 0, "without the defence, old values must be read");
    } else {
        assert_eq!(stale, 0);
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            std::fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

fn raw(server: &RedisServer, words: &[&str]) {
    ask::<redis::Value>(server, words);
}

fn ask<T: FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let client = redis::Client::open(server.url()).expect("the address is good");
    let mut connection = client.get_connection().expect("the server answers");
    let (name, arguments) = words.split_first().expect("a command has a name");
    redis::cmd(name).arg(arguments).query(&mut connection).expect("the command is good")
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes `replica` a replica of `master`, which gets another replication id if it is its first.
async fn follow(replica: &RedisServer, master: &RedisServer) {
    raw(replica, &["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    until("the replica follows", async || {
        ask::<String>(replica, &["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
}

/// Waits until `replica` has all values.
async fn has_all(replica: &RedisServer) {
    until("the replica has everything", async || ask::<u64>(replica, &["DBSIZE"]) >= KEYS as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_back_from_a_snapshot() {
    let mut server = RedisServer::start().unwrap();
    let cache = open(server.port()).await;
    load(&cache).await;
    raw(&server, &["SAVE"]);
    invalidate(&cache).await;
    server.restart(Restart::WithData).unwrap();
    judge(stale(&cache, server.port()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_back_from_an_append_only_file_that_lost_its_end() {
    let mut server = RedisServer::start_with(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "no",
        "--aof-use-rdb-preamble",
        "no",
    ])
    .unwrap();
    let cache = open(server.port()).await;
    load(&cache).await;
    // Appends from here on are lost: the current file is restored below.
    let kept = tempfile::tempdir().unwrap();
    copy(&server.data(), kept.path()).unwrap();
    invalidate(&cache).await;
    server.kill().unwrap();
    std::fs::remove_dir_all(server.data()).unwrap();
    copy(kept.path(), &server.data()).unwrap();
    server.restart(Restart::WithData).unwrap();
    judge(stale(&cache, server.port()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_back_with_a_replica_that_missed_the_removal() {
    let (mut first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let mut proxy = TcpProxy::start(first.address()).await.unwrap();
    follow(&second, &first).await;
    let cache = open(proxy.port()).await;
    load(&cache).await;
    has_all(&second).await;
    raw(&second, &["REPLICAOF", "127.0.0.1", "1"]);
    invalidate(&cache).await;
    first.kill().unwrap();
    raw(&second, &["REPLICAOF", "NO", "ONE"]);
    proxy.lead_to(second.address());
    proxy.set(Mode::Reset).await;
    proxy.set(Mode::Pass).await;
    judge(stale(&cache, proxy.port()).await);
}

/// History 34. Nothing else of the successor is removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_a_deposed_master_acknowledged_is_repeated_at_its_successor() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let mut proxy = TcpProxy::start(first.address()).await.unwrap();
    follow(&second, &first).await;
    let cache = open(proxy.port()).await;
    load(&cache).await;
    has_all(&second).await;
    // The successor has followed some heartbeats: it cannot have been promoted before them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    raw(&second, &["REPLICAOF", "NO", "ONE"]);
    let other = open(second.port()).await;
    load(&other).await;
    let kept = CacheKey::parse("image:kept:metadata").unwrap();
    let token = other.lookup(&kept).await.unwrap().token;
    let _ = other.fill(&kept, token, NewEntry::new("kept")).await.unwrap();
    // The first server is still a master.
    invalidate(&cache).await;
    proxy.lead_to(second.address());
    proxy.set(Mode::Reset).await;
    proxy.set(Mode::Pass).await;
    until("the successor is in use", async || cache.get(&kept).await.is_ok()).await;
    let is_planted = is_planted(Plant::OneIncarnation) || is_planted(Plant::NoReplay);
    judge_with(&[Plant::OneIncarnation, Plant::NoReplay], stale(&cache, second.port()).await);
    assert!(is_planted || other.get(&kept).await.unwrap().is_some(), "only what was removed is removed");
}
