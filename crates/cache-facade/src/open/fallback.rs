//! [`DiskFallback`]: the disk cache that is used while Redis is away.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{CacheBackend, NullBackend};
use cache_disk::{DiskBackend, DiskConfig};

use crate::durability::directory::HeldDirectory;
use crate::durability::files;
use crate::durability::journal::orphan_journal::FALLBACK;
use crate::fallback::OpenFallback;

/// Opens disk caches in the directory of this instance.
#[derive(Debug)]
pub(super) struct DiskFallback {
    pub(super) settings: DiskConfig,
    pub(super) directory: Arc<HeldDirectory>,
}

impl DiskFallback {
    /// The directory of the disk cache; another one after the cache directory was lost.
    fn path(&self) -> Option<PathBuf> {
        Some(self.directory.instance_path()?.join(FALLBACK))
    }
}

#[async_trait]
impl OpenFallback for DiskFallback {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        let Some(path) = self.path() else {
            cache_core::log::warn!(
                limit: "fallback",
                "there is no cache directory for the fallback; everything is loaded while Redis is away"
            );
            return Arc::new(NullBackend::new());
        };
        match DiskBackend::open(self.settings.clone().directory(path).start_empty()).await {
            Ok(backend) => Arc::new(backend),
            Err(error) => {
                cache_core::log::warn!(
                    limit: self.directory.path(), %error,
                    "the fallback cannot be opened; everything is loaded while Redis is away"
                );
                Arc::new(NullBackend::new())
            }
        }
    }

    fn remove(&self) {
        if let Some(path) = self.path() {
            files::remove_directory(&path);
        }
    }
}
