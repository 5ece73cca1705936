//! The uploaded files, as they were sent: `originals/{last two digits}/{file id}` below the data directory.
//!
//! A file is written under `incoming/`, made durable, and moved into place just before the transaction that names it. It
//! never changes afterwards: new pixels are a new file. A reader that has it open can read on after it was removed.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, access};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::database::{Database, file_is_known};
use crate::error::ApiError;
use cache_facade::log::limited;

/// A file that no image names is left over from a crash once it is older than any upload takes.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);

/// Directories below the data directory: of files in place, and of files that are being uploaded.
pub(crate) const DIRECTORIES: [&str; 2] = ["originals", "incoming"];

/// The store of originals; a cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Originals {
    kept: PathBuf,
    incoming: PathBuf,
}

/// A file that is being uploaded; removed when dropped, unless it was [kept](Originals::keep).
#[derive(Debug)]
pub(crate) struct Incoming {
    id: Uuid,
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl Originals {
    /// Opens the store below `data_directory`, and creates it if need be. Blocks.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub(crate) fn open(data_directory: &Path) -> io::Result<Self> {
        let [kept, incoming] = DIRECTORIES.map(|name| data_directory.join(name));
        let originals = Self { kept, incoming };
        make_directory(&originals.kept)?;
        make_directory(&originals.incoming)?;
        Ok(originals)
    }

