//! A database with a version for each row, and instances of an application over it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_facade::{
    BackendKind, Cache, CacheConfig, CacheKey, Changed, Invalidated, RedisConfig, Source,
    config::{CacheConfigBuilder, RedisConfigBuilder},
    stats::BreakerState,
};
use tempfile::TempDir;
use testkit::RedisServer;

/// How long a condition may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn redis_at(address: SocketAddr) -> RedisConfigBuilder {
    RedisConfig::at(address.ip().to_string()).port(address.port())
}

pub(crate) fn config(directory: &Path, address: SocketAddr) -> CacheConfigBuilder {
    CacheConfig::builder().directory(directory).size_mb(8).redis(redis_at(address))
}

pub(crate) async fn connect(config: CacheConfigBuilder) -> Cache {
    Cache::connect(config.build().unwrap()).await.unwrap()
}

/// An address without a server.
pub(crate) fn nowhere() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

pub(crate) fn key(id: u64) -> CacheKey {
    CacheKey::builder("image", id).part("metadata").build().unwrap()
}

/// One instance of the application: a cache in a directory of its own.
pub(crate) struct Instance {
    pub(crate) cache: Cache,
    pub(crate) directory: TempDir,
}

impl Instance {
    pub(crate) async fn new(address: SocketAddr) -> Self {
        Self::with(address, |config| config).await
    }

    /// An instance with long time-outs: it stays on Redis on a loaded machine too.
    pub(crate) async fn patient(address: SocketAddr) -> Self {
        let redis = redis_at(address).timeout(PATIENCE).connect_timeout(PATIENCE);
        Self::with(address, |config| config.redis(redis)).await
    }

    pub(crate) async fn with(
        address: SocketAddr,
        settings: impl FnOnce(CacheConfigBuilder) -> CacheConfigBuilder,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = connect(settings(config(directory.path(), address))).await;
        Self { cache, directory }
    }
}

/// A database with rows of versions.
#[derive(Debug)]
pub(crate) struct Database {
    rows: [AtomicU64; 64],
}

impl Database {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { rows: [const { AtomicU64::new(0) }; 64] })
    }

    pub(crate) fn version(&self, id: u64) -> u64 {
        self.row(id).load(Ordering::SeqCst)
    }

    fn row(&self, id: u64) -> &AtomicU64 {
        &self.rows[usize::try_from(id).unwrap() % 64]
    }

    /// Reads row `id` through `cache`.
    pub(crate) async fn read(self: &Arc<Self>, cache: &Cache, id: u64) -> (u64, Source) {
        let database = Arc::clone(self);
        let load = async move || Ok::<_, Infallible>(database.version(id));
        let loaded = cache.get_or_load(&key(id), load).details().await.unwrap();
        (loaded.value, loaded.source)
    }

    /// Changes row `id` through `cache`.
    pub(crate) async fn write(self: &Arc<Self>, cache: &Cache, id: u64) -> Invalidated {
        let database = Arc::clone(self);
        let commit = async move || {
            database.row(id).fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(())
        };
        let changed: Changed<()> = cache.change(&key(id), commit).await.unwrap();
        changed.invalidated
    }

    /// Whether row `id` is read from the cache; it is then there.
    pub(crate) async fn hits(self: &Arc<Self>, cache: &Cache, id: u64) -> bool {
        self.read(cache, id).await.1 == Source::Hit
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn is_back(cache: &Cache) {
    eventually("Redis is in use", async || {
        let health = cache.health().await;
        health.breaker == Some(BreakerState::Closed) && health.active == BackendKind::Redis
    })
    .await;
}

pub(crate) async fn is_away(cache: &Cache) {
    eventually("the fallback is in use", async || cache.backend_kind() == BackendKind::Fallback).await;
    // It is open as soon as it stores a value.
    eventually("the fallback stores", async || {
        let probe = CacheKey::builder("probe", 1).build().unwrap();
        cache.get_or_load(&probe, async || Ok::<_, Infallible>(1)).details().await.unwrap().source
            == Source::Hit
    })
    .await;
}

/// Sends a command to the server itself.
pub(crate) fn raw(server: &RedisServer, command: &[&str]) -> String {
    raw_as(server, None, command)
}

pub(crate) fn raw_as(server: &RedisServer, password: Option<&str>, command: &[&str]) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let lines = password.map(|password| format!("AUTH {password}\r\n")).unwrap_or_default();
    let quoted: Vec<_> = command.iter().map(|word| format!("\"{word}\"")).collect();
    stream.write_all(format!("{lines}{}\r\nQUIT\r\n", quoted.join(" ")).as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}
