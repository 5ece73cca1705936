//! [`LockFile`]: a lock that ends with its process, and says whose it is.

use std::fs::{File, TryLockError};
use std::future::ready;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::{Clock, Error, ErrorKind, Result, SystemClock, random_nonzero};
use rustix::io::Errno;
use rustix::process::Pid;

use super::{files, instance};

/// How long a cache waits for the one before it to let go of the directory, as in a rolling restart.
///
/// Longer than an application lets requests run once it was told to stop, and the cache then takes to close: image-manager
/// gives requests 20 seconds by default, and closing takes 10 at most.
const LONGEST_WAIT: Duration = Duration::from_secs(45);

/// How long [`LockFile::take_over`] waits for others to notice, which they do within a second.
const LONGEST_TAKE_OVER: Duration = Duration::from_secs(5);

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

/// A file that is locked as long as this value lives. Never removed by this crate but to [take it over](Self::take_over):
/// a lock on a file that is not at its path keeps nobody out.
///
/// It holds the id of the process that locked it last, for people.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Locks `path` if nobody else has it; `None` otherwise, and when the file was replaced meanwhile.
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
        let lock = Self { file, path: path.to_owned() };
        if lock.stands().is_err() {
            return Ok(None);
        }
        if sharing == Sharing::Exclusive {
            lock.sign();
        }
        Ok(Some(lock))
    }

    /// Locks `CACHE_DIR/lock`, waiting 45 seconds for others to let go.
    ///
    /// # Errors
    /// `Locked` after that time, naming the directory and the process; else as for [`try_lock`](Self::try_lock).
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

    /// Locks `path` in the place of those who hold it: their file is replaced, which they notice by [`stands`](Self::stands),
    /// and they are waited for until they have let go of it. `None` if they do not in time.
    ///
    /// For a process that had the directory, lost it, and has changed the database meanwhile: what others cached there
    /// must not be served any more. Blocks the thread.
    ///
    /// # Errors
    /// As for [`try_lock`](Self::try_lock).
    pub(crate) fn take_over(path: &Path, sharing: Sharing) -> Result<Option<Self>> {
        let deadline = SystemClock.monotonic().saturating_add(LONGEST_TAKE_OVER);
        let mut others: Vec<File> = Vec::new();
        let mut own: Option<Self> = None;
        while SystemClock.monotonic() < deadline {
            // Another process may take over from this one at the same time.
            own = own.filter(|lock| lock.stands().is_ok());
            if own.is_none() {
                own = Self::try_lock(path, sharing)?;
                if own.is_none() {
                    others.extend(set_aside(path)?);
                    continue;
                }
            }
            others.retain(|file| file.try_lock().is_err());
            if others.is_empty() {
                return Ok(own);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// Whether it still keeps others out: the file that is locked is the one at its path.
    ///
    /// # Errors
    /// `Unavailable` says what became of it.
    pub(crate) fn stands(&self) -> Result<()> {
        files::stands(&self.file, &self.path)
    }

    /// Lets go of it before its time.
    pub(crate) fn unlock(&self) {
        // Closing alone is not enough: a child that was just forked holds the same lock until it runs its program.
        if let Err(error) = self.file.unlock() {
            cache_core::log::emit(|| tracing::debug!(%error, "a lock goes with its file"));
        }
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
        self.unlock();
    }
}

/// Takes the file away from `path`, and gives it, for whoever waits for its lock. It is moved first and opened then, so
/// that it is the very file that stood there, and moved to a name that no other process uses.
fn set_aside(path: &Path) -> Result<Option<File>> {
    let aside = path.with_extension(format!("{:x}", random_nonzero()));
    match std::fs::rename(path, &aside) {
        Ok(()) => {
            let file = files::open_private(&aside);
            // What stays after a crash in between is an empty file.
            let _ = std::fs::remove_file(&aside);
            file.map(Some)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(files::io_error("cannot set aside", path, error)),
    }
}

/// Tries `attempt` until it gives something, for 45 seconds.
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
    async fn a_lock_that_is_never_let_go_is_an_error_after_45_seconds_that_names_path_and_process() {
        let root = tempfile::tempdir().unwrap();
        let _other = LockFile::try_lock(&root.path().join("lock"), Sharing::Exclusive).unwrap().unwrap();
        let before = tokio::time::Instant::now();
        let error = LockFile::lock_directory(root.path(), Sharing::Exclusive).await.unwrap_err();
        assert_eq!(before.elapsed().as_secs(), 45);
        assert_eq!(error.kind(), ErrorKind::Locked);
        let text = error.to_string();
        assert!(text.contains(&root.path().display().to_string()), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    }

    #[test]
    fn a_lock_whose_file_is_gone_or_another_keeps_nobody_out() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let lock = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
        lock.stands().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(lock.stands().unwrap_err().to_string().contains("is gone"));
        let other = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
        other.stands().unwrap();
        assert!(lock.stands().unwrap_err().to_string().contains("was replaced"));
    }

    #[test]
    fn taking_over_waits_for_all_who_held_the_lock_and_gives_up_on_one_that_keeps_it() {
        for sharing in [Sharing::Exclusive, Sharing::Shared] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("lock");
            let held = LockFile::try_lock(&path, sharing).unwrap().unwrap();
            assert!(
                LockFile::take_over(&path, Sharing::Exclusive).unwrap().is_none(),
                "it is never let go of"
            );
            let next = LockFile::try_lock(&path, Sharing::Exclusive).unwrap().unwrap();
            assert!(held.stands().is_err());
            std::thread::scope(|scope| {
                let taking = scope.spawn(|| LockFile::take_over(&path, Sharing::Exclusive).unwrap());
                while next.stands().is_ok() {
                    std::thread::sleep(PAUSE);
                }
                std::thread::sleep(PAUSE * 5);
                assert!(!taking.is_finished());
                drop(next);
                taking.join().unwrap().unwrap().stands().unwrap();
            });
        }
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
