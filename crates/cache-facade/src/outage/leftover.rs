//! [`Leftover`]: the journal that a process which is gone left behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cache_core::{Error, Invalidation, Result};

use super::files;
use super::instance::Instance;
use super::slots::{self, Owner, Reason, Record, SLOT_BYTES};

const NAME: &str = "journal";

/// The directory, inside an instance's, of what stands in while Redis is away.
pub(crate) const FALLBACK: &str = "fallback";

/// A journal that nobody writes, under the lock of its instance.
#[derive(Debug)]
pub(crate) struct Leftover {
    instance: Instance,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    /// There is no file: the process died before it made one, or everything in it was settled.
    Nothing,
    /// What the file holds.
    Sound { file: File, records: Vec<(usize, Record)> },
    /// There is a file that nobody can read.
    Damaged,
}

/// A journal taken over by the process that holds its instance: the file, and the records that stay in it.
#[derive(Debug)]
pub(super) struct TakenOver {
    pub(super) instance: Instance,
    pub(super) file: File,
    pub(super) records: Vec<(usize, Record)>,
}

impl Leftover {
    /// Reads the journal of `instance`. One that cannot be read counts as having held everything. What stood in for Redis
    /// there is removed.
    pub(crate) fn read(instance: Instance) -> Self {
        files::remove_directory(&instance.path().join(FALLBACK));
        let path = instance.path().join(NAME);
        let contents = match read(&path) {
            Ok(contents) => contents,
            Err(error) => {
                cache_core::log::emit(
                    || tracing::warn!(%error, journal = %path.display(), "cannot read a journal; the cache starts empty"),
                );
                Contents::Damaged
            }
        };
        Self { instance, contents }
    }

    /// What `owner` has not heard of.
    pub(crate) fn owed_to(&self, owner: &Owner) -> Vec<Invalidation> {
        match &self.contents {
            Contents::Nothing => Vec::new(),
            Contents::Sound { records, .. } => {
                let owed = records.iter().filter(|(_, record)| record.owner == *owner);
                owed.flat_map(|(_, record)| record.what.iter().cloned()).collect()
            }
            Contents::Damaged => vec![Invalidation::Everything],
        }
    }

    /// Erases durably what `owner` was owed and has now heard of.
    ///
    /// A damaged journal goes as a whole: what it owed to others is covered by the trust record, which makes them start
    /// from an empty store when they are next used here.
    ///
    /// # Errors
    /// `Io` when the system refuses; it is then invalidated again at the next start.
    pub(crate) fn erase(&mut self, owner: &Owner) -> Result<()> {
        match &mut self.contents {
            Contents::Nothing => Ok(()),
            Contents::Damaged => self.remove(),
            Contents::Sound { file, records } => {
                let (heard, others): (Vec<_>, _) =
                    records.drain(..).partition(|(_, record)| record.owner == *owner);
                *records = others;
                if heard.is_empty() {
                    return Ok(());
                }
                let free = |(number, _): &(usize, Record)| file.write_all_at(&slots::FREE, offset(*number));
                let erased = heard.iter().try_for_each(free).and_then(|()| file.sync_data());
                erased
                    .map_err(|error| files::io_error("cannot write", &self.instance.path().join(NAME), error))
            }
        }
    }

    /// Whether anybody but `owner` is owed something.
    pub(super) fn is_owed_to_others(&self, owner: &Owner) -> bool {
        match &self.contents {
            Contents::Sound { records, .. } => records.iter().any(|(_, record)| record.owner != *owner),
            Contents::Nothing | Contents::Damaged => false,
        }
    }

    /// Its instance, for a process that settles otherwise what is owed here.
    pub(super) fn into_instance(self) -> Instance {
        self.instance
    }

    /// Removes the file if it holds nothing more, and lets go of the instance.
    ///
    /// # Errors
    /// `Io` when the system refuses.
    pub(crate) fn discard(mut self) -> Result<()> {
        match &self.contents {
            Contents::Sound { records, .. } if records.is_empty() => self.remove(),
            Contents::Sound { .. } | Contents::Nothing | Contents::Damaged => Ok(()),
        }
    }

    fn remove(&mut self) -> Result<()> {
        files::remove_durably(self.instance.path(), NAME)?;
        self.contents = Contents::Nothing;
        Ok(())
    }

    /// Takes the journal over as this process's own: the same file where it still holds records, else a new one, which
    /// owes everything to `owner` where the old one was damaged.
    ///
    /// # Errors
    /// `Io` when the system refuses, as when there is no room; the instance comes back with it.
    pub(super) fn take_over(self, owner: &Owner) -> Result<TakenOver, Box<(Instance, Error)>> {
        let Self { instance, contents } = self;
        let records = match contents {
            Contents::Sound { file, records } => return Ok(TakenOver { instance, file, records }),
            Contents::Nothing => Vec::new(),
            Contents::Damaged => {
                let what = vec![Invalidation::Everything];
                vec![(slots::FIRST_RECORD, Record { reason: Reason::Owed, owner: owner.clone(), what })]
            }
        };
        match new_file(&instance, &records) {
            Ok(file) => Ok(TakenOver { instance, file, records }),
            Err(error) => Err(Box::new((instance, error))),
        }
    }
}

/// Where the journal of `instance` is.
pub(super) fn path_of(instance: &Instance) -> PathBuf {
    instance.path().join(NAME)
}

/// Replaces the journal of `instance` by one that holds `records`.
///
/// # Errors
/// `Io` when the system refuses, as when there is no room.
pub(super) fn new_file(instance: &Instance, records: &[(usize, Record)]) -> Result<File> {
    files::replace_durably(instance.path(), NAME, &slots::file_of(records))?;
    files::open_private(&path_of(instance))
}

/// Where slot `number` begins.
pub(super) fn offset(number: usize) -> u64 {
    (number * SLOT_BYTES) as u64
}

fn read(path: &Path) -> Result<Contents> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::Nothing),
        _ => {}
    }
    let file = files::open_private(path)?;
    let mut bytes = Vec::new();
    let one_too_many = slots::FILE_BYTES as u64 + 1;
    let read = (&file).take(one_too_many).read_to_end(&mut bytes);
    read.map_err(|error| files::io_error("cannot read", path, error))?;
    if let Ok(records) = slots::read(&bytes) {
        return Ok(Contents::Sound { file, records });
    }
    cache_core::log::emit(
        || tracing::warn!(journal = %path.display(), "a journal is damaged; the cache starts empty"),
    );
    Ok(Contents::Damaged)
}
