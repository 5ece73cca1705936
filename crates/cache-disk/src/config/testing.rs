//! Hooks for tests: a storage that loses, tears or fails writes, and hashes that collide.

use std::fmt;
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::DiskConfig;

/// Wraps the file of a database into a storage of the test.
type Wrap = dyn Fn(FileBackend) -> Box<dyn StorageBackend> + Send + Sync;

/// The wrapper of a test around the files of the database, if any.
#[derive(Clone, Default)]
pub(crate) struct StorageHook(Option<Arc<Wrap>>);

impl StorageHook {
    pub(crate) fn wrap(&self, file: FileBackend) -> Box<dyn StorageBackend> {
        match &self.0 {
            Some(wrap) => wrap(file),
            None => Box::new(file),
        }
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
