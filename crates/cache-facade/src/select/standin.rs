//! [`Disk`]: the disk cache that stands in while Redis is away.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{CacheBackend, NullBackend};
use cache_disk::{DiskBackend, DiskConfig};

use crate::fallback::Standin;
use crate::outage::files;

/// Opens disk caches in the directory of this instance.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) settings: DiskConfig,
    pub(super) path: PathBuf,
}

#[async_trait]
impl Standin for Disk {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        match DiskBackend::open(self.settings.clone().start_empty()).await {
            Ok(backend) => Arc::new(backend),
            Err(error) => {
                cache_core::log::limited(
                    &self.path,
                    |suppressed| tracing::warn!(%error, suppressed, "the fallback cannot be opened; everything is loaded while Redis is away"),
                );
                Arc::new(NullBackend::new())
            }
        }
    }

    fn tidy(&self) {
        files::remove_directory(&self.path);
    }
}
