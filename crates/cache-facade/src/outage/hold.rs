//! [`Hold`]: the cache directory as this process holds it, and whether it still does.
//!
//! A lock is a file, and files can be removed, moved or replaced under a running process, as by `rm -r` of the directory or
//! a mount over it. From then on the lock keeps nobody out: another process that starts with the same settings locks a
//! file of its own, caches what it reads, and never hears of this process's changes. The writer of the journal therefore
//! compares what is locked with what stands at its path: once a second, and behind each note, before the change that
//! it is for may be committed. A change also compares after its commit, before it is acknowledged; where another process
//! has the directory by then, it is [taken over](Hold::retake) from that one, which serves nothing from then on. The steps, and
//! what remains, are history 31 in `docs/histories.md`.

use std::fmt::Debug;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cache_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::instance::Instance;
use super::leftover::Leftover;
use super::lock::{LockFile, Sharing, locked};
use super::slots::Owner;
use super::{files, trust};

/// A store that goes by the directory.
pub(crate) trait Tenant: Debug + Send + Sync + 'static {
    /// Called when the directory is lost. Once this returned, nothing that was stored before is served.
    fn suspend(&self, cause: &Error);

    /// Called when there is a directory again, which the last run of nobody is to be trusted in: begins an empty store.
    /// Blocks the thread.
    ///
    /// # Errors
    /// Whatever keeps the store from beginning; it then stays suspended, and this is called again a second later.
    fn resume(&self) -> Result<()>;
}

/// The locks of this process in a cache directory; see the module's documentation.
#[derive(Debug)]
pub(crate) struct Hold {
    directory: PathBuf,
    sharing: Sharing,
    /// `None` while the directory is lost, and once it was given up.
    place: Mutex<Option<Arc<Place>>>,
}

/// The locks in one directory. Whoever must not be overtaken by the next process keeps one of these.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory itself, wherever it is moved.
    root: File,
    lock: LockFile,
    instance: OnceLock<Instance>,
}

impl Hold {
    /// Locks `directory`, waiting for others to let go.
    ///
    /// # Errors
    /// As for [`LockFile::lock_directory`].
    pub(crate) async fn take(directory: &Path, sharing: Sharing) -> Result<Arc<Self>> {
        let lock = LockFile::lock_directory(directory, sharing).await?;
        Self::of(directory, sharing, lock)
    }

    /// The hold on `directory` that `lock` is a part of.
    ///
    /// # Errors
    /// `Io` when the directory cannot be opened.
    pub(crate) fn of(directory: &Path, sharing: Sharing, lock: LockFile) -> Result<Arc<Self>> {
        let place = Place::new(directory, lock)?;
        Ok(Arc::new(Self {
            directory: directory.to_owned(),
            sharing,
            place: Mutex::new(Some(Arc::new(place))),
        }))
    }

    /// A hold on a directory that cannot be used: from the start it is lost.
    pub(crate) fn lost(directory: &Path, sharing: Sharing) -> Arc<Self> {
        Arc::new(Self { directory: directory.to_owned(), sharing, place: Mutex::new(None) })
    }

    /// The cache directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of this instance, while there is one.
    pub(crate) fn instance_path(&self) -> Option<PathBuf> {
        let place = self.place()?;
        place.instance.get().map(|instance| instance.path().to_owned())
    }

    /// What is held now.
    pub(crate) fn place(&self) -> Option<Arc<Place>> {
        self.place.lock().clone()
    }

    /// Whether the directory still is this process's.
    ///
    /// # Errors
    /// `Unavailable` says what became of it.
    ///
    /// # Cost
    /// A few system calls, some microseconds.
    pub(crate) fn stands(&self) -> Result<()> {
        let place = self.place().ok_or_else(|| {
            let message = format!("the cache directory {} is not held", self.directory.display());
            Error::new(ErrorKind::Unavailable, message)
        })?;
        place.lock.stands()?;
        place.instance.get().map_or(Ok(()), Instance::stands)
    }

    /// Gives the directory up. Its locks go with the last [`Place`].
    pub(super) fn release(&self) {
        self.place.lock().take();
    }

    /// Lets go of a directory that is lost, at once: who takes it over waits for that. Nothing may be served any more that
    /// was stored there.
    pub(super) fn let_go(&self) {
        let Some(place) = self.place.lock().take() else { return };
        if let Err(error) = trust::empty_record(&place.root) {
            cache_core::log::emit(|| tracing::debug!(%error, "the record in a directory that is lost stays"));
        }
        if let Some(instance) = place.instance.get() {
            instance.unlock();
        }
        place.lock.unlock();
    }

    /// Takes the directory again, created anew where it is gone, and makes the next run trust no store there. With
    /// `takes_over` also from others who hold it. Blocks the thread.
    ///
    /// What processes that are gone left there for `owner` is for its store to cover, which begins empty.
    ///
    /// # Errors
    /// `Locked` when others hold it, `Configuration` for a directory that is not ours, `Io` when the system refuses.
    pub(super) fn retake(&self, owner: &Owner, takes_over: bool) -> Result<()> {
        files::prepare_directory(&self.directory)?;
        let path = self.directory.join(LOCK);
        let mut lock = LockFile::try_lock(&path, self.sharing)?;
        if lock.is_none() && takes_over {
            lock = LockFile::take_over(&path, self.sharing)?;
        }
        let place = Place::new(&self.directory, lock.ok_or_else(|| locked(&self.directory))?)?;
        trust::distrust(&self.directory)?;
        let instance = Instance::claim_where(&self.directory, |instance| {
            let left = Leftover::read(instance);
            Ok((!left.is_owed_to_others(owner)).then(|| left.into_instance()))
        })?;
        place.lock.stands()?;
        place.keep(instance);
        *self.place.lock() = Some(Arc::new(place));
        Ok(())
    }
}

impl Place {
    fn new(directory: &Path, lock: LockFile) -> Result<Self> {
        let root = File::open(directory).map_err(|error| files::io_error("cannot open", directory, error))?;
        Ok(Self { root, lock, instance: OnceLock::new() })
    }

    /// Keeps `instance` for as long as this.
    pub(crate) fn keep(&self, instance: Instance) {
        // There is one for each process.
        let _ = self.instance.set(instance);
    }

    /// The directory of this process in it.
    pub(super) fn instance(&self) -> Option<&Instance> {
        self.instance.get()
    }
}

/// The file of a directory's lock.
pub(crate) const LOCK: &str = "lock";
