//! Instances: the directories `instance-N`, each locked by one process for its life. One that is not locked was left by a dead
//! process. The [`LockFile`] of its lock stands for an instance.

use std::fs;
use std::path::{Path, PathBuf};

use cache_core::{Error, ErrorKind, Result};

use super::files;
use super::lock::{LockFile, Sharing, held_here};

const PREFIX: &str = "instance-";

/// Most processes that share a directory; a bound for a loop, far above the processes of one machine.
const MOST_INSTANCES: u32 = 4096;

/// Takes the first instance that no process holds and that `accept` accepts, creating it if need be.
///
/// # Errors
/// `Configuration` for a directory or lock of another user, `Io` when the system refuses.
pub(crate) fn claim<T>(directory: &Path, accept: impl Fn(LockFile) -> Option<T>) -> Result<T> {
    for number in 0..MOST_INSTANCES {
        let instance = try_lock(&directory.join(format!("{PREFIX}{number}")))?;
        if let Some(accepted) = instance.and_then(&accept) {
            return Ok(accepted);
        }
    }
    let message = format!("{} has {MOST_INSTANCES} running processes", directory.display());
    Err(Error::new(ErrorKind::Locked, message))
}

/// Takes the instances of all dead processes.
///
/// # Errors
/// As for [`claim`].
pub(crate) fn claim_dead(directory: &Path) -> Result<Vec<LockFile>> {
    paths(directory).iter().filter_map(|path| try_lock(path).transpose()).collect()
}

/// Takes all instances, for a process that holds `directory` exclusively: one for itself, and those of dead processes.
/// `None` when one is still held: by a dropped cache of this process that is still writing.
///
/// # Errors
/// As for [`claim`].
pub(crate) fn claim_all(directory: &Path) -> Result<Option<(LockFile, Vec<LockFile>)>> {
    let mut dead = claim_dead(directory)?.into_iter();
    if dead.len() < paths(directory).len() {
        return Ok(None);
    }
    let own = dead.next().map_or_else(|| claim(directory, Some), Ok)?;
    Ok(Some((own, dead.collect())))
}

/// Whether a process holds an instance in `directory`.
///
/// # Errors
/// As for [`claim`].
pub(crate) fn any_is_held(directory: &Path) -> Result<bool> {
    Ok(claim_dead(directory)?.len() < paths(directory).len())
}

/// Whether this process holds an instance in `directory`: the journal of a dropped cache may still be writing.
pub(crate) fn is_held_here(directory: &Path) -> bool {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    held_here().iter().any(|lock| lock.parent().and_then(Path::parent) == Some(directory.as_path()))
}

/// The directories of all instances in `directory`, of live and dead processes, by number.
pub(crate) fn paths(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse::<u32>().ok();
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| number(path).is_some());
    found.sort_by_key(number);
    found
}

fn try_lock(path: &Path) -> Result<Option<LockFile>> {
    files::prepare_directory(path)?;
    LockFile::try_lock(&path.join("lock"), Sharing::Exclusive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_takes_the_first_free_number_and_unlocked_instances_are_dead() {
        let root = tempfile::tempdir().unwrap();
        let first = claim(root.path(), Some).unwrap();
        let second = claim(root.path(), Some).unwrap();
        assert_eq!(first.directory(), root.path().join("instance-0"));
        assert_eq!(second.directory(), root.path().join("instance-1"));
        assert!(claim_dead(root.path()).unwrap().is_empty());
        drop(first);
        let dead = claim_dead(root.path()).unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!(claim(root.path(), Some).unwrap().directory(), root.path().join("instance-2"));
        drop(dead);
        assert_eq!(claim(root.path(), Some).unwrap().directory(), root.path().join("instance-0"));
    }

    #[test]
    fn claiming_all_fails_while_one_is_held() {
        let root = tempfile::tempdir().unwrap();
        assert!(!is_held_here(root.path()));
        let (own, dead) = claim_all(root.path()).unwrap().unwrap();
        assert!(dead.is_empty() && is_held_here(root.path()));
        let second = claim(root.path(), Some).unwrap();
        drop(own);
        assert!(claim_all(root.path()).unwrap().is_none());
        drop(second);
        let (own, dead) = claim_all(root.path()).unwrap().unwrap();
        assert_eq!((own.directory(), dead.len()), (root.path().join("instance-0").as_path(), 1));
    }

    #[test]
    fn directories_with_other_names_are_ignored() {
        let root = tempfile::tempdir().unwrap();
        for name in ["instance-x", "instance-", "instances-1", "cache.redb"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        assert!(paths(root.path()).is_empty());
    }
}
