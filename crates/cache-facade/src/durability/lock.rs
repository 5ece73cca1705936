//! [`LockFile`]: a lock that ends with its process, and names it.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::{Clock, Result, SystemClock, random_nonzero};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::Pid;

use super::files;

/// How long [`retry`] waits for the process before this one to release the directory, as in a rolling restart.
///
/// Longer than an application lets requests run after it was told to stop, and the cache then takes to close: image-manager
/// gives requests 20 seconds by default, and closing takes at most 10.
const LONGEST_WAIT: Duration = Duration::from_secs(45);

/// How long [`LockFile::take_over`] waits for other processes to notice, which they do within a second.
const LONGEST_TAKE_OVER: Duration = Duration::from_secs(5);

/// Time between two attempts: the system has no lock call with a time-out.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether other processes may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// No other process may.
    Exclusive,
    /// Others that share it may.
    Shared,
}

/// A file that is locked as long as this value lives, and holds the id of the process that locked it last.
///
/// Removed only to [take it over](Self::take_over): a lock on a file that is not at its path excludes no other process.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    path: PathBuf,
    /// Its entry in [`HELD`]; the path may not exist any more when it is removed.
    canonical: PathBuf,
    is_held: AtomicBool,
}

/// The lock files that this process holds.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Returns the canonical paths of the lock files that this process holds.
pub(super) fn held_here() -> Vec<PathBuf> {
    HELD.lock().iter().cloned().collect()
}

impl LockFile {
    /// Locks `path`; `None` when another holder has it, or when the file was replaced meanwhile.
    ///
    /// # Errors
    /// As for [`files::open_private`].
    pub(crate) fn try_lock(path: &Path, sharing: Sharing) -> Result<Option<Self>> {
        let file = files::open_private(path)?;
        let locked = match sharing {
            Sharing::Exclusive => file.try_lock(),
            Sharing::Shared => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(files::io_error("cannot lock", path, error)),
        }
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        HELD.lock().insert(canonical.clone());
        let lock = Self { file, path: path.to_owned(), canonical, is_held: AtomicBool::new(true) };
        if lock.check_in_place().is_err() {
            return Ok(None);
        }
        if sharing == Sharing::Exclusive {
            lock.sign();
        }
        Ok(Some(lock))
    }

    /// Locks `path` in place of its holders: replaces their file, which they notice by
    /// [`check_in_place`](Self::check_in_place), and waits until they have released it. `None` when they do not in 5 seconds.
    ///
    /// For a process that had the directory, lost it, and has changed the database since: values that others cached there
    /// must not be served any more. Blocks the thread.
    ///
    /// # Errors
    /// As for [`try_lock`](Self::try_lock).
    pub(crate) fn take_over(path: &Path, sharing: Sharing) -> Result<Option<Self>> {
        let mut replaced: Vec<File> = Vec::new();
        let mut own: Option<Self> = None;
        retry_blocking(LONGEST_TAKE_OVER, || {
            if own.take_if(|lock| lock.check_in_place().is_err()).is_some() {
                // Another process takes the lock over from this one at the same time: the one that sleeps longer loses.
                std::thread::sleep(Duration::from_millis(50 + random_nonzero().get() % 450));
            }
            if own.is_none() {
                own = Self::try_lock(path, sharing)?;
            }
            if own.is_none() {
                replaced.extend(set_aside(path)?);
            }
            replaced.retain(|file| file.try_lock().is_err());
            Ok(own.take_if(|_| replaced.is_empty()))
        })
    }

    /// Checks that the lock still excludes other processes: the locked file is the one at its path.
    ///
    /// # Errors
    /// As for [`files::check_in_place`].
    pub(crate) fn check_in_place(&self) -> Result<()> {
        files::check_in_place(&self.file, &self.path)
    }

    /// The directory of the file.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Releases the lock before the value is dropped.
    pub(crate) fn unlock(&self) {
        if !self.is_held.swap(false, Ordering::AcqRel) {
            return;
        }
        // Closing alone is not enough: a child that was just forked holds the same lock until it runs its program.
        if let Err(error) = self.file.unlock() {
            cache_core::log::debug!(%error, "cannot release a lock before its file is closed");
        }
        HELD.lock().remove(&self.canonical);
    }

