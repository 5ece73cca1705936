//! [`HeldDirectory`]: the locks of this process in the cache directory, and whether they still exclude other processes.
//!
//! A lock file can be removed, moved or replaced under a running process, as by `rm -r` of the directory or a mount over it.
//! From then on it excludes no other process: one that starts with the same settings locks a file of its own, caches what it
//! reads, and never hears of this process's changes. The thread of the journal therefore compares the locked files with those
//! at their paths once a second, and after each note that it writes, before the change may be committed. A change also compares them after
//! its commit, before it is acknowledged. A directory that another process has by then is taken over from it. The steps, and what they do not cover, are
//! history 31 in `docs/histories.md`.

use std::fmt::Debug;
use std::fs::File;
use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use cache_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::instance;
use super::lock::{self, LockFile, Sharing};
use super::{files, last_run};

/// The file of a directory's lock.
pub(crate) const LOCK: &str = "lock";

/// A store that may serve its values only while the directory is held.
pub(crate) trait Suspend: Debug + Send + Sync + 'static {
    /// Called when the directory is lost. When it returns, no value that was stored before is served.
    fn suspend(&self, cause: &Error);

    /// Called when a directory is held again: starts an empty store. Blocks the thread.
    ///
    /// # Errors
    /// Those of the store; it stays suspended, and this is called again a second later.
    fn resume(&self) -> Result<()>;
}

/// The cache directory of this process.
#[derive(Debug)]
pub(crate) struct HeldDirectory {
    path: PathBuf,
    sharing: Sharing,
    /// Whether this process has held it: values that it cached there, or that another process caches there now, depend on it.
    was_held: AtomicBool,
    /// `None` while the directory is lost, and after it was released.
    locks: Mutex<Option<Arc<Locks>>>,
}

/// The locks in one directory. They are released with the last reference: a change in progress keeps one, so that the next
/// process does not start before the change has ended.
#[derive(Debug)]
pub(crate) struct Locks {
    /// The directory itself, wherever it is moved.
    root: File,
    lock: LockFile,
    instance: OnceLock<LockFile>,
}

impl HeldDirectory {
    /// Locks `path`, waiting 45 seconds for other processes to release it.
    ///
    /// # Errors
    /// `Locked` after that time, with the directory and the process; else as for [`LockFile::try_lock`].
    pub(crate) async fn take(path: &Path, sharing: Sharing) -> Result<Arc<Self>> {
        let file = path.join(LOCK);
        let mut lock = LockFile::try_lock(&file, sharing)?;
        if lock.is_none() {
            let held_by = holders(path);
            cache_core::log::info!(directory = %path.display(), held_by, "waiting for the cache directory");
            lock = lock::retry(|| ready(LockFile::try_lock(&file, sharing))).await?;
        }
        let locks = Locks::new(path, lock.ok_or_else(|| locked(path))?)?;
        Ok(Self::new(path, sharing, Some(Arc::new(locks))))
    }

    /// A directory that cannot be used: it is lost from the start.
    pub(crate) fn lost(path: &Path, sharing: Sharing) -> Arc<Self> {
        Self::new(path, sharing, None)
    }

    fn new(path: &Path, sharing: Sharing, locks: Option<Arc<Locks>>) -> Arc<Self> {
        let was_held = AtomicBool::new(locks.is_some());
        Arc::new(Self { path: path.to_owned(), sharing, was_held, locks: Mutex::new(locks) })
    }

    /// The path of the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of this instance, while it is held.
    pub(crate) fn instance_path(&self) -> Option<PathBuf> {
        self.locks().and_then(|locks| Some(locks.instance()?.directory().to_owned()))
    }

    /// The locks that are held now.
    pub(crate) fn locks(&self) -> Option<Arc<Locks>> {
        self.locks.lock().clone()
    }

    /// Keeps `instance` with the locks.
    pub(crate) fn keep(&self, instance: LockFile) {
        if let Some(locks) = self.locks() {
            // A process claims one instance.
            let _ = locks.instance.set(instance);
        }
    }

    /// Checks that the locks still exclude other processes.
    ///
    /// # Errors
    /// `Unavailable`, with what happened to the directory.
    ///
    /// # Cost
    /// A few system calls, some microseconds.
    pub(crate) fn check_in_place(&self) -> Result<()> {
        let locks = self.locks().ok_or_else(|| {
            let message = format!("the cache directory {} is not held", self.path.display());
            Error::new(ErrorKind::Unavailable, message)
        })?;
        locks.lock.check_in_place()?;
        locks.instance().map_or(Ok(()), LockFile::check_in_place)
    }

