//! A server, a proxy in front of it, and helpers of the tests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{CacheBackend, CacheKey, FillOutcome, FillToken, Invalidation, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use redis::FromRedisValue;
use testkit::{RedisServer, TcpProxy};

/// How long a test waits for an expected event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A server with two caches, as of two instances: one through a proxy, one directly.
pub(crate) struct Site {
    pub(crate) server: RedisServer,
    pub(crate) proxy: TcpProxy,
    pub(crate) through: RedisBackend,
    pub(crate) beside: RedisBackend,
}

impl Site {
    pub(crate) async fn new(timeout: Duration) -> Self {
        Self::with_arguments(timeout, &[]).await
    }

    pub(crate) async fn with_arguments(timeout: Duration, arguments: &[&str]) -> Self {
        let server = RedisServer::start_with(arguments).expect("a redis-server can be started");
        let proxy = TcpProxy::start(server.address()).await.expect("a port can be had");
        let through =
            RedisBackend::connect(config(proxy.address()).timeout(timeout).connect_timeout(2 * timeout))
                .await
                .expect("it answers");
        let beside = RedisBackend::connect(config(server.address())).await.expect("it answers");
        Self { server, proxy, through, beside }
    }

    /// Sends a command to the server, outside of the cache.
    pub(crate) fn raw<T: FromRedisValue>(&self, words: &[&str]) -> T {
        raw(&self.server, words)
    }

    /// How many times the server has executed a command.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        calls(&self.server, command)
    }
}

pub(crate) fn calls(server: &RedisServer, command: &str) -> u64 {
    let text: String = raw(server, &["INFO", "commandstats"]);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
}

/// Settings with long timeouts, for busy machines.
pub(crate) fn config(address: SocketAddr) -> RedisConfig {
    RedisConfig::new(address.ip().to_string())
        .port(address.port())
        .timeout(Duration::from_secs(5))
        .connect_timeout(Duration::from_secs(5))
        .heartbeat(Duration::from_millis(200))
}

pub(crate) fn raw<T: FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let client = redis::Client::open(server.url()).expect("the address is good");
    let mut connection = client.get_connection().expect("the server answers");
    let (name, arguments) = words.split_first().expect("a command has a name");
    redis::cmd(name).arg(arguments).query(&mut connection).expect("the command is good")
}

pub(crate) fn key(text: &str) -> CacheKey {
    CacheKey::parse(text).expect("the key is good")
}

pub(crate) fn small(text: &str) -> NewEntry {
    NewEntry::new(text.to_owned())
}

/// A value that is too large to pass through scripts.
pub(crate) fn large(text: &str) -> NewEntry {
    NewEntry::new(text.repeat(20_000 / text.len()))
}

pub(crate) async fn token(cache: &RedisBackend, key: &CacheKey) -> FillToken {
    let lookup = cache.lookup(key).await.expect("the server answers");
    assert!(!lookup.token.is_never());
    lookup.token
}

pub(crate) async fn load(cache: &RedisBackend, key: &CacheKey, entry: NewEntry) {
    let token = token(cache, key).await;
    assert_eq!(cache.fill(key, token, entry).await.expect("the server answers"), FillOutcome::Stored);
}

pub(crate) async fn held(cache: &RedisBackend, key: &CacheKey) -> Option<Bytes> {
    cache.get(key).await.expect("the server answers").map(|entry| entry.payload)
}

pub(crate) async fn invalidate(cache: &RedisBackend, key: &CacheKey) {
    let what = [Invalidation::Group(key.to_group())];
    let _ = cache.invalidate(&what).await.expect("the server acknowledges");
}

/// Waits until `is_so`.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
