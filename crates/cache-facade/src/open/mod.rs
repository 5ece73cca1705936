//! Opens the store that a configuration asks for, and decides what in its directory may still be read.
//!
//! Apart from `lib.rs` the only file of this crate that knows which backends a build has.

#[cfg(feature = "disk")]
mod disk;
#[cfg(all(feature = "disk", feature = "redis"))]
mod fallback;
#[cfg(feature = "redis")]
mod last_server;
#[cfg(feature = "redis")]
mod redis;
mod registry;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, Error, ErrorKind, Health, HealthStatus, JournalKind,
    NullBackend, Result,
};
use futures_util::future::BoxFuture;

use crate::config::CacheConfig;
use crate::decoded::DecodedValues;
use crate::durability::directory::{HeldDirectory, LOCK};
use crate::durability::journal::Journal;
use crate::durability::last_run::{LastRun, UsedStore};
use crate::durability::lock::Sharing;
use crate::durability::{files, instance};

#[cfg(feature = "redis")]
pub(crate) use redis::diagnose_redis;

const NO_REDIS: &str =
    "REDIS_ENABLED is true, but this build of cache-facade has no Redis; build it with the feature `redis`";

const NO_TLS: &str = "the connection to Redis is to be encrypted, but this build of cache-facade has no TLS; build it with the feature \
                      `tls`, or set REDIS_TLS=false for a server that is reached without encryption";

/// The checks of the way to Redis, in a build without it.
#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the signature of the builds with Redis")]
pub(crate) async fn diagnose_redis(_config: &CacheConfig) -> Vec<(&'static str, cache_core::Diagnosis)> {
    vec![("build", cache_core::Diagnosis::refused(NO_REDIS, "set REDIS_ENABLED=false"))]
}

/// An open store with its journal.
///
/// All caches of one process over one directory share one of these. The directory stays locked until it is closed or dropped.
#[derive(Debug)]
pub(crate) struct OpenStore {
    /// The store.
    pub(crate) backend: Arc<dyn CacheBackend>,
    /// The store of counters and claims, if there is one.
    pub(crate) atomic: Option<Arc<dyn AtomicBackend>>,
    /// The journal of changes.
    pub(crate) journal: Arc<Journal>,
    /// Decoded values, whose limit is that of all caches over this store.
    pub(crate) decoded: Arc<DecodedValues>,
    /// Why the store that the configuration asks for is not in use.
    cause: Option<String>,
    config: CacheConfig,
    /// Whether other caches may join it; not after it was closed.
    is_open: AtomicBool,
}

/// Opens the store that `config` asks for, or joins the one that this process has open in the same directory.
///
/// A store that cannot be used makes a cache that stores nothing, with a warning and a cause in
/// [`health`](OpenStore::health): a broken disk must not keep the application from starting. It is an error only where
/// continuing could serve stale values, or where the configuration cannot be followed:
///
/// - the directory is locked by another process, which does not receive this one's invalidations;
/// - it holds a cache or a record of the last run, and cannot be written: the next run would trust a cache that missed changes;
/// - it is a link, a file or another user's: that user would decide what is read;
/// - the settings contradict each other or this build.
///
/// Blocks for a few writes to disk. Logs which backend is used.
///
/// # Errors
/// `Locked` and `Configuration` as above, after 45 seconds and at once; `Io` for the second case.
///
/// # Cancellation
/// Nothing stays open.
pub(crate) fn open(config: &CacheConfig) -> BoxFuture<'_, Result<Arc<OpenStore>>> {
    // Boxed here: each crate that awaits it would compile the futures within anew.
    Box::pin(async move {
        for warning in config.warnings() {
            cache_core::log::warn!("{warning}");
        }
        check_features(config)?;
        let path = absolute(config)?;
        let store = match registry::open(config, &path).await {
            Err(error) if error.kind() == ErrorKind::Io && !may_hold_a_cache(&path) => {
                Arc::new(open_without_directory(config, &path, &error).await?)
            }
            outcome => outcome?,
        };
        store.announce(&path).await;
        Ok(store)
    })
}

/// Checks that this build has the features that `config` needs.
///
/// # Errors
/// `Configuration`, which names the feature.
fn check_features(config: &CacheConfig) -> Result<()> {
    let redis = config.redis();
    let missing = match (redis.enabled(), redis.encrypted()) {
        (true, _) if !cfg!(feature = "redis") => NO_REDIS,
        (true, true) if !cfg!(feature = "tls") => NO_TLS,
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Configuration, missing))
}

