//! [`SizeLimitedStorage`]: the storage of redb that never takes more space on the disk than it may.
//!
//! redb doubles the length of its file when it finds no free page, and cuts free pages off its end. Where files can be sparse,
//! the length does not count, only the pages that were written: a write that would take more is refused and looks like a full
//! disk. The writer evicts before that happens.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;
use rustix::process::{Resource, getrlimit};

use super::sparse;

/// The unit in which space is counted, in bytes: a page of redb.
const PAGE: u64 = 4096;

/// The space of one file: what it takes, and how much it may take.
#[derive(Debug)]
pub(crate) struct FileSpace {
    file: File,
    is_sparse: bool,
    /// The greatest length that this process may give a file: a byte more, and a signal would end it.
    longest: u64,
    /// The most space that it may take, in bytes.
    most: AtomicU64,
    written: Mutex<Pages>,
    shortage: Mutex<Option<Shortage>>,
}

/// Why there was no space for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The file would have taken more than it may.
    Limit,
    /// The file system had no space.
    Disk,
}

impl FileSpace {
    /// The space of `file`, which may take `most` bytes; its whole length counts unless it `is_sparse`.
    pub(crate) fn new(file: &File, is_sparse: bool, most: u64) -> io::Result<Arc<Self>> {
        let mut written = Pages::default();
        let length = file.metadata()?.len();
        if is_sparse {
            for range in sparse::data(file)? {
                written.add(range);
            }
        } else {
            written.add(0..length);
        }
        Ok(Arc::new(Self {
            file: file.try_clone()?,
            is_sparse,
            longest: getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX),
            most: AtomicU64::new(most),
            written: Mutex::new(written),
            shortage: Mutex::new(None),
        }))
    }

    /// The most space that the file may take, in bytes.
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Sets the most space that the file may take, in bytes.
    pub(crate) fn set_most(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// The space that the file takes, in bytes: its pages that were ever written.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written.lock().count * PAGE
    }

    /// The space of the file on the disk, in bytes, as `du` counts it.
    pub(crate) fn taken_bytes(&self) -> u64 {
        sparse::taken_bytes(&self.file)
    }

    /// The last shortage, which the next `take_shortage` will return.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        *self.shortage.lock()
    }

    /// Returns and clears the shortage since the last call; one of the disk takes precedence.
    pub(crate) fn take_shortage(&self) -> Option<Shortage> {
        self.shortage.lock().take()
    }

    /// Notes that the file system had no space, if `done` failed for that.
    pub(crate) fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            *self.shortage.lock() = Some(Shortage::Disk);
        }
        done
    }

    /// Counts the pages of `range` as written.
    ///
    /// # Errors
    /// `StorageFull` if the file may not take so much.
    fn claim(&self, range: Range<u64>) -> io::Result<()> {
        let mut written = self.written.lock();
        let more = written.missing(range.clone()) * PAGE;
        let is_over = range.end > self.longest || written.count * PAGE + more > self.most();
        if is_over && more > 0 {
            self.shortage.lock().get_or_insert(Shortage::Limit);
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the cache reached its limit of space on disk",
            ));
        }
        written.add(range);
        Ok(())
    }
}

/// A set of pages.
#[derive(Debug, Default)]
struct Pages {
    /// A bit for each page.
    bits: Vec<u64>,
    count: u64,
}

impl Pages {
    /// How many of the pages of `range`, in bytes, are not in the set.
    fn missing(&self, range: Range<u64>) -> u64 {
        pages(range).filter(|page| !self.contains(*page)).count() as u64
    }

    fn contains(&self, page: u64) -> bool {
        self.bits.get(word(page)).is_some_and(|word| word & 1 << (page % 64) != 0)
    }

    fn add(&mut self, range: Range<u64>) {
        for page in pages(range) {
            if self.bits.len() <= word(page) {
                self.bits.resize(word(page) + 1, 0);
            }
            if let Some(word) = self.bits.get_mut(word(page)) {
                self.count += u64::from(*word & 1 << (page % 64) == 0);
                *word |= 1 << (page % 64);
            }
        }
    }

