//! [`Directory`]: the files of a cache directory, their modes and checks, the lock, the quarantine of a damaged database.
//!
//! Files are opened relative to the directory that was opened, not by its path: after the directory was moved or removed,
//! the path may lead to files of another process.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cache_core::files::{check_in_place, io_error, open_private_at, prepare_directory};
use cache_core::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// The name of the database.
const DATABASE: &str = "cache.redb";
/// A new database that will replace the current one.
const REPLACEMENT: &str = "cache.redb.new";
/// The last database that could not be read, set aside.
const QUARANTINED: &str = "cache.redb.bad";
/// A file for a moment, to try what the file system can do.
const SCRATCH: &str = "cache.try";
/// The lock file; it holds the id of the process that has the directory open.
const LOCK: &str = "cache.lock";

/// A cache directory, locked for this process.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    root: File,
    lock: File,
}

impl Directory {
    /// Opens and locks the directory; creates it with mode 0700 if it does not exist.
    ///
    /// # Errors
    /// `Locked` when another process has it open; as for [`prepare_directory`] and [`open_private_at`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        prepare_directory(path)?;
        let root = File::open(path).map_err(|error| io_error("cannot open", path, error))?;
        let lock = lock(&root, path)?;
        let directory = Self { path: path.to_owned(), root, lock };
        // Left by a process that was killed in the middle of a clear; it takes space and is of no use.
        directory.remove_if_there(REPLACEMENT)?;
        directory.remove_scratch_file();
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the lock is still the file at its path: otherwise another process can lock the directory, too.
    ///
    /// # Errors
    /// As for [`check_in_place`].
    pub(crate) fn check_in_place(&self) -> Result<()> {
        check_in_place(&self.lock, &self.path.join(LOCK))
    }

    /// Releases the lock.
    pub(crate) fn unlock(&self) {
        let _ = self.lock.unlock();
    }

    /// Opens the database file; creates it with mode 0600 if it does not exist.
    pub(crate) fn database(&self) -> Result<File> {
        self.open_private(DATABASE)
    }

    /// Creates an empty file, which [`install`](Self::install) makes the database.
    pub(crate) fn replacement(&self) -> Result<File> {
        self.remove_if_there(REPLACEMENT)?;
        self.open_private(REPLACEMENT)
    }

    /// Replaces the database by the replacement, durably.
    pub(crate) fn install(&self) -> Result<()> {
        self.rename(REPLACEMENT, DATABASE, "cannot replace")
    }

    /// Removes a replacement that could not be completed.
    pub(crate) fn discard_replacement(&self) -> Result<()> {
        self.remove_if_there(REPLACEMENT)
    }

    /// Removes the database, durably.
    ///
    /// A removed file takes space for as long as it is open anywhere, as in a reader that has not finished. So it is emptied
    /// first; where that fails, the removal still counts.
    pub(crate) fn remove_database(&self) -> Result<()> {
        if let Ok(file) = self.open_existing(DATABASE, OFlags::WRONLY) {
            let _ = file.set_len(0);
        }
        self.remove_if_there(DATABASE)?;
        self.root.sync_all().map_err(|error| io_error("cannot sync", &self.path, error))
    }

    /// Sets the database aside, in place of the one that was set aside before; returns its new path.
    pub(crate) fn quarantine(&self) -> Result<PathBuf> {
        self.rename(DATABASE, QUARANTINED, "cannot set aside")?;
        Ok(self.path.join(QUARANTINED))
    }

    /// The space of the quarantined database, in bytes.
    pub(crate) fn quarantined_bytes(&self) -> u64 {
        let file = self.open_existing(QUARANTINED, OFlags::RDONLY);
        let metadata = file.and_then(|file| file.metadata());
        metadata.map_or(0, |metadata| if metadata.is_file() { metadata.blocks() * 512 } else { 0 })
    }

