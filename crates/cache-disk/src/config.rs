//! [`DiskConfig`]: where the cache lies and how much it may take.

use std::path::PathBuf;
use std::sync::Arc;

use cache_core::{Clock, Error, ErrorKind, MEGABYTE, Result, SystemClock};

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
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) start_empty: bool,
    pub(crate) is_watched: bool,
    /// Bits of a key's hash that are used; tests take few, so that keys collide.
    pub(crate) hash_mask: u64,
    #[cfg(feature = "testing")]
    pub(crate) storage: crate::testing::StorageHook,
}

impl DiskConfig {
    /// A cache in `directory`, which is created if need be.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            limit_bytes: 1000 * MEGABYTE,
            namespace: "app".to_owned(),
            page_cache_bytes: 32 << 20,
            clock: Arc::new(SystemClock),
            start_empty: false,
            is_watched: false,
            hash_mask: u64::MAX,
            #[cfg(feature = "testing")]
            storage: crate::testing::StorageHook::default(),
        }
    }

    /// Another directory. Default: that of [`new`](Self::new).
    #[must_use]
    pub fn directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..self }
    }

    /// The space the directory may take, in bytes; at least 8 MiB. Default: 1000 MiB.
    ///
    /// A lower limit than the last one starts with an empty cache where the file is too large already.
    #[must_use]
    pub fn limit_bytes(self, limit_bytes: u64) -> Self {
        Self { limit_bytes, ..self }
    }

    /// Whose entries these are; another namespace in the same directory starts empty. Default: `app`.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// Memory for pages of the database, in bytes. Default: 32 MiB.
    #[must_use]
    pub fn page_cache_bytes(self, page_cache_bytes: usize) -> Self {
        Self { page_cache_bytes, ..self }
    }

    /// Where expiry takes the time from. Default: the system's clocks.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Drops whatever the directory holds before the first read. Default: what was stored is served.
    #[must_use]
    pub fn start_empty(self) -> Self {
        Self { start_empty: true, ..self }
    }

    /// Leaves it to the caller to see whether the directory still is the one that was opened, and to say so with
    /// [`suspend`](crate::DiskBackend::suspend) and [`resume`](crate::DiskBackend::resume). Default: the cache looks itself,
    /// once a second and before it acknowledges an invalidation, and begins an empty database where its own is gone.
    #[must_use]
    pub fn watched_by_the_caller(self) -> Self {
        Self { is_watched: true, ..self }
    }

    /// Within what the system lets this process write into one file: a byte more, and a signal would end it.
    pub(crate) fn within_the_process(self) -> Self {
        let most = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        match most {
            Some(most) if most < self.limit_bytes => {
                cache_core::log::limited(&self.directory, |suppressed| {
                    tracing::warn!(
                        limit_bytes = self.limit_bytes,
                        file_bytes = most,
                        suppressed,
                        "disk cache takes less than its limit, because this process may not write larger files (ulimit -f)"
                    );
                });
                self.limit_bytes(most)
            }
            _ => self,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.limit_bytes >= SMALLEST_LIMIT {
            return Ok(());
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
