//! [`Disk`]: the disk cache that stands in while Redis is away.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{CacheBackend, NullBackend};
use cache_disk::{DiskBackend, DiskConfig};

use crate::fallback::Standin;
use crate::outage::files;
use crate::outage::hold::Hold;
use crate::outage::leftover::FALLBACK;

/// Opens disk caches in the directory of this instance.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) settings: DiskConfig,
    /// What says where that is: another one after the cache directory was lost.
    pub(super) hold: Arc<Hold>,
}

impl Disk {
    fn path(&self) -> Option<PathBuf> {
        Some(self.hold.instance_path()?.join(FALLBACK))
    }
}

#[async_trait]
impl Standin for Disk {
    async fn open(&self) -> Arc<dyn CacheBackend> {
        let Some(path) = self.path() else {
            cache_core::log::limited("fallback", |suppressed| {
                tracing::warn!(
                    suppressed,
                    "there is no cache directory for the fallback; everything is loaded while Redis is away"
                );
            });
            return Arc::new(NullBackend::new());
        };
        match DiskBackend::open(self.settings.clone().directory(path).start_empty()).await {
            Ok(backend) => Arc::new(backend),
            Err(error) => {
                cache_core::log::limited(
                    self.hold.directory(),
                    |suppressed| tracing::warn!(%error, suppressed, "the fallback cannot be opened; everything is loaded while Redis is away"),
                );
                Arc::new(NullBackend::new())
            }
        }
    }

    fn tidy(&self) {
        if let Some(path) = self.path() {
            files::remove_directory(&path);
        }
    }
}
