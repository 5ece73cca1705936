//! The stores that this process has open, by directory: caches over one directory share its store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use cache_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::OpenStore;
use crate::config::CacheConfig;
use crate::durability::files;

/// The store of one directory, locked while it is opened, so that concurrent callers open it once.
type Slot = Arc<AsyncMutex<Weak<OpenStore>>>;

static SLOTS: LazyLock<Mutex<HashMap<PathBuf, Slot>>> = LazyLock::new(Mutex::default);

/// Joins the store that this process has open in `directory`, or opens it.
pub(super) async fn open(config: &CacheConfig, directory: &Path) -> Result<Arc<OpenStore>> {
    files::prepare_directory(directory)?;
    let canonical = directory
        .canonicalize()
        .map_err(|error| files::io_error("cannot use the cache directory", directory, error))?;
    let slot = slot(canonical);
    let mut open = slot.lock().await;
    if let Some(store) = open.upgrade().filter(|store| store.is_open()) {
        check(&store.config, config, directory)?;
        return Ok(store);
    }
    let store = Arc::new(super::open_in(config, directory).await?);
    *open = Arc::downgrade(&store);
    Ok(store)
}

fn slot(directory: PathBuf) -> Slot {
    let mut slots = SLOTS.lock();
    // Removes slots whose store is gone and that no caller holds.
    slots.retain(|_, slot| {
        Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|open| open.strong_count() > 0)
    });
    Arc::clone(slots.entry(directory).or_default())
}

/// Checks that a cache with the settings `new` can share the store of one with the settings `open`.
fn check(open: &CacheConfig, new: &CacheConfig, directory: &Path) -> Result<()> {
    let redis = |config: &CacheConfig| {
        let redis = config.redis();
        redis.enabled().then(|| (redis.address(), redis.db()))
    };
    let differing = [
        ("CACHE_ENABLED", open.enabled() != new.enabled()),
        ("CACHE_NAMESPACE", open.namespace() != new.namespace()),
        (
            "Redis (REDIS_ENABLED, REDIS_HOST, REDIS_PORT, REDIS_SENTINELS, REDIS_DB)",
            redis(open) != redis(new),
        ),
    ];
    if let Some((name, _)) = differing.into_iter().find(|(_, differs)| *differs) {
        let message = format!(
            "this process uses the cache directory {} with another {name}; set CACHE_DIR to a directory of its own",
            directory.display()
        );
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    let limits = [
        ("CACHE_SIZE_MB", open.size_mb(), new.size_mb()),
        ("CACHE_MEMORY_MB", open.memory_mb(), new.memory_mb()),
    ];
    for (setting, limit_mb, asked_for) in limits.into_iter().filter(|(_, open, new)| open != new) {
        cache_core::log::warn!(
            limit: (directory, setting), directory = %directory.display(), setting, limit_mb, asked_for,
            "the cache directory is open with another limit, which stays"
        );
    }
    Ok(())
}
