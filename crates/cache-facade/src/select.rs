//! Configuration to store: which backend is used, why, and what of its directory may still be read.
//!
//! With `lib.rs` the only file of this crate that knows which backends a build has.

#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "redis")]
mod redis;
mod registry;
#[cfg(all(feature = "disk", feature = "redis"))]
mod standin;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, Error, ErrorKind, Health, HealthStatus, JournalKind,
    NullBackend, Result,
};

use crate::config::CacheConfig;
use crate::outage::hold::{Hold, LOCK};
use crate::outage::journal::Journal;
use crate::outage::lock::Sharing;
use crate::outage::trust::{Primary, State};
use crate::outage::{files, instance};

#[cfg(feature = "redis")]
pub use redis::examine_redis;

/// The store that a configuration selects, and what goes with it.
///
/// All caches of one process over one directory share one of these. It keeps the directory locked until it is closed or
/// dropped.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The store.
    pub(crate) backend: Arc<dyn CacheBackend>,
    /// The store of counters and claims, where there is one.
    pub(crate) atomic: Option<Arc<dyn AtomicBackend>>,
    /// Where changes are written down before they are committed.
    pub(crate) journal: Arc<Journal>,
    /// The same store, where it is Redis with a fallback.
    #[cfg(feature = "redis")]
    redis: Option<Arc<crate::fallback::FallbackBackend>>,
    /// Why the wanted store is not in use, when it is not.
    trouble: Option<String>,
    settings: registry::Settings,
    /// Whether others may join it; not once it was closed.
    is_open: AtomicBool,
}

/// Opens the store that `config` asks for, or joins the one that this process has open in the same directory.
///
/// A store that cannot be used makes the cache one that keeps nothing, with a warning and a cause in
/// [`health`](Selected::health): a broken disk must not keep the application from starting. It is an error only where
/// going on could make somebody read old values, or where somebody asked for what cannot be:
///
/// - the directory is locked by another process: that one would never hear of this one's changes;
/// - it holds a cache or a trust record and cannot be written: the next run would trust what missed this one's changes;
/// - it is a link, a file or another user's: whoever put it there decides what is read;
/// - the settings contradict each other or this build.
///
/// Blocks for a few writes to disk. Logs which backend is used.
///
/// # Errors
/// `Locked` and `Configuration` as above, after 45 seconds and at once; `Io` for the second case.
///
/// # Cancellation
/// Nothing stays open.
pub(crate) async fn connect(config: &CacheConfig) -> Result<Arc<Selected>> {
    for warning in config.warnings() {
        cache_core::log::emit(|| tracing::warn!("{warning}"));
    }
    if config.redis().enabled() && !cfg!(feature = "redis") {
        return Err(without_redis());
    }
    let directory = absolute(config)?;
    let selected = match registry::open(config, &directory).await {
        Err(error) if error.kind() == ErrorKind::Io && !may_hold_a_cache(&directory) => {
            Arc::new(without_directory(config, &directory, &error).await?)
        }
        outcome => outcome?,
    };
    selected.announce(config, &directory);
    Ok(selected)
}

/// Says of the directory that `config` names what [`Cache::connect`](crate::Cache::connect) would say, and makes nothing: that
/// it, or what is in it, is a link or another user's.
///
/// # Errors
/// `Configuration`: a start would be refused. `Io`: it cannot be looked at, and would not be used.
pub fn examine_directory(config: &CacheConfig) -> Result<()> {
    let directory = absolute(config)?;
    files::examine(&directory, &[directory.join(LOCK)])?;
    for (_, instance) in instance::paths(&directory) {
        files::examine(&instance, &[instance.join(LOCK)])?;
    }
    Ok(())
}

fn absolute(config: &CacheConfig) -> Result<PathBuf> {
    std::path::absolute(config.directory())
        .map_err(|error| Error::new(ErrorKind::Configuration, format!("CACHE_DIR is no path: {error}")))
}

impl Selected {
    /// The state of the store and the journal, and why the wanted store is not in use.
    pub(crate) async fn health(&self) -> Health {
        let mut health = self.backend.health().await;
        if !self.settings.enabled() {
            health =
                Health { journal_depth: self.journal.depth(), ..Health::ok(BackendKind::Null, health.since) };
            health.journal = self.journal.kind();
            return health;
        }
        health.journal = self.journal.kind();
        health.journal_depth = self.journal.depth();
        if let Some(trouble) = &self.trouble {
            health.status = HealthStatus::Degraded;
            health.wanted = BackendKind::Disk;
            health.cause = Some(trouble.clone());
        } else if health.status == HealthStatus::Ok
            && let Some(cause) = self.journal_trouble(health.journal)
        {
            health.status = HealthStatus::Degraded;
            health.cause = Some(cause);
        }
        health
    }

