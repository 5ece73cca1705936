//! Durable replacement and removal of private files; see [`cache_core::files`] for modes and refusals.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use cache_core::Result;
use cache_core::files::sync_directory;
pub(crate) use cache_core::files::{
    check_directory, check_file, check_in_place, io_error, open_private, prepare_directory,
};
use rustix::fs::{Mode, OFlags};

/// Opens a regular file for reading, without following a link or waiting for a pipe.
///
/// # Errors
/// The operating system's; `InvalidInput` when it is not a regular file.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Replaces the file `name` in `directory` by one that holds `bytes`, durably: a crash leaves the old file or the new one.
///
/// # Errors
/// As for [`open_private`]; the old file is then still there.
pub(crate) fn replace_durably(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    remove(&new)?;
    let mut file = open_private(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, &path));
    if let Err(error) = written.and_then(|()| sync_directory(directory)) {
        // Frees the space of the unfinished file; the next replacement would remove it too.
        let _ = fs::remove_file(&new);
        return Err(io_error("cannot write", &path, error));
    }
    Ok(())
}

/// Removes the file `name` from `directory`, durably, if it exists.
///
/// # Errors
/// `Io` when the system refuses.
pub(crate) fn remove_durably(directory: &Path, name: &str) -> Result<()> {
    remove(&directory.join(name))?;
    sync_directory(directory).map_err(|error| io_error("cannot sync", directory, error))
}

/// Removes the directory of a fallback store. One that cannot be removed takes up space until the next start.
pub(crate) fn remove_directory(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        cache_core::log::debug!(
            %error, path = %path.display(), "cannot remove the directory of a fallback store"
        );
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("cannot remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use cache_core::ErrorKind;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn created_files_are_private_and_an_existing_directory_keeps_its_mode() {
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
    fn a_failed_replacement_leaves_the_old_file_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("state")).unwrap();
        assert!(replace_durably(root.path(), "state", b"x").is_err());
        let left: Vec<_> =
            fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["state"]);
    }

    #[test]
    fn removing_a_missing_file_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        remove_durably(root.path(), "state").unwrap();
    }
}
