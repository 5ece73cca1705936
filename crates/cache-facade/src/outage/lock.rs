//! [`LockFile`]: a lock that ends with its process, and says whose it is.

use std::fs::{File, TryLockError};
use std::future::ready;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use rustix::io::Errno;
use rustix::process::Pid;

use super::{files, instance};

/// How long a cache waits for the one before it to let go of the directory, as in a rolling restart.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often it tries: the system offers no wait with an end.
const PAUSE: Duration = Duration::from_millis(20);

/// With whom a lock may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// With nobody.
    Exclusive,
    /// With others who share it.
    Shared,
}

/// A file that is locked as long as this value lives; never removed, because a lock on a removed file is nobody's.
///
/// It holds the id of the process that locked it last, for people.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
}

impl LockFile {
    /// Locks `path` if nobody else has it; `None` otherwise.
    ///
    /// # Errors
    /// `Configuration` for a file that is not ours, `Io` when the system refuses.
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
        let lock = Self { file };
        if sharing == Sharing::Exclusive {
            lock.sign();
        }
        Ok(Some(lock))
    }

    /// Locks `CACHE_DIR/lock`, waiting ten seconds for others to let go.
    ///
    /// # Errors
    /// `Locked` after ten seconds, naming the directory and the process; else as for [`try_lock`](Self::try_lock).
    pub(crate) async fn lock_directory(directory: &Path, sharing: Sharing) -> Result<Self> {
        let path = directory.join("lock");
        if let Some(lock) = Self::try_lock(&path, sharing)? {
            return Ok(lock);
        }
        let held_by = holders(directory);
        cache_core::log::emit(
            || tracing::info!(directory = %directory.display(), held_by, "waiting for the cache directory"),
        );
        patiently(|| ready(Self::try_lock(&path, sharing))).await?.ok_or_else(|| locked(directory))
    }

    /// Writes this process's id into the file. The lock does not depend on it.
    fn sign(&self) {
        let mut file = &self.file;
        let signed = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(error) = signed {
            cache_core::log::emit(|| tracing::debug!(%error, "the lock does not name this process"));
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that was just forked holds the same lock until it runs its program.
        if let Err(error) = self.file.unlock() {
            cache_core::log::emit(|| tracing::debug!(%error, "a lock goes with its file"));
        }
    }
}

/// Tries `attempt` until it gives something, for ten seconds.
///
/// # Errors
/// The attempt's own, at once.
///
/// The attempts are no `AsyncFnMut`, whose futures cannot be sent to another thread as far as the compiler can see.
pub(crate) async fn patiently<T, Fut>(mut attempt: impl FnMut() -> Fut) -> Result<Option<T>>
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

/// The error of a cache directory that somebody else keeps.
pub(crate) fn locked(directory: &Path) -> Error {
    let message = format!(
        "the cache directory {} is in use by {}; stop it, or set CACHE_DIR to a directory of its own",
        directory.display(),
        holders(directory)
    );
    Error::new(ErrorKind::Locked, message)
}

/// The processes that seem to hold locks in `directory`, for people: looking must not take a lock, which could keep
/// somebody else from taking it.
fn holders(directory: &Path) -> String {
    let mut locks = vec![directory.join("lock")];
    locks.extend(instance::paths(directory).into_iter().map(|(_, path)| path.join("lock")));
    let mut ids: Vec<i32> = locks.iter().filter_map(|path| signature(path)).collect();
    ids.sort_unstable();
    ids.dedup();
    // In another container ids mean other processes; then all that signed are named.
    let alive: Vec<i32> = ids.iter().copied().filter(|id| is_alive(*id)).collect();
    let named: Vec<String> =
        if alive.is_empty() { &ids } else { &alive }.iter().map(ToString::to_string).collect();
    match named.as_slice() {
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
    fn one_holds_it_alone_or_several_share_it() {
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
        // What a child has between its fork and its own program.
        let _inherited = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(LockFile::try_lock(&path, Sharing::Exclusive).unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_never_let_go_is_an_error_after_ten_seconds_that_names_path_and_process() {
        let root = tempfile::tempdir().unwrap();
        let _other = LockFile::try_lock(&root.path().join("lock"), Sharing::Exclusive).unwrap().unwrap();
        let before = tokio::time::Instant::now();
        let error = LockFile::lock_directory(root.path(), Sharing::Exclusive).await.unwrap_err();
        assert_eq!(before.elapsed().as_secs(), 10);
        assert_eq!(error.kind(), ErrorKind::Locked);
        let text = error.to_string();
        assert!(text.contains(&root.path().display().to_string()), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_let_go_in_time_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let other = LockFile::try_lock(&root.path().join("lock"), Sharing::Shared).unwrap().unwrap();
        let waiting = LockFile::lock_directory(root.path(), Sharing::Exclusive);
        let letting_go = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(other);
        };
        let (taken, ()) = tokio::join!(waiting, letting_go);
        taken.unwrap();
    }
}
