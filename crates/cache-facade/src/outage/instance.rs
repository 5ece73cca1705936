//! [`Instance`]: the directory `instance-N` of one process, and those of processes that died.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::files;
use super::lock::{LockFile, Sharing};

const PREFIX: &str = "instance-";

/// Most processes that share a directory; a bound for a loop, far over what anybody runs on one machine.
const MOST_INSTANCES: u32 = 4096;

/// A directory `instance-N`, locked: nobody else reads or writes what is in it.
#[derive(Debug)]
pub(crate) struct Instance {
    path: PathBuf,
    /// What [`HELD`] knows it by: its path may have ceased to exist.
    canonical: PathBuf,
    lock: LockFile,
    is_held: AtomicBool,
}

/// The directories that this process holds.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Whether this process holds an instance in `directory`: a cache that was dropped may still write its last.
pub(crate) fn is_held_here(directory: &Path) -> bool {
    HELD.lock().iter().any(|path| path.parent() == Some(&*canonical(directory)))
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Instance {
    /// Takes the first directory that nobody holds, and creates it where there is none.
    ///
    /// # Errors
    /// `Configuration` for a directory or lock that is not ours, `Io` when the system refuses.
    pub(crate) fn claim(directory: &Path) -> Result<Self> {
        Self::claim_where(directory, |instance| Ok(Some(instance)))
    }

    /// Takes the first directory that nobody holds and that `takes` takes.
    ///
    /// # Errors
    /// As for [`claim`](Self::claim), and those of `takes`.
    pub(crate) fn claim_where<T>(
        directory: &Path,
        mut takes: impl FnMut(Self) -> Result<Option<T>>,
    ) -> Result<T> {
        for number in 0..MOST_INSTANCES {
            if let Some(instance) = Self::numbered(directory, number)?
                && let Some(taken) = takes(instance)?
            {
                return Ok(taken);
            }
        }
        let message = format!("{} has {MOST_INSTANCES} running processes", directory.display());
        Err(Error::new(ErrorKind::Locked, message))
    }

    /// Takes the directory of this number, which is made if need be; `None` if somebody holds it.
    pub(crate) fn numbered(directory: &Path, number: u32) -> Result<Option<Self>> {
        let path = directory.join(format!("{PREFIX}{number}"));
        files::prepare_directory(&path)?;
        Self::try_lock(path)
    }

    /// Takes the directories of all processes that died.
    ///
    /// # Errors
    /// As for [`claim`](Self::claim).
    pub(crate) fn of_the_dead(directory: &Path) -> Result<Vec<Self>> {
        let mut dead = Vec::new();
        for (_, path) in paths(directory) {
            files::prepare_directory(&path)?;
            dead.extend(Self::try_lock(path)?);
        }
        Ok(dead)
    }

    /// Takes all directories there are, for a process that holds `directory` alone: its own and those of the dead. `None`
    /// when somebody holds one all the same: a cache of this process that was dropped and still writes its last.
    ///
    /// # Errors
    /// As for [`claim`](Self::claim).
    pub(crate) fn claim_all(directory: &Path) -> Result<Option<(Self, Vec<Self>)>> {
        let mut free = Self::of_the_dead(directory)?.into_iter();
        if free.len() < paths(directory).len() {
            return Ok(None);
        }
        let own = match free.next() {
            Some(first) => first,
            None => Self::claim(directory)?,
        };
        Ok(Some((own, free.collect())))
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it still keeps others out.
    ///
    /// # Errors
    /// As for [`LockFile::stands`].
    pub(crate) fn stands(&self) -> Result<()> {
        self.lock.stands()
    }

    /// Lets go of it before its time.
    pub(crate) fn unlock(&self) {
        if self.is_held.swap(false, Ordering::AcqRel) {
            self.lock.unlock();
            HELD.lock().remove(&self.canonical);
        }
    }

    fn try_lock(path: PathBuf) -> Result<Option<Self>> {
        let Some(lock) = LockFile::try_lock(&path.join("lock"), Sharing::Exclusive)? else {
            return Ok(None);
        };
        let canonical = canonical(&path);
        HELD.lock().insert(canonical.clone());
        Ok(Some(Self { path, canonical, lock, is_held: AtomicBool::new(true) }))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// The directories of all instances in `directory`, dead or alive, in the order of their numbers.
pub(crate) fn paths(directory: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_takes_the_first_free_number_and_the_dead_are_those_nobody_holds() {
        let root = tempfile::tempdir().unwrap();
        let first = Instance::claim(root.path()).unwrap();
        let second = Instance::claim(root.path()).unwrap();
        assert_eq!(first.path(), root.path().join("instance-0"));
        assert_eq!(second.path(), root.path().join("instance-1"));
        assert!(Instance::of_the_dead(root.path()).unwrap().is_empty());
        drop(first);
        let dead = Instance::of_the_dead(root.path()).unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!(Instance::claim(root.path()).unwrap().path(), root.path().join("instance-2"));
        drop(dead);
        assert_eq!(Instance::claim(root.path()).unwrap().path(), root.path().join("instance-0"));
    }

    #[test]
    fn all_are_taken_or_none() {
        let root = tempfile::tempdir().unwrap();
        assert!(!is_held_here(root.path()));
        let (own, dead) = Instance::claim_all(root.path()).unwrap().unwrap();
        assert!(dead.is_empty() && is_held_here(root.path()));
        let second = Instance::claim(root.path()).unwrap();
        drop(own);
        assert!(Instance::claim_all(root.path()).unwrap().is_none());
        drop(second);
        let (own, dead) = Instance::claim_all(root.path()).unwrap().unwrap();
        assert_eq!((own.path(), dead.len()), (root.path().join("instance-0").as_path(), 1));
    }

    #[test]
    fn other_names_are_no_instances() {
        let root = tempfile::tempdir().unwrap();
        for name in ["instance-x", "instance-", "instances-1", "cache.redb"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        assert!(paths(root.path()).is_empty());
    }
}
