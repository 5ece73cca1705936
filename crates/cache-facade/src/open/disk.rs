//! Opens the disk cache: decides whether its values may still be served, and replays interrupted changes.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::{CacheBackend, Error, ErrorKind, Invalidated, Result};
use cache_disk::{DiskBackend, DiskConfig};

use super::OpenStore;
use crate::config::CacheConfig;
use crate::durability::directory::{HeldDirectory, Suspend, locked};
use crate::durability::instance;
use crate::durability::journal::Journal;
use crate::durability::journal::format::Target;
use crate::durability::journal::orphan_journal::{OrphanJournal, warn_not_erased};
use crate::durability::last_run::{LastRun, UsedStore};
use crate::durability::lock::{retry, retry_blocking};

/// How long a resumed disk cache waits for that of another process to be closed.
const LONGEST_CLOSE: Duration = Duration::from_secs(2);

/// Opens the disk cache, replays interrupted changes, and then records that the store is in use. A crash in between
/// leaves the old record, so that the next start does the same.
pub(super) async fn open(config: &CacheConfig, directory: &Arc<HeldDirectory>) -> Result<OpenStore> {
    let path = directory.path();
    let instances = retry(|| ready(instance::claim_all(path))).await?;
    let (own, dead) = instances.ok_or_else(|| locked(path))?;
    // Read after the claim: a process whose lock was removed empties the record before it releases its instance.
    let last_run = LastRun::read(path);
    let mut own = OrphanJournal::read(own);
    let dead: Vec<_> = dead.into_iter().map(OrphanJournal::read).collect();
    let namespace = config.namespace().to_owned();
    let distrust = last_run.distrust_of_disk(&namespace);
    let start_empty = distrust.or(config.clear_on_start().then_some("CACHE_CLEAR_ON_START is set"));
    if let Some(reason) = start_empty.filter(|_| last_run != LastRun::Missing) {
        cache_core::log::info!(reason, "the disk cache starts empty");
    }
    let backend = Arc::new(open_backend(config, path, start_empty.is_some()).await?);
    if start_empty.is_none() {
        replay(&backend, dead.iter().chain([&own])).await?;
    }
    let store = UsedStore::Disk { namespace, reads: true };
    last_run.record(path, &store)?;
    if let Err(error) = own.erase(&Target::Disk) {
        warn_not_erased(&error);
    }
    OrphanJournal::settle(dead, &Target::Disk);
    let journal = Arc::new(Journal::open(own, &Target::Disk, directory)?);
    journal.suspends(Suspended { backend: Arc::downgrade(&backend), path: path.to_owned(), store });
    Ok(OpenStore::new(config, Arc::clone(&backend) as _, Some(backend), journal))
}

/// Returns the settings of a disk cache in `directory`.
pub(super) fn settings(config: &CacheConfig, directory: &Path) -> DiskConfig {
    let page_cache = config.page_cache_mb().saturating_mul(cache_core::MEGABYTE);
    DiskConfig::new(directory)
        .limit_bytes(config.limit_bytes())
        .namespace(config.namespace())
        .page_cache_bytes(usize::try_from(page_cache).unwrap_or(usize::MAX))
        .eviction(config.eviction())
        .clock(config.clock())
}

/// Suspends the disk cache while its directory is lost.
#[derive(Debug)]
struct Suspended {
    backend: Weak<DiskBackend>,
    path: PathBuf,
    store: UsedStore,
}

impl Suspend for Suspended {
    fn suspend(&self, cause: &Error) {
        if let Some(backend) = self.backend.upgrade() {
            backend.suspend(cause);
        }
    }

    fn resume(&self) -> Result<()> {
        if let Some(backend) = self.backend.upgrade() {
            // The store of a process that has just released the directory may still be closing.
            let resumed = retry_blocking(LONGEST_CLOSE, || unlocked(backend.resume()))?;
            resumed.ok_or_else(|| locked(&self.path))?;
        }
        LastRun::read(&self.path).record(&self.path, &self.store)
    }
}

async fn open_backend(config: &CacheConfig, path: &Path, start_empty: bool) -> Result<DiskBackend> {
    let disk = settings(config, path).watched_by_the_caller();
    let disk = if start_empty { disk.start_empty() } else { disk };
    // Not for the fallback store of Redis: it would be a second memory, for the time of an outage.
    let disk = match config.near() {
        Some(near) => disk.near(near),
        None => disk,
    };
    // The store before this one may still be closing, in this process or in one that is ending.
    let opened = retry(|| async { unlocked(DiskBackend::open(disk.clone()).await) });
    opened.await?.ok_or_else(|| locked(path))
}

/// Makes the error `Locked` a `None`, to try again.
fn unlocked<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::Locked => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Invalidates the changes that dead processes had begun.
async fn replay(backend: &DiskBackend, orphans: impl Iterator<Item = &OrphanJournal>) -> Result<()> {
    let pending: Vec<_> = orphans.flat_map(|orphan| orphan.pending_for(&Target::Disk)).collect();
    if pending.is_empty() {
        return Ok(());
    }
    match backend.invalidate(&pending).await? {
        Invalidated::Applied { removed } => {
            cache_core::log::info!(invalidations = pending.len(), removed, "replayed interrupted changes");
            Ok(())
        }
        Invalidated::Journaled { .. } => {
            let message = "the disk cache recorded interrupted changes without applying them";
            Err(Error::new(ErrorKind::NotDurable, message))
        }
    }
}
