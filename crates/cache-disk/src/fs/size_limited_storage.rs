//! [`SizeLimitedStorage`]: the storage of redb that ends at the limit.
//!
//! All pages of redb lie within the length of its file, so a file that never exceeds its share of the limit never takes more
//! space, whatever it holds. redb doubles the file when it finds no free page; a step past the limit is refused and looks
//! like a full disk. The writer gives the file its whole share before that happens, and evicts when the file is full.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

/// The space of one file: what it takes, and where it must end.
#[derive(Debug)]
pub(crate) struct FileSpace {
    file: File,
    /// The greatest length of the file, in bytes.
    pub(crate) most: u64,
    shortage: Mutex<Option<Shortage>>,
}

/// Why there was no space for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The file would have exceeded its greatest length.
    Limit,
    /// The file system had no space.
    Disk,
}

impl FileSpace {
    /// The space of `file`, which may become `most` bytes long.
    pub(crate) fn new(file: &File, most: u64) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { file: file.try_clone()?, most, shortage: Mutex::new(None) }))
    }

    /// The space of the file on the disk, in bytes, as `du` counts it.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
    }

    /// The length of the file, in bytes; parts of it may never have been written.
    pub(crate) fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The last shortage, which the next `take_shortage` will return.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        *self.shortage.lock()
    }

    /// Returns and clears the shortage since the last call; one of the disk takes precedence.
    pub(crate) fn take_shortage(&self) -> Option<Shortage> {
        self.shortage.lock().take()
    }

    fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            *self.shortage.lock() = Some(Shortage::Disk);
        }
        done
    }

    fn check(&self, end: u64) -> io::Result<()> {
        if end <= self.most {
            return Ok(());
        }
        self.shortage.lock().get_or_insert(Shortage::Limit);
        Err(io::Error::new(io::ErrorKind::StorageFull, "the cache reached its limit of space on disk"))
    }
}

/// A storage that ends at the limit of its [`FileSpace`].
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

#[deny(clippy::missing_trait_methods)]
impl StorageBackend for SizeLimitedStorage {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.space.check(len)?;
        self.space.note(self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.space.note(self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.space.check(offset.saturating_add(data.len() as u64))?;
        self.space.note(self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn a_write_past_the_limit_is_refused_and_noted() {
        let space = FileSpace::new(&tempfile::tempfile().unwrap(), 8192).unwrap();
        let storage = SizeLimitedStorage::new(Box::new(InMemoryBackend::new()), space.clone());
        storage.set_len(8192).unwrap();
        storage.write(4096, &[1; 4096]).unwrap();
        assert_eq!(space.shortage(), None);
        assert_eq!(storage.set_len(8193).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((space.take_shortage(), space.take_shortage()), (Some(Shortage::Limit), None));
        assert_eq!(storage.write(8192, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((storage.len().unwrap(), space.shortage()), (8192, Some(Shortage::Limit)));
    }

    #[test]
    fn a_file_with_holes_takes_less_than_its_length() {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 1 << 20).unwrap();
        let space = FileSpace::new(&file, 2 << 20).unwrap();
        assert_eq!((space.taken_bytes(), space.length()), (8192, (1 << 20) + 4096));
    }
}