    /// Removes the pages that begin behind a file of `length` bytes.
    fn truncate(&mut self, length: u64) {
        let end = length.div_ceil(PAGE);
        self.bits.truncate(word(end) + 1);
        if let Some(last) = self.bits.get_mut(word(end)) {
            *last &= (1 << (end % 64)) - 1;
        }
        self.count = self.bits.iter().map(|word| u64::from(word.count_ones())).sum();
    }
}

fn pages(range: Range<u64>) -> Range<u64> {
    range.start / PAGE..range.end.div_ceil(PAGE)
}

fn word(page: u64) -> usize {
    usize::try_from(page / 64).unwrap_or(usize::MAX)
}

/// A storage that takes no more space than its [`FileSpace`] allows.
#[derive(Debug)]
pub(crate) struct SizeLimitedStorage {
    inner: Box<dyn StorageBackend>,
    space: Arc<FileSpace>,
}

impl SizeLimitedStorage {
    pub(crate) fn new(inner: Box<dyn StorageBackend>, space: Arc<FileSpace>) -> Self {
        Self { inner, space }
    }
}

/// Without locks of its own: the lock of the directory keeps other processes away.
impl StorageBackend for SizeLimitedStorage {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.space.is_sparse || len > self.space.longest {
            self.space.claim(0..len)?;
        }
        self.space.note(self.inner.set_len(len))?;
        self.space.written.lock().truncate(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.space.note(self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.space.claim(offset..offset.saturating_add(data.len() as u64))?;
        self.space.note(self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::{FileBackend, InMemoryBackend};

    use super::*;

    #[test]
    fn a_write_past_the_limit_is_refused_and_noted() {
        for is_sparse in [false, true] {
            let space = FileSpace::new(&tempfile::tempfile().unwrap(), is_sparse, 8192).unwrap();
            let storage = SizeLimitedStorage::new(Box::new(InMemoryBackend::new()), space.clone());
            storage.set_len(8192).unwrap();
            storage.write(4096, &[1; 4096]).unwrap();
            assert_eq!(space.shortage(), None);
            let lengthened = storage.set_len(1 << 20).map_err(|error| error.kind());
            assert_eq!(lengthened, if is_sparse { Ok(()) } else { Err(io::ErrorKind::StorageFull) });
            assert_eq!(space.take_shortage(), (!is_sparse).then_some(Shortage::Limit));
            let refused = storage.write(8192, &[1; 4097]).unwrap_err();
            assert_eq!(
                (refused.kind(), space.take_shortage()),
                (io::ErrorKind::StorageFull, Some(Shortage::Limit))
            );
            assert_eq!(space.take_shortage(), None);
        }
    }

    #[test]
    fn pages_that_are_cut_off_or_written_again_take_no_more_space() {
        let file = tempfile::tempfile().unwrap();
        let space = FileSpace::new(&file, true, 3 * PAGE).unwrap();
        let storage = SizeLimitedStorage::new(
            Box::new(FileBackend::new(file.try_clone().unwrap()).unwrap()),
            space.clone(),
        );
        storage.set_len(1 << 30).unwrap();
        for page in [0, 100, 200_000, 100] {
            storage.write(page * PAGE, &[1; 4096]).unwrap();
        }
        assert!(storage.write(PAGE, &[1]).is_err());
        assert_eq!((space.written_bytes(), space.taken_bytes()), (3 * PAGE, 3 * PAGE));
        let again = FileSpace::new(&file, true, 3 * PAGE).unwrap();
        assert_eq!(again.written_bytes(), 3 * PAGE);
        storage.set_len(100 * PAGE).unwrap();
        assert_eq!((space.written_bytes(), space.taken_bytes()), (PAGE, PAGE));
        storage.set_len(1 << 30).unwrap();
        storage.write(PAGE, &[1; 2 * 4096]).unwrap();
        assert_eq!((space.written_bytes(), space.taken_bytes()), (3 * PAGE, 3 * PAGE));
    }
}
