//! [`Guard`]: the storage under redb that ends where the limit is.
//!
//! All of redb's pages lie within its file's length, so a file that is never longer than its share of the limit never takes
//! more, whatever is in it. redb doubles the file when it finds no free page; a step past the end is refused and reads like
//! a full disk. The writer gives the file all of its share before that happens, and evicts when even that is full.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::{BackendError, StorageBackend};

/// The space of one file: what it takes, and where it must end.
#[derive(Debug)]
pub(crate) struct Space {
    /// `None` where there is no file.
    file: Option<File>,
    /// The file's length, in bytes.
    length: AtomicU64,
    /// The longest that it may get, in bytes.
    most: u64,
    was_refused: AtomicBool,
    is_disk_full: AtomicBool,
}

impl Space {
    /// The space of `file`, which may get `most` bytes long.
    pub(crate) fn new(file: &File, most: u64) -> io::Result<Arc<Self>> {
        let length = AtomicU64::new(file.metadata()?.len());
        Ok(Arc::new(Self {
            file: Some(file.try_clone()?),
            length,
            most,
            was_refused: AtomicBool::new(false),
            is_disk_full: AtomicBool::new(false),
        }))
    }

    /// The space of no file. A removed file takes its place on the disk as long as its space is held.
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self {
            file: None,
            length: AtomicU64::new(0),
            most: 0,
            was_refused: AtomicBool::new(false),
            is_disk_full: AtomicBool::new(false),
        })
    }

    /// What the file takes on the disk, in bytes, as `du` counts it; its length where that cannot be asked.
    pub(crate) fn taken_bytes(&self) -> u64 {
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        metadata.map_or_else(|| self.length(), |metadata| metadata.blocks() * 512)
    }

    /// The file's length, in bytes: parts of it may never have been written.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// The longest that it may get, in bytes.
    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// Whether it was to become longer than it may, since this was last asked.
    pub(crate) fn take_refused(&self) -> bool {
        self.was_refused.swap(false, Ordering::Relaxed)
    }

    /// Whether the file system had no room, as `take_disk_full` will say.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.is_disk_full.load(Ordering::Relaxed)
    }

    /// Whether the file system had no room, since this was last asked.
    pub(crate) fn take_disk_full(&self) -> bool {
        self.is_disk_full.swap(false, Ordering::Relaxed)
    }

    fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            self.is_disk_full.store(true, Ordering::Relaxed);
        }
        done
    }

    fn check(&self, end: u64) -> io::Result<()> {
        if end <= self.most {
            return Ok(());
        }
        self.was_refused.store(true, Ordering::Relaxed);
        Err(io::Error::new(io::ErrorKind::StorageFull, "the cache reached its limit of space on disk"))
    }
}

/// A storage that ends; everything else goes to the one inside.
#[derive(Debug)]
pub(crate) struct Guard<B> {
    inner: B,
    space: Arc<Space>,
}

impl<B> Guard<B> {
    pub(crate) fn new(inner: B, space: Arc<Space>) -> Self {
        Self { inner, space }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: StorageBackend> StorageBackend for Guard<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.space.check(len)?;
        self.space.note(self.inner.set_len(len))?;
        self.space.length.store(len, Ordering::Relaxed);
        Ok(())
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
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn what_would_end_behind_the_limit_is_refused_and_said() {
        let space = Space::new(&tempfile::tempfile().unwrap(), 8192).unwrap();
        let guard = Guard::new(InMemoryBackend::new(), space.clone());
        guard.set_len(8192).unwrap();
        guard.write(4096, &[1; 4096]).unwrap();
        assert!(!space.take_refused());
        assert_eq!(guard.set_len(8193).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(space.take_refused() && !space.take_refused());
        assert_eq!(guard.write(8192, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((guard.len().unwrap(), space.length(), space.take_refused()), (8192, 8192, true));
    }

    #[test]
    fn a_file_with_holes_takes_less_than_its_length() {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 1 << 20).unwrap();
        let space = Space::new(&file, 2 << 20).unwrap();
        assert_eq!((space.taken_bytes(), space.length()), (8192, (1 << 20) + 4096));
    }
}
