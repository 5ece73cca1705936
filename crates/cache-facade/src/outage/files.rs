//! Files for this user alone: modes whatever the umask, refusals of what is not ours, writes that last.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cache_core::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Creates the directory `path` with mode 0700 if it is not there, with its parents.
///
/// # Errors
/// `Configuration` when it is a link, a file, or another user's; `Io` when the system refuses.
pub(crate) fn prepare_directory(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => check_directory(path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_directory(path),
        Err(error) => Err(io_error("cannot use the cache directory", path, error)),
    }
}

/// Says what [`prepare_directory`] and [`open_private`] would say of a directory and of files, and makes nothing.
///
/// # Errors
/// As for those.
pub(crate) fn examine(directory: &Path, files: &[PathBuf]) -> Result<()> {
    let there = |path: &Path| match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("cannot use the cache directory", path, error)),
    };
    if let Some(metadata) = there(directory)? {
        check_directory(directory, &metadata)?;
    }
    for file in files {
        if let Some(metadata) = there(file)? {
            check_file(file, &metadata)?;
        }
    }
    Ok(())
}

/// Whether `file` still is what stands at `path`: else it was removed, moved or replaced, or something was mounted over it.
///
/// # Errors
/// `Unavailable` says what became of it.
pub(crate) fn stands(file: &File, path: &Path) -> Result<()> {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let there = fs::symlink_metadata(path).map(identity);
    let became = match (file.metadata().map(identity), there) {
        (Ok(ours), Ok(there)) if ours == there => return Ok(()),
        (Ok(_), Ok(_)) => "was replaced".to_owned(),
        (Ok(_), Err(error)) if error.kind() == io::ErrorKind::NotFound => "is gone".to_owned(),
        (Err(error), _) | (_, Err(error)) => format!("cannot be examined ({error})"),
    };
    let message = format!("{} {became} while the cache was in use", path.display());
    Err(Error::new(ErrorKind::Unavailable, message))
}

/// Opens a file to read it. A link is not followed, and nothing but a file is waited for.
///
/// # Errors
/// The operating system's; `InvalidInput` for what is no regular file.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags =
        i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).expect("open's flags fit into an int");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Opens the file `path` for reading and writing, and creates it with mode 0600 if it is not there.
///
/// # Errors
/// As for [`prepare_directory`].
pub(crate) fn open_private(path: &Path) -> Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).expect("open's flags fit into an int");
    let mut options = OpenOptions::new();
    options.read(true).write(true).truncate(false).mode(0o600).custom_flags(flags);
    let (opened, is_new) = match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            (options.create(true).open(path), false)
        }
        opened => (opened, true),
    };
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::LOOP.raw_os_error() => refused(path, LINK),
        _ => io_error("cannot open", path, error),
    })?;
    let metadata = file.metadata().map_err(|error| io_error("cannot examine", path, error))?;
    check_file(path, &metadata)?;
    if is_new {
        // The umask may have taken even our own permissions away.
        let mode = Permissions::from_mode(0o600);
        file.set_permissions(mode).map_err(|error| io_error("cannot set the mode of", path, error))?;
    }
    Ok(file)
}

/// Replaces the file `name` in `directory` by one that holds `bytes`, durably: after a crash the old or the new is there.
///
/// # Errors
/// As for [`prepare_directory`]; the old file is then still there.
pub(crate) fn replace_durably(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    remove(&new)?;
    let mut file = open_private(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, &path));
    if let Err(error) = written.and_then(|()| sync_directory(directory)) {
        // What could not be finished must not take up space; the next attempt would remove it too.
        let _ = fs::remove_file(&new);
        return Err(io_error("cannot write", &path, error));
    }
    Ok(())
}

/// Removes the file `name` from `directory`, durably; no error if it is not there.
///
/// # Errors
/// `Io` when the system refuses.
pub(crate) fn remove_durably(directory: &Path, name: &str) -> Result<()> {
    remove(&directory.join(name))?;
    sync_directory(directory).map_err(|error| io_error("cannot sync", directory, error))
}

/// Removes a directory that nobody reads any more, as far as it can be: what stays costs space until the next start.
pub(crate) fn remove_directory(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        cache_core::log::emit(
            || tracing::debug!(%error, path = %path.display(), "a directory that nobody needs any more stays"),
        );
    }
}

/// An error of the operating system about `path`.
pub(crate) fn io_error(what: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{what} {}: {error}", path.display())).with_source(error)
}

fn create_directory(path: &Path) -> Result<()> {
    let trouble = |error| io_error("cannot create the cache directory", path, error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(trouble)?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(trouble)?;
    // What is synced inside of it lasts only as long as its own name does.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), sync_directory).map_err(trouble)
}

fn check_directory(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    if metadata.is_symlink() {
        return Err(refused(path, "is a symbolic link; set CACHE_DIR to the directory it points to"));
    }
    if !metadata.is_dir() {
        return Err(refused(path, "is a file, not a directory; set CACHE_DIR to a directory"));
    }
    if !is_ours(metadata) && !is_roots(metadata) {
        return Err(refused(
            path,
            "belongs to another user; set CACHE_DIR to a directory of this process's user",
        ));
    }
    Ok(())
}

fn check_file(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    if metadata.is_symlink() {
        return Err(refused(path, LINK));
    }
    if !metadata.is_file() {
        return Err(refused(path, "is not a regular file; remove it"));
    }
    if !is_ours(metadata) {
        return Err(refused(
            path,
            "belongs to another user; remove it, or set CACHE_DIR to another directory",
        ));
    }
    Ok(())
}

const LINK: &str = "is a symbolic link; remove it";

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("cannot remove", path, error)),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Whether it belongs to the one user who could read it anyway: so do the volumes that containers are given.
fn is_roots(metadata: &fs::Metadata) -> bool {
    metadata.uid() == 0
}

fn refused(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("{} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_created_is_for_this_user_alone_and_what_was_there_keeps_its_mode() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        prepare_directory(&directory).unwrap();
        replace_durably(&directory, "state", b"x").unwrap();
        open_private(&directory.join("lock")).unwrap();
        assert_eq!(
            (mode(&directory), mode(&directory.join("state")), mode(&directory.join("lock"))),
            (0o700, 0o600, 0o600)
        );
        fs::set_permissions(&directory, Permissions::from_mode(0o750)).unwrap();
        prepare_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o750);
    }

    #[test]
    fn links_and_files_in_place_of_the_directory_are_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let (link, to_directory) = (root.path().join("link"), root.path().join("to_directory"));
        symlink(&victim, &link).unwrap();
        symlink(root.path(), &to_directory).unwrap();
        for (path, why) in
            [(&victim, "is a file"), (&link, "symbolic link"), (&to_directory, "symbolic link")]
        {
            let error = prepare_directory(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(why) && error.to_string().contains("CACHE_DIR"), "{error}");
        }
        assert!(open_private(&link).unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(open_private(root.path()).unwrap_err().kind(), ErrorKind::Io);
        // A rename replaces a link and never writes through it.
        replace_durably(root.path(), "link", b"new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_replacement_that_fails_leaves_the_old_file_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("state")).unwrap();
        assert!(replace_durably(root.path(), "state", b"x").is_err());
        let left: Vec<_> =
            fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["state"]);
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        remove_durably(root.path(), "state").unwrap();
    }
}
