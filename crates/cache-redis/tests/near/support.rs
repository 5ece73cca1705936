//! Instances with memory at one server.

use std::time::{Duration, Instant};

use cache_core::{
    CacheBackend, CacheKey, FillOutcome, Invalidated, Invalidation, NearConfig, NearState, NewEntry,
};
use cache_redis::{RedisBackend, RedisConfig};
use redis::FromRedisValue;
use testkit::RedisServer;

/// How long an invalidation waits for a session that is silent.
pub(crate) const WAIT: Duration = Duration::from_millis(500);
/// More than that, on a busy machine.
pub(crate) const WAIT_AT_MOST: Duration = Duration::from_millis(1500);
/// Less than any wait for a session: what an invalidation takes that waits for acknowledgements only.
pub(crate) const NO_WAIT: Duration = Duration::from_millis(350);

pub(crate) fn key(text: &str) -> CacheKey {
    CacheKey::parse(text).unwrap()
}

pub(crate) fn config(port: u16) -> RedisConfig {
    RedisConfig::new("127.0.0.1")
        .port(port)
        .timeout(Duration::from_secs(5))
        .connect_timeout(Duration::from_secs(5))
        .heartbeat(Duration::from_millis(200))
}

/// An instance that keeps values in memory, once it serves them.
pub(crate) async fn with_memory(port: u16) -> RedisBackend {
    let backend = RedisBackend::connect(config(port).near(NearConfig::new(8 << 20))).await.unwrap();
    serves(&backend).await;
    backend
}

/// An instance that keeps nothing in memory.
pub(crate) async fn without_memory(port: u16) -> RedisBackend {
    RedisBackend::connect(config(port)).await.unwrap()
}

pub(crate) async fn serves(backend: &RedisBackend) {
    eventually("values are served from memory", async || {
        backend.health().await.near.is_some_and(|near| near.state == NearState::Serving)
    })
    .await;
}

pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(10), "it did not happen that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn raw<T: FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let (name, arguments) = words.split_first().unwrap();
    redis::cmd(name).arg(arguments).query(&mut connection).unwrap()
}

/// The key of the registry.
pub(crate) fn registry(server: &RedisServer) -> String {
    let keys: Vec<String> = raw(server, &["KEYS", "app:#near:*"]);
    keys.into_iter().find(|key| !key.ends_with(":log")).unwrap()
}

/// Stores `value` as a load would.
pub(crate) async fn load(backend: &RedisBackend, key: &CacheKey, value: &str) {
    let token = backend.lookup(key).await.unwrap().token;
    let entry = NewEntry::new(value.to_owned());
    assert_eq!(backend.fill(key, token, entry).await.unwrap(), FillOutcome::Stored);
}

/// Reads `key` from Redis, so that it is in memory then.
pub(crate) async fn read(backend: &RedisBackend, key: &CacheKey) -> Option<String> {
    let entry = backend.lookup(key).await.unwrap().entry?;
    Some(String::from_utf8(entry.payload.to_vec()).unwrap())
}

/// What memory has.
pub(crate) fn at_hand(backend: &RedisBackend, key: &CacheKey) -> Option<String> {
    let entry = backend.at_hand(key)?.entry.unwrap();
    Some(String::from_utf8(entry.payload.to_vec()).unwrap())
}

/// Reads `key` until `value` is served from memory: on a busy machine a lease may end in between.
pub(crate) async fn remembers(backend: &RedisBackend, key: &CacheKey, value: &str) {
    eventually("it is served from memory", async || {
        at_hand(backend, key).as_deref() == Some(value)
            || read(backend, key).await.as_deref() == Some(value) && at_hand(backend, key).is_some()
    })
    .await;
}

/// Invalidates `what`, which must be acknowledged. Returns how long it took.
pub(crate) async fn invalidate(backend: &RedisBackend, what: &str) -> Duration {
    let started = Instant::now();
    let what: Invalidation = what.parse().unwrap();
    let outcome = backend.invalidate(&[what]).await.unwrap();
    assert!(matches!(outcome, Invalidated::Applied { .. }), "{outcome:?}");
    started.elapsed()
}

/// Lets the first half second pass, in which an instance relies on no registry.
pub(crate) async fn past_the_beginning() {
    tokio::time::sleep(WAIT + Duration::from_millis(300)).await;
}