    fn journal_trouble(&self, kind: JournalKind) -> Option<String> {
        let in_memory = || "the journal cannot be written: after a crash the cache starts empty".to_owned();
        self.journal.cause().or_else(|| (kind == JournalKind::Memory).then(in_memory))
    }

    /// Closes the store and the journal, and lets go of the directory, for all caches that share them. Closing twice
    /// is no error.
    ///
    /// # Errors
    /// As the store says; it is closed all the same.
    pub(crate) async fn close(&self) -> Result<()> {
        self.is_open.store(false, Ordering::Release);
        let closed = self.backend.close().await;
        self.journal.close().await;
        closed
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    fn announce(&self, config: &CacheConfig, directory: &Path) {
        if config.enabled() && config.redis().enabled() {
            return self.announce_redis(config, directory);
        }
        match if config.enabled() { self.backend.kind() } else { BackendKind::Null } {
            BackendKind::Null => {
                cache_core::log::emit(|| tracing::info!(reason = self.trouble, "cache disabled"));
            }
            kind => cache_core::log::emit(|| {
                tracing::info!(
                    directory = %directory.display(),
                    limit_mb = config.size_mb(),
                    namespace = config.namespace(),
                    "Using {kind} cache backend"
                );
            }),
        }
    }

    fn announce_redis(&self, config: &CacheConfig, directory: &Path) {
        if let Some(cause) = self.redis_trouble() {
            cache_core::log::emit(|| {
                tracing::warn!(
                    error = cause,
                    "Redis cache initialization failed, falling back to disk cache"
                );
            });
            return;
        }
        let redis = config.redis();
        cache_core::log::emit(|| {
            tracing::info!(
                server = redis.address(),
                db = redis.db(),
                namespace = config.namespace(),
                directory = %directory.display(),
                "Using Redis cache backend"
            );
        });
    }

    #[cfg(feature = "redis")]
    fn redis_trouble(&self) -> Option<String> {
        self.redis.as_ref().and_then(|redis| redis.trouble())
    }

    #[cfg(not(feature = "redis"))]
    #[expect(clippy::unused_self, reason = "the form of the builds with Redis")]
    fn redis_trouble(&self) -> Option<String> {
        None
    }

    #[cfg(feature = "redis")]
    fn over_redis(config: &CacheConfig, opened: redis::Opened) -> Self {
        let redis::Opened { backend, journal } = opened;
        Self {
            backend: Arc::clone(&backend) as Arc<dyn CacheBackend>,
            atomic: Some(Arc::clone(&backend) as Arc<dyn AtomicBackend>),
            redis: Some(backend),
            journal,
            trouble: None,
            settings: registry::Settings::of(config),
            is_open: AtomicBool::new(true),
        }
    }

    /// A cache that keeps nothing, because its directory cannot be used. Nothing is in there that could become stale; once
    /// it can be used it is locked, so that no other process begins there that would not hear of this one's changes.
    fn unusable(config: &CacheConfig, directory: &Path, error: &Error) -> Result<Self> {
        Ok(Self {
            backend: Arc::new(NullBackend::new()),
            atomic: None,
            #[cfg(feature = "redis")]
            redis: None,
            journal: Arc::new(Journal::watching(&Hold::lost(directory, Sharing::Exclusive))?),
            trouble: config.enabled().then(|| error.to_string()),
            settings: registry::Settings::of(config),
            is_open: AtomicBool::new(false),
        })
    }

    /// A cache that keeps nothing over a directory that may hold a store: the record says that it was not kept up to
    /// date, so that it starts empty when it is next used.
    fn bypassing(
        config: &CacheConfig,
        directory: &Path,
        hold: &Arc<Hold>,
        trouble: Option<String>,
    ) -> Result<Self> {
        let namespace = config.namespace().to_owned();
        State::read(directory).record(directory, &Primary::Disk { namespace, reads: false })?;
        Ok(Self {
            backend: Arc::new(NullBackend::new()),
            atomic: None,
            #[cfg(feature = "redis")]
            redis: None,
            journal: Arc::new(Journal::watching(hold)?),
            trouble,
            settings: registry::Settings::of(config),
            is_open: AtomicBool::new(true),
        })
    }
}

/// Goes on where `error` keeps the directory from being used, and nothing in it could become stale.
#[cfg_attr(
    not(feature = "redis"),
    expect(clippy::unused_async, reason = "the form of the builds with Redis")
)]
async fn without_directory(config: &CacheConfig, directory: &Path, error: &Error) -> Result<Selected> {
    #[cfg(feature = "redis")]
    if config.redis().enabled() {
        cache_core::log::emit(|| {
            tracing::warn!(
                %error,
                "the cache directory cannot be used; what Redis misses while it is away is lost with this process"
            );
        });
        return Ok(Selected::over_redis(config, redis::open_without_directory(config).await));
    }
    cache_core::log::emit(
        || tracing::warn!(%error, "the cache directory cannot be used; running without a cache"),
    );
    Selected::unusable(config, directory, error)
}

