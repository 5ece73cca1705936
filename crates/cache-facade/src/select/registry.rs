//! The stores that this process has open, by directory: the same directory twice is the same store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use cache_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::Selected;
use crate::config::CacheConfig;
use crate::outage::files;

/// The place of one directory. Whoever opens it holds it, so that two who come together open it once.
type Place = Arc<AsyncMutex<Weak<Selected>>>;

static PLACES: LazyLock<Mutex<HashMap<PathBuf, Place>>> = LazyLock::new(Mutex::default);

/// Settings in which caches that share a directory must agree, and the limit, in which they ought to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    enabled: bool,
    namespace: String,
    /// Host, port and database, where Redis is wanted.
    redis: Option<(String, u16, u32)>,
    size_mb: u64,
}

impl Settings {
    pub(super) fn of(config: &CacheConfig) -> Self {
        Self {
            enabled: config.enabled(),
            namespace: config.namespace().to_owned(),
            redis: Some(config.redis())
                .filter(|redis| redis.enabled())
                .map(|redis| (redis.host().to_owned(), redis.port(), redis.db())),
            size_mb: config.size_mb(),
        }
    }

    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether a cache with the settings `new` can share the store of one with these.
    fn check(&self, new: &Self, directory: &Path) -> Result<()> {
        let Self { enabled, namespace, redis, size_mb } = self;
        let differing = [
            ("CACHE_ENABLED", *enabled != new.enabled),
            ("CACHE_NAMESPACE", *namespace != new.namespace),
            ("Redis (REDIS_ENABLED, REDIS_HOST, REDIS_PORT, REDIS_DB)", *redis != new.redis),
        ];
        if let Some((name, _)) = differing.into_iter().find(|(_, differs)| *differs) {
            let message = format!(
                "this process uses the cache directory {} with another {name}; set CACHE_DIR to a directory of its own",
                directory.display()
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        if *size_mb != new.size_mb {
            cache_core::log::limited(directory, |suppressed| {
                tracing::warn!(
                    directory = %directory.display(),
                    limit_mb = size_mb,
                    asked_for = new.size_mb,
                    suppressed, "the cache directory is open with another limit, which stays"
                );
            });
        }
        Ok(())
    }
}

/// Joins the store that this process has open in `directory`, or opens it.
pub(super) async fn open(config: &CacheConfig, directory: &Path) -> Result<Arc<Selected>> {
    files::prepare_directory(directory)?;
    let canonical = directory.canonicalize().map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot use the cache directory {}: {error}", directory.display()))
    })?;
    let place = place(canonical);
    let mut open = place.lock().await;
    if let Some(selected) = open.upgrade().filter(|selected| selected.is_open()) {
        selected.settings.check(&Settings::of(config), directory)?;
        return Ok(selected);
    }
    let selected = Arc::new(super::open(config, directory).await?);
    *open = Arc::downgrade(&selected);
    Ok(selected)
}

fn place(directory: PathBuf) -> Place {
    let mut places = PLACES.lock();
    // Places that nobody holds or waits for, and whose store is gone, are of no use to anybody.
    places.retain(|_, place| {
        Arc::strong_count(place) > 1 || place.try_lock().is_ok_and(|open| open.strong_count() > 0)
    });
    Arc::clone(places.entry(directory).or_default())
}