    /// Releases the directory, when the last reference to its [`Locks`] is dropped.
    pub(crate) fn release(&self) {
        self.locks.lock().take();
    }

    /// Releases a lost directory at once: a process that takes it over waits for that. The store must be suspended before.
    pub(crate) fn abandon(&self) {
        let Some(locks) = self.locks.lock().take() else { return };
        if let Err(error) = last_run::empty_record(&locks.root) {
            cache_core::log::debug!(%error, "cannot empty the record of a lost directory");
        }
        if let Some(instance) = locks.instance() {
            instance.unlock();
        }
        locks.lock.unlock();
    }

    /// Takes the directory again, created anew if it is gone, and makes the next run trust no store there. With `takes_over`
    /// also from other processes. Blocks the thread. `claim` claims the instance.
    ///
    /// # Errors
    /// `Locked` when other processes hold it or may hold it, `Configuration` for a directory of another user, `Io` when the
    /// system refuses and no process can hold it.
    pub(crate) fn retake(
        &self,
        takes_over: bool,
        claim: impl FnOnce(&Path) -> Result<LockFile>,
    ) -> Result<()> {
        let file = self.path.join(LOCK);
        let prepared = files::prepare_directory(&self.path);
        let mut lock = prepared.and_then(|()| LockFile::try_lock(&file, self.sharing));
        if takes_over && matches!(lock, Ok(None)) {
            lock = LockFile::take_over(&file, self.sharing);
        }
        let lock = match lock {
            Err(error) if !self.was_held.load(Ordering::Relaxed) || !may_be_locked(&file) => {
                return Err(error);
            }
            lock => lock.ok().flatten().ok_or_else(|| locked(&self.path))?,
        };
        // A process that was replaced holds its instance until it serves no value any more.
        if self.sharing == Sharing::Exclusive && instance::any_is_held(&self.path)? {
            return Err(locked(&self.path));
        }
        let locks = Locks::new(&self.path, lock)?;
        last_run::distrust(&self.path)?;
        let instance = claim(&self.path)?;
        locks.lock.check_in_place()?;
        let _ = locks.instance.set(instance);
        *self.locks.lock() = Some(Arc::new(locks));
        self.was_held.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Locks {
    fn new(directory: &Path, lock: LockFile) -> Result<Self> {
        let root = File::open(directory).map_err(|error| files::io_error("cannot open", directory, error))?;
        Ok(Self { root, lock, instance: OnceLock::new() })
    }

    /// The lock of this process's instance.
    pub(crate) fn instance(&self) -> Option<&LockFile> {
        self.instance.get()
    }
}

/// Whether the file, which this process cannot lock, may be that of a running process.
fn may_be_locked(file: &Path) -> bool {
    match std::fs::symlink_metadata(file) {
        Ok(metadata) => metadata.is_file(),
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

/// The error for a directory that other processes hold.
pub(crate) fn locked(directory: &Path) -> Error {
    let message = format!(
        "the cache directory {} is in use by {}; stop it, or set CACHE_DIR to a directory of its own",
        directory.display(),
        holders(directory)
    );
    Error::new(ErrorKind::Locked, message)
}

fn holders(directory: &Path) -> String {
    let directories = [directory.to_owned()].into_iter().chain(instance::paths(directory));
    lock::holders(directories.map(|directory| directory.join(LOCK)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_is_never_released_is_an_error_after_45_seconds_with_its_path_and_process() {
        let root = tempfile::tempdir().unwrap();
        let _other = LockFile::try_lock(&root.path().join("lock"), Sharing::Exclusive).unwrap().unwrap();
        let before = tokio::time::Instant::now();
        let error = HeldDirectory::take(root.path(), Sharing::Exclusive).await.unwrap_err();
        assert_eq!(before.elapsed().as_secs(), 45);
        assert_eq!(error.kind(), ErrorKind::Locked);
        let text = error.to_string();
        assert!(text.contains(&root.path().display().to_string()), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_is_released_in_time_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let other = LockFile::try_lock(&root.path().join("lock"), Sharing::Shared).unwrap().unwrap();
        let waiting = HeldDirectory::take(root.path(), Sharing::Exclusive);
        let release = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(other);
        };
        let (taken, ()) = tokio::join!(waiting, release);
        taken.unwrap();
    }
}
