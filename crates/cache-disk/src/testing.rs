//! Hooks for tests: a storage that loses, tears or fails writes under redb, and hashes that collide.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::config::DiskConfig;

/// Puts a storage of the test's own around the file that redb would write to.
type Wrap = dyn Fn(FileBackend) -> Box<dyn StorageBackend> + Send + Sync;

/// What stands between the engine and the file of its database; nothing unless a test says so.
#[derive(Clone, Default)]
pub(crate) struct StorageHook(Option<Arc<Wrap>>);

impl StorageHook {
    pub(crate) fn wrap(&self, file: FileBackend) -> Wrapped {
        Wrapped(match &self.0 {
            Some(wrap) => wrap(file),
            None => Box::new(file),
        })
    }
}

impl fmt::Debug for StorageHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StorageHook").field(&self.0.is_some()).finish()
    }
}

impl DiskConfig {
    /// Opens every file of the database through `wrap`.
    #[must_use]
    pub fn wrap_storage(
        self,
        wrap: impl Fn(FileBackend) -> Box<dyn StorageBackend> + Send + Sync + 'static,
    ) -> Self {
        Self { storage: StorageHook(Some(Arc::new(wrap))), ..self }
    }

    /// Uses only the bits of a key's hash that are set in `hash_mask`, so that keys collide.
    #[must_use]
    pub fn hash_mask(self, hash_mask: u64) -> Self {
        Self { hash_mask, ..self }
    }
}

/// A boxed storage: redb takes storages by value.
#[derive(Debug)]
pub(crate) struct Wrapped(Box<dyn StorageBackend>);

#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Wrapped {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