    /// Truncates the quarantined database to `most` bytes; removes it if they are zero.
    pub(crate) fn shrink_quarantined(&self, most: u64) -> io::Result<()> {
        if self.quarantined_bytes() <= most {
            return Ok(());
        }
        if most == 0 {
            return Ok(rustix::fs::unlinkat(&self.root, QUARANTINED, AtFlags::empty())?);
        }
        self.open_existing(QUARANTINED, OFlags::WRONLY)?.set_len(most)
    }

    /// Opens the directory again, for the values files.
    pub(crate) fn root(&self) -> Result<File> {
        self.root.try_clone().map_err(|error| io_error("cannot open", &self.path, error))
    }

    /// Creates an empty file to try the file system with.
    pub(crate) fn scratch_file(&self) -> Result<File> {
        self.remove_scratch_file();
        self.open_private(SCRATCH)
    }

    /// Removes that file.
    pub(crate) fn remove_scratch_file(&self) {
        // One that stays is of a few blocks, and removed by the next opening.
        let _ = self.remove_if_there(SCRATCH);
    }

    fn open_private(&self, name: &str) -> Result<File> {
        open_private_at(&self.root, name.as_ref(), &self.path.join(name))
    }

    /// Opens an existing file, without following a link.
    fn open_existing(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.root, name, flags, Mode::empty())?.into())
    }

    fn rename(&self, from: &str, to: &str, what: &str) -> Result<()> {
        let renamed = rustix::fs::renameat(&self.root, from, &self.root, to).map_err(io::Error::from);
        renamed
            .and_then(|()| self.root.sync_all())
            .map_err(|error| io_error(what, &self.path.join(DATABASE), error))
    }

    fn remove_if_there(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.root, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io_error("cannot remove", &self.path.join(name), error.into())),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A child process between fork and exec still has the file open: only an explicit unlock releases the lock
        // before the exec.
        self.unlock();
    }
}

fn lock(root: &File, directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let mut file = open_private_at(root, LOCK.as_ref(), &path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                id => format!("process {id}"),
            };
            let message = format!(
                "the disk cache at {} is in use by {holder}; set CACHE_DIR to a directory of its own",
                directory.display()
            );
            return Err(Error::new(ErrorKind::Locked, message));
        }
        Err(TryLockError::Error(error)) => return Err(io_error("cannot lock", &path, error)),
    }
    // The id is for the error message; the lock does not depend on it.
    let note =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    note.map_err(|error| io_error("cannot write", &path, error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn created_files_are_private_to_this_user() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let directory = Directory::open(&path).unwrap();
        directory.database().unwrap();
        assert_eq!((mode(&path), mode(&path.join(DATABASE)), mode(&path.join(LOCK))), (0o700, 0o600, 0o600));
    }

    #[test]
    fn a_second_opening_names_the_path_and_the_process() {
        let root = tempfile::tempdir().unwrap();
        let _first = Directory::open(root.path()).unwrap();
        let error = Directory::open(root.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        let text = error.to_string();
        assert!(
            text.contains(&root.path().display().to_string())
                && text.contains(&std::process::id().to_string())
        );
    }

    #[test]
    fn links_and_files_in_place_of_the_directory_are_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        assert!(Directory::open(&victim).unwrap_err().to_string().contains("is a file"));
        let link = root.path().join("link");
        symlink(root.path(), &link).unwrap();
        assert!(Directory::open(&link).unwrap_err().to_string().contains("symbolic link"));
        let cache = root.path().join("cache");
        fs::create_dir(&cache).unwrap();
        symlink(&victim, cache.join(DATABASE)).unwrap();
        let directory = Directory::open(&cache).unwrap();
        assert!(directory.database().unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn the_quarantine_keeps_one_file_and_shrinks() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        for round in 0..2 {
            fs::write(root.path().join(DATABASE), vec![round; 1 << 16]).unwrap();
            directory.quarantine().unwrap();
        }
        assert!(directory.quarantined_bytes() >= 1 << 16);
        directory.shrink_quarantined(8192).unwrap();
        assert_eq!(directory.quarantined_bytes(), 8192);
        directory.shrink_quarantined(0).unwrap();
        assert_eq!(directory.quarantined_bytes(), 0);
    }
}
