//! [`JournalFile`]: the file of a journal on disk.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use cache_core::files::sync_directory;
use cache_core::{Error, ErrorKind, Result};

use super::format::{self, FILE_BYTES, Records, SLOT_BYTES, Slot};
use crate::durability::files;
use crate::durability::lock::LockFile;

const NAME: &str = "journal";

/// The journal of an instance, open for writing.
#[derive(Debug)]
pub(super) struct JournalFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl JournalFile {
    /// Replaces the journal of `instance` by one that holds `slots`.
    ///
    /// # Errors
    /// `Io` when the system refuses, as when there is no room.
    pub(super) fn create(instance: &LockFile, slots: &[(usize, Slot)]) -> Result<Self> {
        files::replace_durably(instance.directory(), NAME, &format::encode(slots))?;
        let path = instance.directory().join(NAME);
        Ok(Self { file: files::open_private(&path)?, path })
    }

    /// Opens the journal of `instance` and reads its records; `None` when there is no file.
    ///
    /// # Errors
    /// `Configuration` for another user's file, `Io` when it is damaged or the system refuses.
    pub(super) fn open(instance: &LockFile) -> Result<Option<(Self, Records)>> {
        let path = instance.directory().join(NAME);
        if std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let file = files::open_private(&path)?;
        let mut bytes = Vec::new();
        let read = (&file).take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| files::io_error("cannot read", &path, error))?;
        let records = format::decode(&bytes)
            .ok_or_else(|| Error::new(ErrorKind::Io, format!("the journal {} is damaged", path.display())))?;
        Ok(Some((Self { file, path }, records)))
    }

    /// Makes the journal of `instance` a damaged one, which the next start reads as holding everything: an empty file, which
    /// needs no room.
    ///
    /// # Errors
    /// `Io` when the system refuses.
    pub(super) fn damage(instance: &LockFile) -> Result<()> {
        let path = instance.directory().join(NAME);
        let file = files::open_private(&path)?;
        let emptied = file.set_len(0).and_then(|()| file.sync_all());
        emptied
            .and_then(|()| sync_directory(instance.directory()))
            .map_err(|error| files::io_error("cannot empty", &path, error))
    }

    /// Removes the journal of `instance`, durably.
    ///
    /// # Errors
    /// `Io` when the system refuses.
    pub(super) fn remove(instance: &LockFile) -> Result<()> {
        files::remove_durably(instance.directory(), NAME)
    }

    /// Writes `slots`, and syncs them if `durably`.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn write(&self, slots: &[(usize, Slot)], durably: bool) -> io::Result<()> {
        for (number, slot) in slots {
            self.file.write_all_at(slot, (number * SLOT_BYTES) as u64)?;
        }
        if durably { self.file.sync_data() } else { Ok(()) }
    }

    /// Checks that the file still is the one at its path.
    ///
    /// # Errors
    /// As for [`files::check_in_place`].
    pub(super) fn check_in_place(&self) -> Result<()> {
        files::check_in_place(&self.file, &self.path)
    }
}