/// Checks the directory that `config` names as [`Cache::connect`](crate::Cache::connect) does, and creates nothing: that neither
/// it nor a file in it is a link or another user's.
///
/// # Errors
/// `Configuration`: a start would be refused. `Io`: it cannot be examined, and would not be used.
pub(crate) fn check_directory(config: &CacheConfig) -> Result<()> {
    let path = absolute(config)?;
    for directory in [path.clone()].into_iter().chain(instance::paths(&path)) {
        files::check_directory(&directory)?;
        files::check_file(&directory.join(LOCK))?;
    }
    for name in ["cache.redb", "cache.lock"] {
        files::check_file(&path.join(name))?;
    }
    #[cfg(feature = "redis")]
    if config.redis().enabled() {
        files::check_file(&path.join(redis::STATE_LOCK))?;
    }
    Ok(())
}

fn absolute(config: &CacheConfig) -> Result<PathBuf> {
    std::path::absolute(config.directory())
        .map_err(|error| Error::new(ErrorKind::Configuration, format!("CACHE_DIR is no path: {error}")))
}

impl OpenStore {
    fn new(
        config: &CacheConfig,
        backend: Arc<dyn CacheBackend>,
        atomic: Option<Arc<dyn AtomicBackend>>,
        journal: Arc<Journal>,
    ) -> Self {
        let decoded = Arc::new(DecodedValues::new(config.decoded_bytes()));
        let (config, is_open) = (config.clone(), AtomicBool::new(true));
        Self { backend, atomic, journal, decoded, cause: None, config, is_open }
    }

    /// Creates a store that stores nothing, because caching is off or the wanted store cannot be used.
    fn null(config: &CacheConfig, directory: &Arc<HeldDirectory>, cause: Option<String>) -> Result<Self> {
        let journal = Arc::new(Journal::watching(directory)?);
        Ok(Self { cause, ..Self::new(config, Arc::new(NullBackend::new()), None, journal) })
    }

    /// The state of the store and the journal, and why the wanted store is not in use.
    pub(crate) async fn health(&self) -> Health {
        let mut health = self.backend.health().await;
        if !self.config.enabled() {
            health = Health::ok(BackendKind::Null, health.since);
        }
        health.journal = self.journal.kind();
        health.journal_depth = self.journal.depth();
        if let Some(cause) = &self.cause {
            health.status = HealthStatus::Degraded;
            health.wanted = BackendKind::Disk;
            health.cause = Some(cause.clone());
        } else if health.status == HealthStatus::Ok
            && let Some(cause) = self.journal_cause(health.journal)
        {
            health.status = HealthStatus::Degraded;
            health.cause = Some(cause);
        }
        health
    }

    fn journal_cause(&self, kind: JournalKind) -> Option<String> {
        let in_memory = || "the journal cannot be written: after a crash the cache starts empty".to_owned();
        self.journal.cause().or_else(|| (kind == JournalKind::Memory).then(in_memory))
    }

    /// Closes the store and the journal, and releases the directory, for all caches that share them. Closing twice is no
    /// error.
    ///
    /// # Errors
    /// Those of the store; it is closed all the same.
    pub(crate) async fn close(&self) -> Result<()> {
        self.is_open.store(false, Ordering::Release);
        let closed = self.backend.close().await;
        self.journal.close().await;
        closed
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    async fn announce(&self, path: &Path) {
        let (config, directory, kind) = (&self.config, path.display(), self.backend.kind());
        let redis = config.redis();
        if !config.enabled() || kind == BackendKind::Null && !redis.enabled() {
            cache_core::log::info!(reason = self.cause, "cache disabled");
        } else if !redis.enabled() {
            cache_core::log::info!(
                %directory, limit_mb = config.size_mb(), namespace = config.namespace(),
                "Using {kind} cache backend"
            );
        } else if let Health { status: HealthStatus::Degraded, active, cause, .. } =
            self.backend.health().await
            && active != BackendKind::Redis
        {
            cache_core::log::warn!(
                error = cause,
                "Redis cache initialization failed, falling back to disk cache"
            );
        } else {
            cache_core::log::info!(
                server = redis.address(), db = redis.db(), namespace = config.namespace(), %directory,
                "Using Redis cache backend"
            );
        }
    }
}

/// Opens the store in the directory `path`, which is not open in this process.
async fn open_in(config: &CacheConfig, path: &Path) -> Result<OpenStore> {
    #[cfg(feature = "redis")]
    if config.redis().enabled() {
        return redis::open(config, path).await;
    }
    let directory = HeldDirectory::take(path, Sharing::Exclusive).await?;
    let mut cause = None;
    if config.enabled() {
        match open_disk(config, &directory).await {
            Ok(Some(store)) => return Ok(store),
            Ok(None) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Locked | ErrorKind::Configuration) => {
                return Err(error);
            }
            Err(error) => {
                cache_core::log::warn!(%error, "the disk cache cannot be opened; running without a cache");
                cause = Some(error.to_string());
            }
        }
    }
    // A disk cache in the directory misses this run's invalidations.
    LastRun::read(path).record(path, &UsedStore::none(config.namespace()))?;
    OpenStore::null(config, &directory, cause)
}

