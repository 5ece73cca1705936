//! Opening the disk cache: what it may still serve, and what it has to forget first.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::{CacheBackend, Error, ErrorKind, Invalidated, Result};
use cache_disk::{DiskBackend, DiskConfig};

use crate::config::CacheConfig;
use crate::outage::hold::{Hold, Tenant};
use crate::outage::instance::Instance;
use crate::outage::journal::Journal;
use crate::outage::leftover::Leftover;
use crate::outage::lock::{locked, patiently};
use crate::outage::slots::Owner;
use crate::outage::trust::{Primary, State};

pub(super) struct Opened {
    pub(super) backend: Arc<DiskBackend>,
    pub(super) journal: Journal,
}

/// Opens the store, makes up for what was interrupted, and only then records that the store is in use: a crash
/// anywhere in between leaves the record that made it start so.
pub(super) async fn open(config: &CacheConfig, hold: &Arc<Hold>) -> Result<Opened> {
    let directory = hold.directory();
    let instances = patiently(|| ready(Instance::claim_all(directory))).await?;
    let (own, dead) = instances.ok_or_else(|| locked(directory))?;
    // Read now: a process whose lock was removed empties the record before it lets go of its instance.
    let state = State::read(directory);
    let mut own = Leftover::read(own);
    let mut dead: Vec<_> = dead.into_iter().map(Leftover::read).collect();
    let namespace = config.namespace().to_owned();
    let distrust = state.distrust_of_disk(&namespace);
    let start_empty = distrust.or(config.clear_on_start().then_some("CACHE_CLEAR_ON_START is set"));
    if let Some(reason) = start_empty.filter(|_| state != State::Missing) {
        cache_core::log::emit(|| {
            tracing::info!(reason, "the disk cache starts empty");
        });
    }
    let backend = open_store(config, directory, start_empty.is_some()).await?;
    if start_empty.is_none() {
        make_up_for(&backend, dead.iter().chain([&own])).await?;
    }
    let primary = Primary::Disk { namespace, reads: true };
    state.record(directory, &primary)?;
    for leftover in dead.iter_mut().chain([&mut own]) {
        if let Err(error) = leftover.erase(&Owner::Disk) {
            cache_core::log::emit(|| {
                tracing::warn!(%error, "cannot erase a journal; the next start invalidates it again");
            });
        }
    }
    for leftover in dead {
        if let Err(error) = leftover.discard() {
            cache_core::log::emit(|| {
                tracing::warn!(%error, "cannot remove the journal of a process that is gone");
            });
        }
    }
    let backend = Arc::new(backend);
    let journal = Journal::open(own, &Owner::Disk, hold)?;
    journal.tell(Disk { backend: Arc::downgrade(&backend), directory: directory.to_owned(), primary });
    Ok(Opened { backend, journal })
}

/// The disk cache as what goes by its directory.
#[derive(Debug)]
struct Disk {
    backend: Weak<DiskBackend>,
    directory: PathBuf,
    primary: Primary,
}

impl Tenant for Disk {
    fn suspend(&self, cause: &Error) {
        if let Some(backend) = self.backend.upgrade() {
            backend.suspend(cause);
        }
    }

    fn resume(&self) -> Result<()> {
        if let Some(backend) = self.backend.upgrade() {
            resume(&backend)?;
        }
        State::read(&self.directory).record(&self.directory, &self.primary)
    }
}

/// Resumes `backend`, waiting for the store of a process that has just let go of the directory to be closed.
fn resume(backend: &DiskBackend) -> Result<()> {
    for _ in 0..100 {
        match backend.resume() {
            Err(error) if error.kind() == ErrorKind::Locked => {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
    backend.resume()
}

/// The settings of a disk cache in `directory`.
pub(super) fn settings(config: &CacheConfig, directory: &Path) -> DiskConfig {
    let page_cache = config.page_cache_mb().saturating_mul(cache_core::MEGABYTE);
    DiskConfig::new(directory)
        .limit_bytes(config.limit_bytes())
        .namespace(config.namespace())
        .page_cache_bytes(usize::try_from(page_cache).unwrap_or(usize::MAX))
        .clock(config.clock())
}

async fn open_store(config: &CacheConfig, directory: &Path, start_empty: bool) -> Result<DiskBackend> {
    let disk = settings(config, directory).watched_by_the_caller();
    let disk = if start_empty { disk.start_empty() } else { disk };
    // The store before this one may still be closing, in this process or in one that is ending.
    let opened = patiently(|| async {
        match DiskBackend::open(disk.clone()).await {
            Err(error) if error.kind() == ErrorKind::Locked => Ok(None),
            outcome => outcome.map(Some),
        }
    });
    opened.await?.ok_or_else(|| locked(directory))
}

/// Invalidates what processes that are gone had begun to change.
async fn make_up_for(backend: &DiskBackend, leftovers: impl Iterator<Item = &Leftover>) -> Result<()> {
    let owed: Vec<_> = leftovers.flat_map(|leftover| leftover.owed_to(&Owner::Disk)).collect();
    if owed.is_empty() {
        return Ok(());
    }
    match backend.invalidate(&owed).await? {
        Invalidated::Applied { removed } => {
            cache_core::log::emit(|| {
                tracing::info!(
                    invalidations = owed.len(),
                    removed,
                    "made up for changes that were interrupted"
                );
            });
            Ok(())
        }
        Invalidated::Journaled { .. } => {
            Err(Error::new(ErrorKind::NotDurable, "the disk cache only noted what it had to invalidate"))
        }
    }
}
