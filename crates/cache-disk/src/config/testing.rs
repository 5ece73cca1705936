//! Hooks for tests: a storage that loses, tears or fails writes, and hashes that collide.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
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

/// An operation on the values files; ids are numbers of blocks.
#[derive(Debug)]
#[expect(missing_docs, reason = "for this crate's own tests")]
pub enum ValuesOperation<'a> {
    Read { id: u64 },
    Write { id: u64, parts: &'a [IoSlice<'a>] },
    Free { ids: Range<u64> },
    Sync,
}

/// Is asked before an operation; whether it is done, or an error in its place.
type Before = dyn Fn(ValuesOperation<'_>) -> io::Result<bool> + Send + Sync;

/// The hook of a test before operations on the values files, if any.
#[derive(Clone, Default)]
pub(crate) struct ValuesHook(Option<Arc<Before>>);

impl ValuesHook {
    pub(crate) fn before(&self, operation: ValuesOperation<'_>) -> io::Result<bool> {
        self.0.as_ref().map_or(Ok(true), |before| before(operation))
    }
}

impl fmt::Debug for ValuesHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValuesHook").field(&self.0.is_some()).finish()
    }
}

impl DiskConfig {
    /// Calls `before` for every operation on the values files: `false` skips it and reports success.
    #[must_use]
    pub fn before_values(
        self,
        before: impl Fn(ValuesOperation<'_>) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self { values: ValuesHook(Some(Arc::new(before))), ..self }
    }

    /// Keeps every value that does not fit into a row in a file of its own, as on a file system without holes.
    #[must_use]
    pub fn without_holes(self) -> Self {
        Self { has_holes: false, ..self }
    }

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