#[cfg(feature = "disk")]
async fn open_disk(config: &CacheConfig, directory: &Arc<HeldDirectory>) -> Result<Option<OpenStore>> {
    disk::open(config, directory).await.map(Some)
}

#[cfg(not(feature = "disk"))]
#[expect(clippy::unused_async, reason = "the signature of the builds with a disk cache")]
async fn open_disk(_config: &CacheConfig, _directory: &Arc<HeldDirectory>) -> Result<Option<OpenStore>> {
    cache_core::log::info!("this build of cache-facade has no backend; build it with the feature `disk`");
    Ok(None)
}

/// Opens a store although `error` keeps the directory from being used: nothing in it can become stale.
#[cfg_attr(
    not(feature = "redis"),
    expect(clippy::unused_async, reason = "the signature of the builds with Redis")
)]
async fn open_without_directory(config: &CacheConfig, path: &Path, error: &Error) -> Result<OpenStore> {
    #[cfg(feature = "redis")]
    if config.redis().enabled() {
        cache_core::log::warn!(
            %error,
            "the cache directory cannot be used; invalidations that Redis misses while it is away are lost with this process"
        );
        return Ok(redis::open_without_directory(config).await);
    }
    cache_core::log::warn!(%error, "the cache directory cannot be used; running without a cache");
    // Locked as soon as it can be used: a process that starts there would not hear of this one's changes.
    let directory = HeldDirectory::lost(path, Sharing::Exclusive);
    OpenStore::null(config, &directory, config.enabled().then(|| error.to_string()))
}

/// Returns the fallback of Redis, in the directory of this instance.
#[cfg(feature = "redis")]
fn fallback_of(
    config: &CacheConfig,
    directory: &Arc<HeldDirectory>,
) -> Arc<dyn crate::fallback::OpenFallback> {
    #[cfg(feature = "disk")]
    if config.enabled() && config.fallback() == crate::config::Fallback::Disk {
        let settings = disk::settings(config, directory.path());
        return Arc::new(fallback::DiskFallback { settings, directory: Arc::clone(directory) });
    }
    // A build without a disk cache has no choice of fallbacks.
    let _ = (config, directory);
    Arc::new(crate::fallback::NoFallback)
}

/// Whether a later run could find a cache in the directory `path` that this run leaves to become stale.
fn may_hold_a_cache(path: &Path) -> bool {
    let is_absent = |name: &str| match std::fs::symlink_metadata(path.join(name)) {
        Ok(_) => false,
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    };
    !(is_absent("state") && is_absent("cache.redb"))
}

#[cfg(all(test, not(feature = "disk")))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_without_a_backend_stores_nothing_and_records_its_run() {
        let root = tempfile::tempdir().unwrap();
        let config = CacheConfig::builder().directory(root.path()).build().unwrap();
        let store = open(&config).await.unwrap();
        assert_eq!(store.backend.kind(), BackendKind::Null);
        assert_eq!(store.health().await.status, HealthStatus::Off);
        let last = LastRun::read(root.path());
        assert!(last.distrust_of_disk("app").is_some_and(|why| why.contains("up to date")));
    }
}

#[cfg(all(test, not(feature = "tls")))]
mod tests_of_small_builds {
    use super::*;
    use crate::config::{RedisConfig, Tls};

    #[test]
    fn an_error_about_a_build_names_the_feature() {
        let redis = RedisConfig::at("db.example").tls(Tls::On);
        let error = check_features(&CacheConfig::builder().redis(redis).build().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let feature = if cfg!(feature = "redis") { "`tls`" } else { "`redis`" };
        assert!(error.to_string().contains(feature), "{error}");
    }
}
