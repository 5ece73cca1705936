//! [`Values`]: the sparse files that hold the values that do not fit into a row of the database.
//!
//! A value is written behind all others, in whole blocks, and what leaves is punched out, so that the file system allocates
//! and frees the space: the files take as much as their live values, whatever their length. An offset names one value for
//! ever. A row of the database that a crash brings back therefore leads to its own value or to a hole, which the envelope's
//! checksum tells apart, so that neither waits for a sync of the other.
//!
//! Where the file system cannot punch holes, every value is a file of its own.

mod file;
mod probe;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use cache_core::files::open_private_at;
use cache_core::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

pub(crate) use self::probe::SectionBits;
use crate::config::DiskConfig;
use crate::fs::{Directory, FileSpace, sparse};
use crate::store::{BLOCK, Location};

/// The beginning of the names of values files.
const PREFIX: &str = "values-";

/// The values files of one database; see the documentation of the module.
#[derive(Debug)]
pub(crate) struct Values {
    root: File,
    path: PathBuf,
    /// Identifies the database: files of another are never read.
    generation: u64,
    bits: SectionBits,
    /// The open files, by number.
    files: ArcSwap<BTreeMap<u64, Arc<File>>>,
    /// Told of a full disk, as the database's file is.
    space: Arc<FileSpace>,
    #[cfg(feature = "testing")]
    hook: crate::config::ValuesHook,
}

impl Values {
    /// Opens the files of `generation`; there may be none yet.
    ///
    /// # Errors
    /// `Io` when the directory or a file cannot be opened.
    pub(crate) fn open(
        directory: &Directory,
        generation: u64,
        bits: SectionBits,
        space: &Arc<FileSpace>,
        config: &DiskConfig,
    ) -> Result<Self> {
        let values = Self {
            root: directory.root()?,
            path: directory.path().to_owned(),
            generation,
            bits,
            files: ArcSwap::default(),
            space: Arc::clone(space),
            #[cfg(feature = "testing")]
            hook: config.values.clone(),
        };
        #[cfg(not(feature = "testing"))]
        let _ = config;
        if bits.is_sparse() {
            for number in values.numbers()? {
                values.section(number)?;
            }
        }
        Ok(values)
    }

    /// Removes the values files of `directory` that are not of the database with this `generation` and these bits.
    ///
    /// # Cost
    /// Frees their blocks: some milliseconds for a hundred megabytes.
    pub(crate) fn remove_others(directory: &Directory, of: Option<(u64, SectionBits)>) -> Result<()> {
        let root = directory.root()?;
        let is_own =
            |name: &str| of.is_some_and(|(generation, bits)| number_in(name, generation, bits).is_some());
        for name in names(&root).map_err(|error| failed("cannot list", &directory.path().display(), error))? {
            if !is_own(&name) {
                remove(&root, &name).map_err(|error| failed("cannot remove", &name, error))?;
            }
        }
        Ok(())
    }

