//! The files of a cache directory: modes, refusals of what is not ours, the lock, the quarantine of a damaged database.
//!
//! Files are reached through the directory that was opened, not by its path: what stands at the path later, after the
//! directory was moved or removed, may be another process's.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cache_core::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// The database.
const DATABASE: &str = "cache.redb";
/// A new database on its way to replace the current one.
const REPLACEMENT: &str = "cache.redb.new";
/// The last database that could not be read.
const QUARANTINED: &str = "cache.redb.bad";
/// Held by the process that has the directory open; it holds that process's id.
const LOCK: &str = "cache.lock";

/// A cache directory, locked for this process.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    root: File,
    lock: File,
}

impl Directory {
    /// Creates the directory if need be, with mode 0700, and locks it.
    ///
    /// # Errors
    /// `Locked` when another process has it open, `Io` when it cannot be used.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        create_directory(path)?;
        let root = File::open(path).map_err(|error| io_error("cannot open", path, error))?;
        let lock = lock(&root, path)?;
        let directory = Self { path: path.to_owned(), root, lock };
        // What a process left that was killed in the middle of a clear takes space, and is of no use.
        directory.remove_if_there(REPLACEMENT)?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the lock still is the file at its path: else another process can lock the directory, too.
    ///
    /// # Errors
    /// `Unavailable` says what became of it.
    pub(crate) fn stands(&self) -> Result<()> {
        let path = self.path.join(LOCK);
        let became = match (self.lock.metadata(), fs::symlink_metadata(&path)) {
            (Ok(ours), Ok(there)) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) => return Ok(()),
            (Ok(_), Ok(_)) => "was replaced",
            (Err(_), _) | (_, Err(_)) => "is gone",
        };
        let message = format!("the disk cache at {} {became} while it was in use", self.path.display());
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Lets go of the lock before its time.
    pub(crate) fn unlock(&self) {
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }

    /// Opens the database file, creating it with mode 0600 if need be.
    pub(crate) fn database(&self) -> Result<File> {
        open_file(&self.root, &self.path, DATABASE)
    }

    /// Opens an empty file that [`install`](Self::install) will make the database.
    pub(crate) fn replacement(&self) -> Result<File> {
        self.remove_if_there(REPLACEMENT)?;
        open_file(&self.root, &self.path, REPLACEMENT)
    }

    /// Puts the replacement in the place of the database, durably.
    pub(crate) fn install(&self) -> Result<()> {
        self.rename(REPLACEMENT, DATABASE)
            .map_err(|error| io_error("cannot replace", &self.path.join(DATABASE), error))
    }

    /// Removes a replacement that did not come about.
    pub(crate) fn discard_replacement(&self) -> Result<()> {
        self.remove_if_there(REPLACEMENT)
    }

    /// Frees the blocks of the database, also while it is open elsewhere in this process.
    pub(crate) fn empty_database(&self) -> Result<()> {
        let emptied = self.database()?.set_len(0);
        emptied.map_err(|error| io_error("cannot empty", &self.path.join(DATABASE), error))
    }

    /// Removes the database, durably.
    pub(crate) fn remove_database(&self) -> Result<()> {
        self.remove_if_there(DATABASE)?;
        self.sync().map_err(|error| io_error("cannot sync", &self.path, error))
    }

    /// Sets the database aside, in place of the one that was set aside before.
    pub(crate) fn quarantine(&self) -> Result<PathBuf> {
        self.rename(DATABASE, QUARANTINED)
            .map_err(|error| io_error("cannot set aside", &self.path.join(DATABASE), error))?;
        Ok(self.path.join(QUARANTINED))
    }

    /// Space the quarantined database takes, in bytes.
    pub(crate) fn quarantined_bytes(&self) -> u64 {
        let file = open(&self.root, QUARANTINED, OFlags::RDONLY | OFlags::NONBLOCK);
        let metadata = file.and_then(|file| file.metadata());
        metadata.map_or(0, |metadata| if metadata.is_file() { metadata.blocks() * 512 } else { 0 })
    }

    /// Cuts the quarantined database to `bytes`, or removes it where that would leave nothing.
    pub(crate) fn shrink_quarantined(&self, bytes: u64) -> io::Result<()> {
        if bytes < 4096 {
            Ok(rustix::fs::unlinkat(&self.root, QUARANTINED, AtFlags::empty())?)
        } else {
            open(&self.root, QUARANTINED, OFlags::WRONLY)?.set_len(bytes)
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.root.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.root, from, &self.root, to)?;
        self.sync()
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
        // A child that was forked a moment ago, and runs its own program in the next, still has the file open: closing
        // it here alone would leave it locked until then.
        self.unlock();
    }
}

fn create_directory(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            return Err(refused(path, "is a symbolic link; set CACHE_DIR to the directory it points to"));
        }
        Ok(metadata) if !metadata.is_dir() => {
            return Err(refused(path, "is a file, not a directory; set CACHE_DIR to a directory"));
        }
        Ok(metadata) if !is_ours(&metadata) && !is_roots(&metadata) => {
            return Err(refused(
                path,
                "belongs to another user; set CACHE_DIR to a directory of this process's user",
            ));
        }
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("cannot use the cache directory", path, error)),
    }
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|error| io_error("cannot create the cache directory", path, error))
}

fn lock(root: &File, directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let mut file = open_file(root, directory, LOCK)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "another process" } else { &format!("process {holder}") };
            let message = format!(
                "the disk cache at {} is in use by {holder}; set CACHE_DIR to a directory of its own",
                directory.display()
            );
            return Err(Error::new(ErrorKind::Locked, message));
        }
        Err(error) => return Err(io_error("cannot lock", &path, error.into())),
    }
    // The id is for people who meet the lock; the lock does not depend on it.
    let note =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    note.map_err(|error| io_error("cannot write", &path, error))?;
    Ok(file)
}

/// Opens a file of `root`, with mode 0600 where it is created; a link is not followed.
fn open(root: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(root, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn open_file(root: &File, directory: &Path, name: &str) -> Result<File> {
    let path = &directory.join(name);
    let file =
        open(root, name, OFlags::RDWR | OFlags::CREATE).map_err(|error| match error.raw_os_error() {
            Some(code) if code == Errno::LOOP.raw_os_error() => {
                refused(path, "is a symbolic link; remove it")
            }
            _ => io_error("cannot open", path, error),
        })?;
    let metadata = file.metadata().map_err(|error| io_error("cannot examine", path, error))?;
    if !metadata.is_file() {
        return Err(refused(path, "is not a regular file; remove it"));
    }
    if !is_ours(&metadata) {
        return Err(refused(
            path,
            "belongs to another user; remove it or set CACHE_DIR to another directory",
        ));
    }
    Ok(file)
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Whether it belongs to the one user who could read it anyway: so do the volumes that containers are given.
fn is_roots(metadata: &fs::Metadata) -> bool {
    metadata.uid() == 0
}

fn refused(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Io, format!("{} {why}", path.display()))
}

fn io_error(what: &str, path: &Path, error: io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::IsADirectory => "; remove it",
        io::ErrorKind::PermissionDenied => "; make it writable for this process's user, or set CACHE_DIR",
        io::ErrorKind::ReadOnlyFilesystem => {
            "; set CACHE_DIR to a directory on a disk that can be written to"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room there, or set CACHE_DIR",
        _ => "",
    };
    Error::new(ErrorKind::Io, format!("{what} {}: {error}{advice}", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_created_is_for_this_user_alone() {
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
    fn the_quarantine_keeps_one_and_shrinks() {
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
