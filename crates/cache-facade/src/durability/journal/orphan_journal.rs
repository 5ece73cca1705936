//! [`OrphanJournal`]: the journal that a dead process left.

use std::path::Path;

use cache_core::{Error, Invalidation, Result};

use super::file::JournalFile;
use super::format::{self, FREE, Reason, Record, Records, Target};
use crate::durability::lock::LockFile;
use crate::durability::{files, instance};

/// The directory of a fallback store, inside an instance's.
pub(crate) const FALLBACK: &str = "fallback";

/// A journal that no process writes, with the lock of its instance.
#[derive(Debug)]
pub(crate) struct OrphanJournal {
    pub(super) instance: LockFile,
    /// `None` when there is no file, or a damaged one.
    pub(super) file: Option<JournalFile>,
    pub(super) records: Records,
    pub(super) is_damaged: bool,
}

impl OrphanJournal {
    /// Reads the journal of `instance`. One that cannot be read counts as holding everything. Removes the fallback store
    /// there.
    pub(crate) fn read(instance: LockFile) -> Self {
        files::remove_directory(&instance.directory().join(FALLBACK));
        let (file, records, is_damaged) = match JournalFile::open(&instance) {
            Ok(Some((file, records))) => (Some(file), records, false),
            Ok(None) => (None, Vec::new(), false),
            Err(error) => {
                cache_core::log::warn!(%error, "cannot read a journal; the cache starts empty");
                (None, Vec::new(), true)
            }
        };
        Self { instance, file, records, is_damaged }
    }

    /// The invalidations that `target` has not applied.
    pub(crate) fn pending_for(&self, target: &Target) -> Vec<Invalidation> {
        if self.is_damaged {
            return vec![Invalidation::Everything];
        }
        let pending = self.records.iter().filter(|(_, record)| record.target == *target);
        pending.flat_map(|(_, record)| record.what.iter().cloned()).collect()
    }

    /// Erases durably the records of `target`, which has applied them.
    ///
    /// A damaged journal is removed as a whole: for other targets the record of the last run covers it, which makes them
    /// start empty when they are next used here.
    ///
    /// # Errors
    /// `Io` when the system refuses; they are invalidated again at the next start.
    pub(crate) fn erase(&mut self, target: &Target) -> Result<()> {
        if self.is_damaged {
            JournalFile::remove(&self.instance)?;
            self.is_damaged = false;
        }
        let is_targets = |(_, record): &mut (usize, Record)| record.target == *target;
        let applied: Vec<_> =
            self.records.extract_if(.., is_targets).map(|(number, _)| (number, FREE)).collect();
        match &self.file {
            Some(file) if !applied.is_empty() => {
                file.write(&applied, true).map_err(|error| files::io_error("cannot write", &file.path, error))
            }
            _ => Ok(()),
        }
    }

    /// Erases the records of `target` in the journals of dead processes, and removes the files that hold no others.
    pub(crate) fn settle(orphans: Vec<Self>, target: &Target) {
        for mut orphan in orphans {
            if let Err(error) = orphan.erase(target) {
                warn_not_erased(&error);
            } else if orphan.file.is_some()
                && orphan.records.is_empty()
                && let Err(error) = JournalFile::remove(&orphan.instance)
            {
                cache_core::log::warn!(%error, "cannot remove the journal of a dead process");
            }
        }
    }

    /// Claims an instance for a process that lost its own: one whose journal holds no records of other targets. Its own
    /// target starts empty, which covers the records there.
    ///
    /// # Errors
    /// As for [`instance::claim`].
    pub(super) fn claim_without(directory: &Path, target: &Target) -> Result<LockFile> {
        instance::claim(directory, |instance| {
            let orphan = Self::read(instance);
            let is_own = orphan.records.iter().all(|(_, record)| record.target == *target);
            is_own.then_some(orphan.instance)
        })
    }

    /// Takes the journal over as this process's own: the same file and its records, else a new file, which holds everything
    /// for `target` if the old one was damaged.
    ///
    /// # Errors
    /// The second value: `Io` when the system refuses, as when there is no room.
    pub(super) fn take_over(self, target: &Target) -> (LockFile, Result<(JournalFile, Records)>) {
        let Self { instance, file, mut records, is_damaged } = self;
        if is_damaged {
            let what = vec![Invalidation::Everything];
            let record = Record { reason: Reason::Pending, target: target.clone(), what };
            records.push((format::FIRST_RECORD, record));
        }
        let slots = || records.iter().map(|(number, record)| (*number, record.slot(*number)));
        let file = file.map_or_else(|| JournalFile::create(&instance, &slots().collect::<Vec<_>>()), Ok);
        (instance, file.map(|file| (file, records)))
    }
}

/// Logs that the records of a target could not be erased.
pub(crate) fn warn_not_erased(error: &Error) {
    cache_core::log::warn!(%error, "cannot erase a journal; the next start invalidates it again");
}
