//! Files for this process's user alone: private modes whatever the umask, and a refusal of links and of other users' files.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// Creates the directory `path` and its parents with mode 0700, unless it exists.
///
/// # Errors
/// `Configuration` when it is a link, a file, or another user's; `Io` when the system refuses.
pub fn prepare_directory(path: &Path) -> Result<()> {
    if check_directory(path)? {
        return Ok(());
    }
    let failed = |error| io_error("cannot create the cache directory", path, error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
    // A file synced inside the directory is durable only if the directory's own name is.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.map_or(Ok(()), sync_directory) {
        // A parent that cannot be read cannot be synced: after a power loss the new directory may be gone with all in it.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Checks that [`prepare_directory`] would accept `path`, and creates nothing; returns whether it exists.
///
/// # Errors
/// As for [`prepare_directory`].
pub fn check_directory(path: &Path) -> Result<bool> {
    let Some(metadata) = metadata(path)? else { return Ok(false) };
    let refusal = if metadata.is_symlink() {
        "is a symbolic link; set CACHE_DIR to the directory it points to"
    } else if !metadata.is_dir() {
        "is a file, not a directory; set CACHE_DIR to a directory"
    } else if !is_own(&metadata) && metadata.uid() != ROOT {
        "belongs to another user; set CACHE_DIR to a directory of this process's user"
    } else {
        return Ok(true);
    };
    Err(refused(path, refusal))
}

/// Checks that [`open_private`] would accept `path`, and creates nothing.
///
/// # Errors
/// As for [`open_private`].
pub fn check_file(path: &Path) -> Result<()> {
    metadata(path)?.map_or(Ok(()), |metadata| check_metadata(path, &metadata))
}

/// Checks that `file` is the file at `path`: that it was not removed, moved, replaced or mounted over.
///
/// # Errors
/// `Unavailable`, with what happened to it.
pub fn check_in_place(file: &File, path: &Path) -> Result<()> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let found = match (file.metadata().map(identity), fs::symlink_metadata(path).map(identity)) {
        (Ok(ours), Ok(found)) if ours == found => return Ok(()),
        (Ok(_), Ok(_)) => "was replaced".to_owned(),
        (Ok(_), Err(error)) if error.kind() == io::ErrorKind::NotFound => "is gone".to_owned(),
        (Err(error), _) | (_, Err(error)) => format!("cannot be examined ({error})"),
    };
    let message = format!("{} {found} while the cache was in use", path.display());
    Err(Error::new(ErrorKind::Unavailable, message))
}

/// Opens the file `path` for reading and writing, creating it with mode 0600 if need be.
///
/// # Errors
/// `Configuration` when it is a link, not a regular file, or another user's; `Io` when the system refuses.
pub fn open_private(path: &Path) -> Result<File> {
    open_private_at(CWD, path, path)
}

/// Opens the file `name` of the open directory `root` as [`open_private`] does; `path` is its path for errors.
///
/// # Errors
/// As for [`open_private`].
pub fn open_private_at(root: impl AsFd, name: &Path, path: &Path) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(root, name, flags, Mode::RUSR | Mode::WUSR);
    let file = opened.map(File::from).map_err(|error| match error {
        Errno::LOOP => refused(path, LINK),
        error => io_error("cannot open", path, error.into()),
    })?;
    let metadata = file.metadata().map_err(|error| io_error("cannot examine", path, error))?;
    check_metadata(path, &metadata)?;
    // A umask may take even the owner's permissions away; the next opening would fail.
    if metadata.mode() & 0o600 != 0o600 {
        let mode = Permissions::from_mode(0o600);
        file.set_permissions(mode).map_err(|error| io_error("cannot set the mode of", path, error))?;
    }
    Ok(file)
}

/// Syncs the names in the directory `path`.
///
/// # Errors
/// The operating system's.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// An error of the operating system about `path`, with what to do.
pub fn io_error(what: &str, path: &Path, error: io::Error) -> Error {
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

/// The metadata of `path` itself, not of what a link points to; `None` when it does not exist.
fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("cannot use the cache directory", path, error)),
    }
}

fn check_metadata(path: &Path, metadata: &Metadata) -> Result<()> {
    let refusal = if metadata.is_symlink() {
        LINK
    } else if !metadata.is_file() {
        "is not a regular file; remove it"
    } else if !is_own(metadata) {
        "belongs to another user; remove it, or set CACHE_DIR to another directory"
    } else {
        return Ok(());
    };
    Err(refused(path, refusal))
}

const LINK: &str = "is a symbolic link; remove it";

/// Accepted as the owner of the directory, because root can read it anyway: container volumes belong to root.
const ROOT: u32 = 0;

fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

fn refused(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("{} {why}", path.display()))
}
