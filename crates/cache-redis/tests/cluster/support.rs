//! Caches over a cluster, and keys in the slots of its nodes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{CacheBackend, CacheKey, FillOutcome, Invalidation, NearConfig, NearState, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use testkit::RedisCluster;

/// How long a test waits for an expected event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// The interval of heartbeats.
pub(crate) const BEAT: Duration = Duration::from_millis(200);

pub(crate) fn config(cluster: &RedisCluster) -> RedisConfig {
    RedisConfig::new("127.0.0.1").port(cluster.node(0).port()).heartbeat(BEAT)
}

pub(crate) async fn open(cluster: &RedisCluster) -> RedisBackend {
    RedisBackend::connect(config(cluster)).await.unwrap()
}

/// Opens a cache with values in memory, and waits until all zones serve them.
pub(crate) async fn with_memory(cluster: &RedisCluster) -> RedisBackend {
    let cache = RedisBackend::connect(config(cluster).near(NearConfig::new(8 << 20))).await.unwrap();
    serves(&cache).await;
    cache
}

pub(crate) async fn serves(cache: &RedisBackend) {
    eventually("everything is served from memory", async || {
        cache.health().await.near.is_some_and(|near| near.state == NearState::Serving)
    })
    .await;
}

pub(crate) fn at_hand(cache: &RedisBackend, key: &CacheKey) -> bool {
    cache.at_hand(key).is_some_and(|found| found.entry.is_some())
}

pub(crate) fn key(number: usize) -> CacheKey {
    CacheKey::builder("image", number).part("metadata").build().unwrap()
}

/// The slot of the group of `key`.
pub(crate) fn slot(cluster: &RedisCluster, key: &CacheKey) -> u16 {
    cluster.slot_of(&name(key)).unwrap()
}

/// The Redis key of the group of `key`.
pub(crate) fn name(key: &CacheKey) -> String {
    format!("app:{}:@", key.group())
}

/// Returns the first keys whose slots `node` holds.
pub(crate) fn keys_of(cluster: &RedisCluster, node: usize, count: usize) -> Vec<CacheKey> {
    let is_its = |key: &CacheKey| cluster.master_of_slot(slot(cluster, key)).unwrap() == node;
    (0..).map(key).filter(is_its).take(count).collect()
}

pub(crate) async fn load(cache: &RedisBackend, key: &CacheKey, text: &str) {
    let token = cache.lookup(key).await.unwrap().token;
    let filled = cache.fill(key, token, NewEntry::new(text.to_owned())).await.unwrap();
    assert_eq!(filled, FillOutcome::Stored, "{key}");
}

pub(crate) async fn held(cache: &RedisBackend, key: &CacheKey) -> Option<Bytes> {
    cache.get(key).await.unwrap().map(|entry| entry.payload)
}

pub(crate) async fn invalidate(cache: &RedisBackend, what: Invalidation) {
    let _ = cache.invalidate(&[what]).await.unwrap();
}

pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