/// Opens the store in `directory`, which this process does not have open yet.
async fn open(config: &CacheConfig, directory: &Path) -> Result<Selected> {
    #[cfg(feature = "redis")]
    if config.redis().enabled() {
        return Ok(Selected::over_redis(config, redis::open(config, directory).await?));
    }
    let hold = Hold::take(directory, Sharing::Exclusive).await?;
    if !config.enabled() {
        return Selected::bypassing(config, directory, &hold, None);
    }
    open_enabled(config, directory, &hold).await
}

/// What stands in for Redis, in the directory of this instance.
#[cfg(feature = "redis")]
fn standin(config: &CacheConfig, hold: &Arc<Hold>) -> Arc<dyn crate::fallback::Standin> {
    #[cfg(feature = "disk")]
    if config.enabled() && config.fallback() == crate::config::Fallback::Disk {
        let settings = disk::settings(config, hold.directory());
        return Arc::new(standin::Disk { settings, hold: Arc::clone(hold) });
    }
    // Without a disk cache there is nothing that the settings could choose.
    let _ = (config, hold);
    Arc::new(redis::Nothing)
}

#[cfg(not(feature = "disk"))]
#[expect(clippy::unused_async, reason = "the form of the other builds")]
async fn open_enabled(config: &CacheConfig, directory: &Path, hold: &Arc<Hold>) -> Result<Selected> {
    cache_core::log::emit(|| {
        tracing::info!("this build of cache-facade has no backend; build it with the feature `disk`");
    });
    Selected::bypassing(config, directory, hold, None)
}

#[cfg(feature = "disk")]
async fn open_enabled(config: &CacheConfig, directory: &Path, hold: &Arc<Hold>) -> Result<Selected> {
    match disk::open(config, hold).await {
        Ok(disk::Opened { backend, journal }) => Ok(Selected {
            backend: Arc::clone(&backend) as Arc<dyn CacheBackend>,
            atomic: Some(backend),
            #[cfg(feature = "redis")]
            redis: None,
            journal: Arc::new(journal),
            trouble: None,
            settings: registry::Settings::of(config),
            is_open: AtomicBool::new(true),
        }),
        Err(error) if matches!(error.kind(), ErrorKind::Locked | ErrorKind::Configuration) => Err(error),
        Err(error) => {
            cache_core::log::emit(
                || tracing::warn!(%error, "the disk cache cannot be opened; running without a cache"),
            );
            Selected::bypassing(config, directory, hold, Some(error.to_string()))
        }
    }
}

/// Whether a later run could find something in `directory` that this one leaves to become stale.
fn may_hold_a_cache(directory: &Path) -> bool {
    let is_absent = |name: &str| match std::fs::symlink_metadata(directory.join(name)) {
        Ok(_) => false,
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    };
    !(is_absent("state") && is_absent("cache.redb"))
}

fn without_redis() -> Error {
    let message = "REDIS_ENABLED is true, but this build of cache-facade has no Redis; build it with the feature `redis`";
    Error::new(ErrorKind::Configuration, message)
}

#[cfg(all(test, not(feature = "disk")))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_without_a_backend_keeps_nothing_and_leaves_word_that_it_ran() {
        let root = tempfile::tempdir().unwrap();
        let config = CacheConfig::builder().directory(root.path()).build().unwrap();
        let selected = connect(&config).await.unwrap();
        assert_eq!(selected.backend.kind(), BackendKind::Null);
        assert_eq!(selected.health().await.status, HealthStatus::Off);
        assert!(
            State::read(root.path()).distrust_of_disk("app").is_some_and(|why| why.contains("up to date"))
        );
    }
}
