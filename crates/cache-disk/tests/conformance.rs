//! The conformance suite over the disk backend.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cache_conformance::chaos::Chaotic;
use cache_conformance::{AtHandFirst, Eviction, Figures, Keeping, Law, Opened, Promises, Subject};
use cache_core::{ManualClock, NearConfig};
use cache_disk::{DiskBackend, DiskConfig};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const LIMIT: u64 = 8 << 20;

#[derive(Debug)]
struct Disk {
    clock: Arc<ManualClock>,
    root: TempDir,
    runtime: Runtime,
    near: Option<NearConfig>,
}

impl Disk {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let root = tempfile::tempdir().expect("a temporary directory can be made");
        Self { clock: Arc::default(), root, runtime: runtime.expect("a runtime can be started"), near: None }
    }

    /// With memory in front of the disk, which outlasts an eviction and keeps an order of its own.
    fn near() -> Self {
        Self { near: Some(NearConfig::new(4 << 20)), ..Self::new() }
    }

    fn directory(&self, place: &str) -> PathBuf {
        self.root.path().join(place)
    }
}

#[async_trait]
impl Subject for Disk {
    fn promises(&self) -> Promises {
        Promises {
            keeping: Keeping::AcrossReopening,
            eviction: match self.near {
                None => Eviction::LeastRecentlyUsed,
                Some(_) => Eviction::Unspecified,
            },
            figures: if self.near.is_none() { Figures::Exact } else { Figures::Approximate },
            limit_bytes: Some(LIMIT),
            largest_value: Some(LIMIT / 8),
            refuses_after_close: true,
        }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    async fn open(&self, place: &str) -> Opened {
        let config = DiskConfig::new(self.directory(place)).limit_bytes(LIMIT).clock(self.clock.clone());
        let config = self.near.iter().fold(config, |config, near| config.near(near.clone()));
        let opened = Opened::with_atomic(DiskBackend::open(config).await.expect("the directory is ours"));
        if self.near.is_some() { AtHandFirst::wrap(opened) } else { opened }
    }

    fn run(&self, law: Law<'_>) {
        self.runtime.block_on(law);
    }
}

mod disk {
    use super::*;
    cache_conformance::conformance_tests!(Disk::new());
}

mod disk_behind_memory {
    use super::*;
    cache_conformance::conformance_tests!(Disk::near());
}

mod disk_under_chaos {
    use super::*;
    cache_conformance::forgetful_conformance_tests!(Chaotic::new(Disk::new(), 11));
}