    /// The directory of the files.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bits(&self) -> SectionBits {
        self.bits
    }

    /// Reads the part of a record that is in blocks, which may be cut short or zeros where there is a hole.
    pub(crate) fn read(&self, at: Location, length: usize, record: &mut Vec<u8>) -> io::Result<()> {
        #[cfg(feature = "testing")]
        self.hook.before(crate::config::ValuesOperation::Read { id: at.id })?;
        let number = self.bits.section(at.id);
        if self.bits.is_sparse() {
            let files = self.files.load();
            return files
                .get(&number)
                .map_or(Ok(()), |file| file::read(file, self.bits.offset(at.id), length, record));
        }
        match rustix::fs::openat(
            &self.root,
            self.name(number),
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK,
            Mode::empty(),
        ) {
            Ok(file) => file::read(&file.into(), 0, length, record),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the part of a record that is in blocks.
    pub(crate) fn write(&self, at: Location, parts: [IoSlice<'_>; 2]) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if !self.hook.before(crate::config::ValuesOperation::Write { id: at.id, parts: &parts })? {
            return Ok(());
        }
        let written = self
            .section(self.bits.section(at.id))
            .map_err(|error| io::Error::new(io_kind(&error), error))
            .and_then(|file| file::write(&file, self.bits.offset(at.id), parts));
        if !self.bits.is_sparse() {
            self.files.store(Arc::default());
        }
        self.space.note(written)
    }

    /// Frees the blocks of `ids`, of whole entries.
    pub(crate) fn free(&self, ids: Range<u64>) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if !self.hook.before(crate::config::ValuesOperation::Free { ids: ids.clone() })? {
            return Ok(());
        }
        if !self.bits.is_sparse() {
            return remove(&self.root, &self.name(ids.start));
        }
        let files = self.files.load();
        for (number, file) in files.range(self.bits.section(ids.start)..=self.bits.section(ids.end - 1)) {
            let section = self.bits.ids(*number);
            let part = ids.start.max(section.start)..ids.end.min(section.end);
            let length = (part.end - part.start) * BLOCK;
            file::punch(file, self.bits.offset(part.start), length)?;
        }
        Ok(())
    }

    /// The space of all files on the disk, in bytes.
    pub(crate) fn taken_bytes(&self) -> u64 {
        if self.bits.is_sparse() {
            return self.files.load().values().map(|file| sparse::taken_bytes(file)).sum();
        }
        // What cannot be told counts as full.
        let Ok(numbers) = self.numbers() else { return 1 << 60 };
        let sizes = numbers.into_iter().filter_map(|number| {
            let stat = rustix::fs::statat(&self.root, self.name(number), AtFlags::SYMLINK_NOFOLLOW).ok()?;
            u64::try_from(stat.st_blocks).ok()
        });
        sizes.sum::<u64>() * 512
    }

    /// The ids whose blocks hold data, ascending; more than that where the file system cannot tell.
    pub(crate) fn data(&self) -> io::Result<Vec<Range<u64>>> {
        if !self.bits.is_sparse() {
            let numbers = self.numbers().map_err(io::Error::other)?;
            return Ok(numbers.into_iter().map(|number| number..number + 1).collect());
        }
        let mut data = Vec::new();
        for (number, file) in self.files.load().iter() {
            let base = self.bits.ids(*number).start;
            for range in sparse::data(file)? {
                data.push(base + range.start / BLOCK..base + range.end.div_ceil(BLOCK));
            }
        }
        Ok(data)
    }

    /// An id behind everything that was ever written to the files.
    pub(crate) fn end(&self) -> io::Result<u64> {
        if !self.bits.is_sparse() {
            // The last file may be of any length up to the largest value.
            let last = self.numbers().map_err(io::Error::other)?.pop();
            return Ok(last.map_or(0, |last| last + (1 << 28) / BLOCK));
        }
        let files = self.files.load();
        let Some((number, file)) = files.last_key_value() else { return Ok(0) };
        Ok(self.bits.ids(*number).start + file.metadata()?.len().div_ceil(BLOCK))
    }

    /// Removes all files; readers may still have them open for a moment.
    ///
    /// # Cost
    /// As for [`remove_others`](Self::remove_others).
    pub(crate) fn remove_all(&self) -> Result<()> {
        self.files.store(Arc::default());
        for number in self.numbers()? {
            let name = self.name(number);
            remove(&self.root, &name).map_err(|error| failed("cannot remove", &name, error))?;
        }
        Ok(())
    }

    /// Removes files that hold nothing but the last; returns the ids up to which entries are to leave, because there are more
    /// files than a process should keep open.
    pub(crate) fn close_empty(&self) -> Option<u64> {
        const MOST_FILES: usize = 64;
        let files = self.files.load();
        let last = files.last_key_value().map(|(number, _)| *number);
        for (number, file) in files.iter() {
            if Some(*number) != last && sparse::taken_bytes(file) == 0 {
                self.files.rcu(|files| {
                    let mut files = BTreeMap::clone(files);
                    files.remove(number);
                    files
                });
                // A name that stays is of no use, and removed with its generation.
                let _ = remove(&self.root, &self.name(*number));
            }
        }
        let excess = self.files.load().len().checked_sub(MOST_FILES)?;
        let oldest = files.keys().nth(excess)?;
        Some(self.bits.ids(*oldest).end)
    }

    /// Waits until everything that was written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if !self.hook.before(crate::config::ValuesOperation::Sync)? {
            return Ok(());
        }
        if !self.bits.is_sparse() {
            return rustix::fs::syncfs(&self.root).map_err(Into::into);
        }
        self.files.load().values().try_for_each(|file| file.sync_data())
    }

    /// Opens or creates the file of this number.
    fn section(&self, number: u64) -> Result<Arc<File>> {
        if let Some(file) = self.files.load().get(&number) {
            return Ok(Arc::clone(file));
        }
        let name = self.name(number);
        let file = Arc::new(open_private_at(&self.root, name.as_ref(), &self.path.join(&name))?);
        self.files.rcu(|files| {
            let mut files = BTreeMap::clone(files);
            files.insert(number, Arc::clone(&file));
            files
        });
        Ok(file)
    }

    fn name(&self, number: u64) -> String {
        name_of(self.generation, number)
    }

    /// The numbers of the files in the directory, ascending.
    fn numbers(&self) -> Result<Vec<u64>> {
        let names = names(&self.root).map_err(|error| failed("cannot list", &self.path.display(), error))?;
        let number = |name: &String| number_in(name, self.generation, self.bits);
        let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// The kind of the failure of the file system that caused `error`.
fn io_kind(error: &Error) -> io::ErrorKind {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.map_or(io::ErrorKind::Other, io::Error::kind)
}

fn name_of(generation: u64, number: u64) -> String {
    format!("{PREFIX}{generation:016x}-{number:012x}")
}

/// The number in the name of a file; `None` if that is not one that this database writes.
fn number_in(name: &str, generation: u64, bits: SectionBits) -> Option<u64> {
    let (_, number) = name.rsplit_once('-')?;
    let number = u64::from_str_radix(number, 16).ok()?;
    (bits.has(number) && name == name_of(generation, number)).then_some(number)
}

/// The names of all values files in the directory `root`.
fn names(root: &File) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(root)? {
        if let Ok(name) = entry?.file_name().to_str()
            && name.starts_with(PREFIX)
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Removes a file if it is there.
fn remove(root: &File, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(root, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn failed(what: &str, name: &dyn std::fmt::Display, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{what} the disk cache's values file {name}: {error}"))
        .with_source(error)
}