    /// Checks that files can be created here. Blocks.
    ///
    /// # Errors
    /// When the data directory is gone, read-only, or closed to this user.
    pub(crate) fn check(&self) -> io::Result<()> {
        let data_directory = self.kept.parent().unwrap_or(&self.kept);
        Ok(access(data_directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
    }

    /// Begins a new file.
    pub(crate) async fn receive(&self) -> Result<Incoming, ApiError> {
        let id = Uuid::new_v4();
        let path = self.incoming.join(id.to_string());
        let create = async || File::options().write(true).create_new(true).mode(0o600).open(&path).await;
        let file = match create().await {
            // The directory was removed since the start.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(&self.incoming).map_err(|error| failed(&error))?;
                create().await
            }
            other => other,
        };
        let file = file.map_err(|error| failed(&error))?;
        Ok(Incoming { id, path, file, size_bytes: 0 })
    }

    /// Moves a file whose bytes are durable into place; the caller's transaction is to name it next. Blocks.
    pub(crate) fn keep(&self, incoming: &Incoming) -> io::Result<()> {
        let place = self.path(incoming.id);
        let directory = place.parent().expect("a file's place is below the directory of originals");
        if !directory.is_dir() {
            make_directory(directory)?;
            // A file is only as durable as the names of the directories above it.
            self.kept.ancestors().take(2).try_for_each(sync_directory)?;
        }
        std::fs::rename(&incoming.path, &place)?;
        // The name must be as durable as the transaction that is about to mention it.
        sync_directory(directory)
    }

    /// Returns the path of a file.
    pub(crate) fn path(&self, file: Uuid) -> PathBuf {
        let name = file.to_string();
        let ending = name.get(name.len() - 2..).expect("a UUID's text is 36 ASCII characters");
        self.kept.join(ending).join(&name)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`ApiError::original_missing`] when it is not there, as when its image has a newer one.
    pub(crate) async fn read(&self, file: Uuid) -> Result<File, ApiError> {
        File::open(self.path(file)).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ApiError::original_missing(),
            _ => failed(&error),
        })
    }

    /// Removes files that no image names any more. Files that cannot be removed are left to [`sweep`](Self::sweep).
    pub(crate) async fn remove(&self, files: Vec<Uuid>) {
        for file in files {
            if let Err(error) = tokio::fs::remove_file(self.path(file)).await
                && error.kind() != io::ErrorKind::NotFound
            {
                limited(
                    (),
                    |suppressed| tracing::warn!(%error, %file, suppressed, "an original that is no longer needed could not be removed"),
                );
            }
        }
    }

    /// Removes files that crashes left: those older than an hour that no image names. O(number of originals).
    pub(crate) async fn sweep(&self, database: &Database) -> Result<u64, ApiError> {
        let before = SystemTime::now().checked_sub(LEFT_OVER_AFTER).unwrap_or(SystemTime::UNIX_EPOCH);
        let originals = self.clone();
        let old = tokio::task::spawn_blocking(move || originals.older_than(before)).await;
        let old = old.map_err(|panic| ApiError::internal("listing the originals", panic))?;
        let old = old.map_err(|error| failed(&error))?;
        let mut removed = 0;
        for (path, file) in old {
            let is_known = match file {
                Some(file) => database.read(move |db| file_is_known(db, file)).await?,
                None => false,
            };
            if !is_known && tokio::fs::remove_file(&path).await.is_ok() {
                limited(
                    (),
                    |suppressed| tracing::info!(path = %path.display(), suppressed, "removed a file that a crash had left over"),
                );
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Lists old files, originals with their ids.
    fn older_than(&self, before: SystemTime) -> io::Result<Vec<(PathBuf, Option<Uuid>)>> {
        let mut old = Vec::new();
        for entry in std::fs::read_dir(&self.incoming)? {
            let entry = entry?;
            if entry.metadata()?.modified()? < before {
                old.push((entry.path(), None));
            }
        }
        for directory in std::fs::read_dir(&self.kept)? {
            let directory = directory?.path();
            if !directory.is_dir() {
                continue;
            }
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                let id = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
                // A file of another name is not the application's to remove.
                if id.is_some() && entry.metadata()?.modified()? < before {
                    old.push((entry.path(), id));
                }
            }
        }
        Ok(old)
    }
}

impl Incoming {
    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        self.file.write_all(bytes).await.map_err(|error| failed(&error))?;
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes the written bytes durable.
    pub(crate) async fn finish(&mut self) -> Result<(), ApiError> {
        self.file.flush().await.map_err(|error| failed(&error))?;
        self.file.sync_all().await.map_err(|error| failed(&error))
    }

    /// Returns the id under which the file will be kept.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// Returns the number of bytes written so far.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the path until the file is kept.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Already moved away if it was kept; else the sweep of a later start would remove it too.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn failed(error: &io::Error) -> ApiError {
    ApiError::file("work on a file below DATA_DIR", error)
}

/// Makes a directory, and those above it, that only this process's user can enter. One that exists stays as it is.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::database::testing::database;

    fn files_below(directory: &Path) -> usize {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
    }

    async fn received(originals: &Originals) -> Incoming {
        let mut incoming = originals.receive().await.unwrap();
        incoming.write(b"pixels").await.unwrap();
        incoming.finish().await.unwrap();
        incoming
    }

    #[tokio::test]
    async fn a_kept_file_reads_back_and_an_abandoned_one_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let originals = Originals::open(directory.path()).unwrap();
        drop(received(&originals).await);
        assert_eq!(files_below(directory.path()), 0);

        let incoming = received(&originals).await;
        let id = incoming.id();
        originals.keep(&incoming).unwrap();
        drop(incoming);
        let mut text = String::new();
        originals.read(id).await.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "pixels");

        originals.remove(vec![id]).await;
        assert!(originals.read(id).await.unwrap_err().is_original_missing());
    }

    #[tokio::test]
    async fn files_and_directories_are_closed_to_other_users() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let originals = Originals::open(&directory.path().join("data")).unwrap();
        let incoming = received(&originals).await;
        originals.keep(&incoming).unwrap();
        let file = originals.path(incoming.id());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for path in file.ancestors().skip(1).take(3).chain([&*originals.incoming]) {
            assert_eq!(mode(path), 0o700, "{}", path.display());
        }
        assert_eq!(mode(&file), 0o600);
    }

    #[tokio::test]
    async fn the_sweep_removes_old_strays_and_nothing_else() {
        let (directory, database) = database();
        let originals = Originals::open(directory.path()).unwrap();
        let stray = received(&originals).await;
        originals.keep(&stray).unwrap();
        let recent = received(&originals).await;
        originals.keep(&recent).unwrap();
        let foreign = originals.kept.join("aa").join("notes.txt");
        std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
        std::fs::write(&foreign, "mine").unwrap();
        std::fs::write(originals.kept.join(".DS_Store"), "a file where directories are").unwrap();
        for path in [&originals.path(stray.id()), &foreign] {
            let old = SystemTime::now() - 2 * LEFT_OVER_AFTER;
            std::fs::File::options().append(true).open(path).unwrap().set_modified(old).unwrap();
        }

        assert_eq!(originals.sweep(&database).await, Ok(1));
        assert!(originals.read(stray.id()).await.is_err());
        assert!(originals.read(recent.id()).await.is_ok());
        assert!(foreign.exists());
    }
}
