//! The rows of the facade beside the same work done by hand.

pub mod hits;
pub mod loads;
pub mod memory;
pub mod over_redis;
pub mod stampede;

use std::sync::Arc;

use cache_disk::{DiskBackend, DiskConfig};
use cache_facade::{Cache, CacheConfig};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Outcome;
use crate::session::Session;
use crate::stores::directory;

/// A value as the application caches it: about a kilobyte once it is encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    image: u64,
    file_name: String,
    width: u32,
    height: u32,
    taken_at: Option<i64>,
    tags: Vec<String>,
    notes: String,
}

impl Metadata {
    /// The metadata of the `number`th image.
    pub fn of(number: usize) -> Self {
        Self {
            image: number as u64,
            file_name: format!("DSC_{number:06}.jpeg"),
            width: 6000,
            height: 4000,
            taken_at: Some(1_700_000_000 + number as i64),
            tags: (0..8).map(|tag| format!("tag-{}", (number + tag) % 50)).collect(),
            notes: "Taken from the bridge, towards the mountains. ".repeat(20),
        }
    }
}

/// A typed cache and the backend under it.
#[derive(Debug)]
pub struct Caches {
    /// Where the calls run.
    pub runtime: Arc<Runtime>,
    /// The typed handle.
    pub cache: Cache,
    /// Its backend.
    pub bare: Arc<DiskBackend>,
    _directory: TempDir,
}

impl Caches {
    /// An empty cache, whose files are read from memory for pages.
    pub fn create(runtime: &Arc<Runtime>) -> Outcome<Self> {
        Self::with_memory(runtime, 0, 512)
    }

    /// An empty cache with memory for values in front of the disk, and memory for its pages.
    pub fn with_memory(runtime: &Arc<Runtime>, memory_mb: u64, page_cache_mb: usize) -> Outcome<Self> {
        let directory = directory()?;
        let config = CacheConfig::builder().memory_mb(memory_mb).build()?;
        let disk = DiskConfig::new(directory.path().join("ours")).page_cache_bytes(page_cache_mb << 20);
        let disk = config.near().into_iter().fold(disk, DiskConfig::near);
        let bare = Arc::new(runtime.block_on(DiskBackend::open(disk))?);
        let cache = Cache::builder(Arc::clone(&bare) as Arc<_>).config(config).build();
        Ok(Self { runtime: Arc::clone(runtime), cache, bare, _directory: directory })
    }
}

/// Measures every row.
pub fn run(session: &mut Session) -> Outcome<()> {
    hits::run(session)?;
    memory::run(session)?;
    loads::run(session)?;
    stampede::run(session)?;
    over_redis::run(session)
}