    /// Writes this process's id into the file. The lock does not depend on it.
    fn sign(&self) {
        let mut file = &self.file;
        let truncated = file.set_len(0).and_then(|()| file.rewind());
        if let Err(error) = truncated.and_then(|()| write!(file, "{}", std::process::id())) {
            cache_core::log::debug!(%error, "cannot write the process id into a lock file");
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// Moves the file away from `path` and opens it, to wait for its lock. It is opened after the move, under a name that no
/// other process uses, so that it is the file that was at `path`.
fn set_aside(path: &Path) -> Result<Option<File>> {
    let aside = path.with_extension(format!("{:x}", random_nonzero()));
    match fs::rename(path, &aside) {
        Ok(()) => {
            let file = files::open_private(&aside);
            // A crash before this leaves an empty file.
            let _ = fs::remove_file(&aside);
            file.map(Some)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(files::io_error("cannot set aside", path, error)),
    }
}

/// Repeats `attempt` until it returns a value, for 45 seconds.
///
/// # Errors
/// The attempt's own, at once.
// Not an `AsyncFnMut`: the compiler cannot tell that its futures can be sent to another thread.
pub(crate) async fn retry<T, Fut>(mut attempt: impl FnMut() -> Fut) -> Result<Option<T>>
where
    Fut: Future<Output = Result<Option<T>>>,
{
    let mut waited = Duration::ZERO;
    loop {
        let outcome = attempt().await?;
        if outcome.is_some() || waited >= LONGEST_WAIT {
            return Ok(outcome);
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}

/// Repeats `attempt` until it returns a value, for `limit`, and blocks the thread meanwhile.
///
/// # Errors
/// The attempt's own, at once.
pub(crate) fn retry_blocking<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = SystemClock.monotonic().saturating_add(limit);
    loop {
        let outcome = attempt()?;
        if outcome.is_some() || SystemClock.monotonic() >= deadline {
            return Ok(outcome);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Names the processes that signed the lock files `paths`, for an error message. Takes no lock, which could keep another
/// process from taking it.
pub(crate) fn holders(paths: impl Iterator<Item = PathBuf>) -> String {
    let mut ids: Vec<i32> = paths.filter_map(|path| signature(&path)).collect();
    ids.sort_unstable();
    ids.dedup();
    // In another container the ids name other processes; then all of them are listed.
    if ids.iter().any(|id| is_alive(*id)) {
        ids.retain(|id| is_alive(*id));
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    match ids.as_slice() {
        [] => "another process".to_owned(),
        [id] => format!("process {id}"),
        ids => format!("processes {}", ids.join(", ")),
    }
}

/// The id in a lock file.
fn signature(path: &Path) -> Option<i32> {
    let mut id = String::new();
    files::open_to_read(path).ok()?.take(16).read_to_string(&mut id).ok()?;
    id.trim().parse().ok()
}

fn is_alive(id: i32) -> bool {
    let Some(id) = Pid::from_raw(id) else { return false };
    matches!(rustix::process::test_kill_process(id), Ok(()) | Err(Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_or_shared() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let alone = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
        assert!(LockFile::try_lock(&path, Sharing::Exclusive).unwrap().is_none());
        assert!(LockFile::try_lock(&path, Sharing::Shared).unwrap().is_none());
        drop(alone);
        let shared = LockFile::try_lock(&path, Sharing::Shared).unwrap().unwrap();
        let _too = LockFile::try_lock(&path, Sharing::Shared).unwrap().unwrap();
        assert!(LockFile::try_lock(&path, Sharing::Exclusive).unwrap().is_none());
        drop(shared);
    }

    #[test]
    fn a_lock_is_free_at_once_though_a_child_was_just_forked() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let lock = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
        // A child holds this between its fork and its own program.
        let _inherited = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(LockFile::try_lock(&path, Sharing::Exclusive).unwrap().is_some());
    }

    #[test]
    fn a_lock_whose_file_was_removed_or_replaced_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let lock = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
        lock.check_in_place().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(lock.check_in_place().unwrap_err().to_string().contains("is gone"));
        let other = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
        other.check_in_place().unwrap();
        assert!(lock.check_in_place().unwrap_err().to_string().contains("was replaced"));
    }

    #[test]
    fn taking_over_waits_for_every_holder_and_gives_up_on_one_that_keeps_the_lock() {
        for sharing in [Sharing::Exclusive, Sharing::Shared] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("lock");
            let held = LockFile::try_lock(&path, sharing).unwrap().unwrap();
            assert!(
                LockFile::take_over(&path, Sharing::Exclusive).unwrap().is_none(),
                "it is never released"
            );
            let next = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
            assert!(held.check_in_place().is_err());
            std::thread::scope(|scope| {
                let taking = scope.spawn(|| LockFile::take_over(&path, Sharing::Exclusive).unwrap());
                while next.check_in_place().is_ok() {
                    std::thread::sleep(PAUSE);
                }
                std::thread::sleep(PAUSE * 5);
                assert!(!taking.is_finished());
                drop(next);
                taking.join().unwrap().unwrap().check_in_place().unwrap();
            });
        }
    }

    #[test]
    fn one_of_two_that_take_over_at_the_same_time_has_the_lock_within_two_seconds() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
        let began = SystemClock.monotonic();
        let taken = std::thread::scope(|scope| {
            let take = || {
                let taken = LockFile::take_over(&path, Sharing::Exclusive).unwrap().is_some();
                (taken, SystemClock.monotonic().saturating_since(began))
            };
            let takers = [scope.spawn(take), scope.spawn(take)];
            while held.check_in_place().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(PAUSE * 5);
            held.unlock();
            takers.map(|taker| taker.join().unwrap())
        });
        let soonest = taken.iter().filter(|(taken, _)| *taken).map(|(_, after)| *after).min();
        assert!(soonest.is_some_and(|after| after < Duration::from_secs(2)), "{taken:?}");
    }
}
