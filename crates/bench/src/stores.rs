//! [`Stores`]: one data set in ours and in the peer, on the disk that the build lies on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use cache_core::{CacheBackend, CacheKey, MEGABYTE, NewEntry};
use cache_disk::{DiskBackend, DiskConfig};
use redb::Durability;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Outcome;
use crate::raw_redb::{Change, RawRedb};
use crate::workload::{Values, permutation};

/// Bytes of values that are stored before both sides wait for the disk: half of what our queue holds.
const LOADED_AT_ONCE: usize = 4 << 20;

/// How long a disk may stall.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of memory that our index takes for an entry. The row of the memory after opening a million entries measures it.
pub const INDEX_BYTES: usize = 72;

/// Bytes that ours has for pages where all its memory is `budget`: what its index of so many entries leaves.
pub fn pages_within(budget: usize, entries: usize) -> usize {
    budget.saturating_sub(entries * INDEX_BYTES).max(1 << 20)
}

/// What a data set is to be.
#[derive(Debug, Clone)]
pub struct DataSet {
    /// The keys of its entries.
    pub keys: Vec<CacheKey>,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// The limit of our cache in MiB.
    pub limit_mb: u64,
    /// Memory of either store in bytes: for pages, and of ours for the index too.
    pub memory_bytes: usize,
    /// The most entries that either will hold.
    pub entries: usize,
}

impl DataSet {
    /// A data set that neither the limit nor the memory touches: what is measured is the code, not the disk.
    pub fn new(keys: Vec<CacheKey>, value_bytes: usize) -> Self {
        let entries = keys.len();
        Self { keys, value_bytes, limit_mb: 1000, memory_bytes: 512 << 20, entries }
    }
}

/// Ours and the peer with the same entries.
#[derive(Debug)]
pub struct Stores {
    /// The runtime of every asynchronous call.
    pub runtime: Arc<Runtime>,
    /// Ours.
    pub ours: Arc<DiskBackend>,
    /// The peer.
    pub peer: RawRedb,
    /// The keys that were stored.
    pub keys: Vec<CacheKey>,
    /// The values of both.
    pub values: Values,
    /// Bytes of each value.
    pub value_bytes: usize,
    // Last, so that the directory goes when nothing uses it any more.
    directory: TempDir,
}

impl Stores {
    /// Creates both stores and stores the entries in a random order, as they come into a cache.
    pub fn create(runtime: &Arc<Runtime>, data: DataSet) -> Outcome<Arc<Self>> {
        let DataSet { keys, value_bytes, limit_mb, memory_bytes, entries } = data;
        let directory = directory()?;
        let pages = pages_within(memory_bytes, entries);
        let ours = open_ours(runtime, directory.path().join("ours"), limit_mb, pages)?;
        let peer = RawRedb::create(directory.path(), memory_bytes)?;
        let values = Values::new(value_bytes);
        let runtime = Arc::clone(runtime);
        let stores = Self { runtime, ours, peer, keys, values, value_bytes, directory };
        stores.load()?;
        Ok(Arc::new(stores))
    }

    /// Waits until all that was set is on the disk and our writer has nothing to do.
    pub fn settle(&self) -> Outcome<()> {
        Ok(self.runtime.block_on(self.ours.flush())?)
    }

    /// The directory of ours.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().join("ours")
    }

    fn load(&self) -> Outcome<()> {
        let order = permutation(self.keys.len(), &mut fastrand::Rng::with_seed(11));
        for batch in order.chunks(LOADED_AT_ONCE / self.value_bytes) {
            let entries: Vec<_> =
                batch.iter().filter_map(|at| Some((self.keys.get(*at)?, self.values.of(*at)))).collect();
            let changes: Vec<_> = entries.iter().map(|(key, value)| Change::Put(key, value)).collect();
            self.peer.apply(&changes, Durability::None)?;
            self.runtime.block_on(async {
                for (key, value) in &entries {
                    set(&self.ours, key, value.clone()).await?;
                }
                // A full queue drops values; ours must hold as many entries as the peer.
                self.ours.flush().await
            })?;
        }
        self.peer.apply(&[], Durability::Immediate)
    }
}

/// Sets until it is stored: on a disk that stalls the queue is full for longer than a caller waits, and dropping values is
/// no speed. The time that it takes counts where it is measured.
pub async fn set(ours: &DiskBackend, key: &CacheKey, value: Bytes) -> cache_core::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ours.set(key, NewEntry::new(value.clone())).await {
            Err(error) if error.is_transient() && Instant::now() < until => {}
            done => return done,
        }
    }
}

/// Opens our store alone.
pub fn open_ours(
    runtime: &Runtime,
    directory: PathBuf,
    limit_mb: u64,
    page_cache_bytes: usize,
) -> Outcome<Arc<DiskBackend>> {
    let config =
        DiskConfig::new(directory).limit_bytes(limit_mb * MEGABYTE).page_cache_bytes(page_cache_bytes);
    Ok(Arc::new(runtime.block_on(DiskBackend::open(config))?))
}

/// A directory beside this program, which lies in the build's target directory: a real disk, and never in the way.
pub fn directory() -> Outcome<TempDir> {
    let program = std::env::current_exe()?;
    let beside = program.parent().context("this program lies in no directory")?;
    Ok(tempfile::Builder::new().prefix("bench-data-").tempdir_in(beside)?)
}
