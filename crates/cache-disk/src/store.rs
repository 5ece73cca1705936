//! [`Store`]: every transaction of redb, and nothing else opens one.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `data` | id << 16 \| row | a row of a [record](crate::record) |
//! | `meta` | full key | id (u64), cost (u32), expires at (u64, 0: never) |
//! | `state` | name | format, namespace, saved order, rows whose keys are gone |
//! | `counters` | full key | a counter or a claim |
//!
//! Ids ascend and are never used twice while anything may name them, so a read is one range by number, and an index that is
//! behind can at worst point to rows that are gone. Rows whose keys are gone may [remain](remains) for a while: whoever leaves
//! them sees to it that nothing points to them.

mod batch;
mod meta;
mod remains;
mod snapshot;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::panics::PanicSafeDrop;
use redb::{
    AccessGuard, Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, TableError,
};

pub(crate) use self::batch::Batch;
pub(crate) use self::meta::Meta;
pub(crate) use self::remains::{Remains, Rows};
pub(crate) use self::snapshot::Snapshot;
use crate::error::{Fault, guarded};

const DATA: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("data");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");
const COUNTERS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("counters");

/// How far a commit reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Seen by readers; lost if the process dies before the next durable one.
    Lazy,
    /// On the disk.
    Durable,
    /// Not at all: nothing was changed.
    Nothing,
}

/// How many databases were opened: what tells the faults of one from those of the next.
static OPENINGS: AtomicU64 = AtomicU64::new(0);

/// An open database.
pub(crate) struct Store {
    opening: u64,
    database: PanicSafeDrop<Database>,
}

impl Store {
    /// Opens the database in `storage`, or creates one in an empty storage.
    pub(crate) fn open(storage: impl StorageBackend, page_cache_bytes: usize) -> Result<Self, Fault> {
        guarded(|| {
            let database = Builder::new().set_cache_size(page_cache_bytes).create_with_backend(storage)?;
            let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
            Ok(Self { opening, database: PanicSafeDrop::new(database) })
        })
    }

    /// The number of this opening.
    pub(crate) fn opening(&self) -> u64 {
        self.opening
    }

    /// What was committed last, lazily or durably; it does not change.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Fault> {
        guarded(|| {
            let transaction = self.database.begin_read()?;
            let data = PanicSafeDrop::new(transaction.open_table(DATA)?);
            let meta = PanicSafeDrop::new(transaction.open_table(META)?);
            Ok(Snapshot { opening: self.opening, data, meta })
        })
    }

    /// A value of the state table.
    pub(crate) fn state(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        guarded(|| match self.database.begin_read()?.open_table(STATE) {
            Ok(table) => Ok(table.get(name)?.map(|value| value.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// The rows whose keys are gone.
    pub(crate) fn remains(&self) -> Result<Vec<Remains>, Fault> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(STATE)?;
            let notes = table.range(remains::NAMES..remains::BEHIND_NAMES)?;
            let note = |row: Result<(AccessGuard<'_, &str>, AccessGuard<'_, &[u8]>), _>| {
                row.map(|(_, bytes)| Remains::from_bytes(bytes.value()))
            };
            Ok(notes.map(note).collect::<Result<_, redb::StorageError>>()?)
        })
    }

    /// Everything in the table of counters.
    pub(crate) fn counters(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(COUNTERS)?;
            let row = |row: Result<(AccessGuard<'_, &str>, AccessGuard<'_, &[u8]>), _>| {
                row.map(|(name, value)| (name.value().to_owned(), value.value().to_vec()))
            };
            Ok(table.iter()?.map(row).collect::<Result<_, redb::StorageError>>()?)
        })
    }

    /// Runs `work` in one transaction and commits it as far as `work` says; on an error nothing of it is committed.
    ///
    /// `most` is how far the commit may reach. Blocks while another transaction writes.
    pub(crate) fn write<T>(
        &self,
        most: Commit,
        work: impl FnOnce(&mut Batch<'_>) -> Result<(T, Commit), redb::Error>,
    ) -> Result<T, Fault> {
        guarded(|| {
            let mut transaction = PanicSafeDrop::new(self.database.begin_write()?);
            if most == Commit::Durable {
                // Stores the allocator's state, so that opening after a crash takes milliseconds.
                transaction.set_quick_repair(true);
            } else {
                transaction.set_durability(Durability::None)?;
            }
            let mut batch = Batch {
                data: PanicSafeDrop::new(transaction.open_table(DATA)?),
                meta: PanicSafeDrop::new(transaction.open_table(META)?),
                state: PanicSafeDrop::new(transaction.open_table(STATE)?),
                counters: PanicSafeDrop::new(transaction.open_table(COUNTERS)?),
            };
            let (value, commit) = work(&mut batch)?;
            drop(batch);
            if commit == Commit::Nothing {
                transaction.into_inner().abort()?;
            } else {
                transaction.into_inner().commit()?;
            }
            Ok(value)
        })
    }

    /// Closes the file; everything committed is on the disk then.
    pub(crate) fn close(self) -> Result<(), Fault> {
        guarded(|| Ok(self.database.into_inner().close()?))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
