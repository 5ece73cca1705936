//! [`DiskConfig`]: the settings of a disk cache.

#[cfg(feature = "testing")]
mod testing;

#[cfg(feature = "testing")]
pub(crate) use self::testing::ValuesHook;
#[cfg(feature = "testing")]
pub use self::testing::ValuesOperation;

use std::path::PathBuf;
use std::sync::Arc;

use cache_core::{Clock, Error, ErrorKind, Eviction, MEGABYTE, NearConfig, Result, SystemClock};

use crate::budget::SMALLEST_LIMIT;

/// Settings of a disk cache.
///
/// ```
/// use cache_disk::DiskConfig;
///
/// let config = DiskConfig::new("/var/cache/app").limit_bytes(200 << 20).namespace("app");
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
pub struct DiskConfig {
    pub(crate) directory: PathBuf,
    pub(crate) limit_bytes: u64,
    pub(crate) namespace: String,
    pub(crate) page_cache_bytes: usize,
    pub(crate) eviction: Eviction,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) start_empty: bool,
    pub(crate) is_watched: bool,
    pub(crate) near: Option<NearConfig>,
    /// The bits of a key's hash that are used; tests use few, so that keys collide.
    pub(crate) hash_mask: u64,
    #[cfg(feature = "testing")]
    pub(crate) storage: testing::StorageHook,
    #[cfg(feature = "testing")]
    pub(crate) values: testing::ValuesHook,
    #[cfg(feature = "testing")]
    pub(crate) has_holes: bool,
}

impl DiskConfig {
    /// A cache in `directory`, which is created if it does not exist.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            limit_bytes: 1000 * MEGABYTE,
            namespace: "app".to_owned(),
            page_cache_bytes: 32 << 20,
            eviction: Eviction::Lru,
            clock: Arc::new(SystemClock),
            start_empty: false,
            is_watched: false,
            near: None,
            hash_mask: u64::MAX,
            #[cfg(feature = "testing")]
            storage: testing::StorageHook::default(),
            #[cfg(feature = "testing")]
            values: testing::ValuesHook::default(),
            #[cfg(feature = "testing")]
            has_holes: true,
        }
    }

    /// Whether sparse files are used where the file system has them.
    #[cfg_attr(not(feature = "testing"), expect(clippy::unused_self, reason = "only tests say no"))]
    pub(crate) fn may_have_holes(&self) -> bool {
        #[cfg(feature = "testing")]
        return self.has_holes;
        #[cfg(not(feature = "testing"))]
        true
    }

    /// Sets another directory. Default: the one given to [`new`](Self::new).
    #[must_use]
    pub fn directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..self }
    }

    /// Sets the space that the directory may take, in bytes; at least 8 MiB. Default: 1000 MiB.
    ///
    /// If the file is larger than a lowered limit, the cache starts empty.
    #[must_use]
    pub fn limit_bytes(self, limit_bytes: u64) -> Self {
        Self { limit_bytes, ..self }
    }

    /// Sets the owner of the entries; another namespace in the same directory starts empty. Default: `app`.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// Sets the memory for pages of the database, in bytes. Default: 32 MiB.
    #[must_use]
    pub fn page_cache_bytes(self, page_cache_bytes: usize) -> Self {
        Self { page_cache_bytes, ..self }
    }

    /// Sets the order in which entries are evicted. Default: the least recently used first.
    #[must_use]
    pub fn eviction(self, eviction: Eviction) -> Self {
        Self { eviction, ..self }
    }

    /// Keeps values that were read in memory, too, so that a hit copies nothing. Default: none; a value is read from the pages
    /// of the database each time.
    #[must_use]
    pub fn near(self, near: NearConfig) -> Self {
        Self { near: Some(near), ..self }
    }

    /// Sets the clock for expiry. Default: the clocks of the system.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Drops the content of the directory before the first read. Default: stored entries are served.
    #[must_use]
    pub fn start_empty(self) -> Self {
        Self { start_empty: true, ..self }
    }

    /// Leaves it to the caller to detect that the directory was removed or replaced, and to call
    /// [`suspend`](crate::DiskBackend::suspend) and [`resume`](crate::DiskBackend::resume). Default: the cache checks the
    /// directory once a second and before it acknowledges an invalidation, and starts an empty database if it was lost.
    #[must_use]
    pub fn watched_by_the_caller(self) -> Self {
        Self { is_watched: true, ..self }
    }

    /// Checks the limit, lowered to the largest file that this process may write: a byte more, and a signal would end it.
    ///
    /// # Errors
    /// `Configuration` if the limit is too small.
    pub(crate) fn checked(mut self) -> Result<Self> {
        let most = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        if let Some(most) = most.filter(|most| *most < self.limit_bytes) {
            cache_core::log::warn!(
                limit: &self.directory, limit_bytes = self.limit_bytes, file_bytes = most,
                "disk cache takes less than its limit, because this process may not write larger files (ulimit -f)"
            );
            self.limit_bytes = most;
        }
        if self.limit_bytes >= SMALLEST_LIMIT {
            return Ok(self);
        }
        let message = format!(
            "a disk cache of {} bytes is too small; set CACHE_SIZE_MB to at least {}, and let the process write files \
             of that size (ulimit -f)",
            self.limit_bytes,
            SMALLEST_LIMIT / MEGABYTE
        );
        Err(Error::new(ErrorKind::Configuration, message))
    }
}
