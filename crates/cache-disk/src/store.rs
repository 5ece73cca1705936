//! [`Store`]: the open database. Only this module begins transactions of redb.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `data` | id << 16 \| row | a row of a [record] |
//! | `meta` | full key | id (u64), cost (u32), expires at (u64, 0: never) |
//! | `state` | name | format, namespace, order of use, [notes of garbage](garbage) |
//! | `counters` | full key | a counter or a claim |
//!
//! Ids ascend and are never used twice while anything refers to them. A read is therefore one range of numbers, and an
//! index that is out of date can only refer to rows that are gone.

mod garbage;
mod read;
mod record;
mod schema;
mod write;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::panics::PanicSafeDrop;
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableError};

pub(crate) use self::garbage::GarbageNote;
pub(crate) use self::read::{Snapshot, StateRows};
pub(crate) use self::record::{ROW_BYTES, record_bytes};
use self::schema::{COUNTERS, DATA, META, STATE, TextTable};
pub(crate) use self::schema::{Meta, Rows};
pub(crate) use self::write::Batch;
use crate::error::{Fault, catch_panics};

/// The durability of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitMode {
    /// Seen by readers; lost if the process dies before the next durable commit.
    Lazy,
    /// On the disk.
    Durable,
}

/// How many databases this process has opened: a fault of an earlier opening is ignored.
static OPENINGS: AtomicU64 = AtomicU64::new(0);

/// An open database.
#[derive(Debug)]
pub(crate) struct Store {
    /// The number of this opening.
    pub(crate) opening: u64,
    database: PanicSafeDrop<Database>,
}

impl Store {
    /// Opens the database in `storage`, or creates one in an empty storage.
    pub(crate) fn open(storage: impl StorageBackend, page_cache_bytes: usize) -> Result<Self, Fault> {
        catch_panics(|| {
            let database = Builder::new().set_cache_size(page_cache_bytes).create_with_backend(storage)?;
            let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
            Ok(Self { opening, database: PanicSafeDrop::new(database) })
        })
    }

    /// Returns the state of the last commit, lazy or durable; it does not change.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Fault> {
        catch_panics(|| {
            let transaction = self.database.begin_read()?;
            let data = PanicSafeDrop::new(transaction.open_table(DATA)?);
            let meta = PanicSafeDrop::new(transaction.open_table(META)?);
            Ok(Snapshot { opening: self.opening, data, meta })
        })
    }

    /// Reads the table of state; it is empty in a database that is not a cache's.
    pub(crate) fn state(&self) -> Result<StateRows, Fault> {
        self.rows(STATE).map(StateRows)
    }

    /// Reads the table of counters and claims.
    pub(crate) fn counters(&self) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
        self.rows(COUNTERS)
    }

    fn rows(&self, table: TextTable) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
        catch_panics(|| {
            let table = match self.database.begin_read()?.open_table(table) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
                table => table?,
            };
            let mut rows = BTreeMap::new();
            for row in table.iter()? {
                let (name, value) = row?;
                rows.insert(name.value().to_owned(), value.value().to_vec());
            }
            Ok(rows)
        })
    }

    /// Runs `work` in one transaction and commits it; after an error nothing of it is committed.
    ///
    /// Blocks while another transaction writes.
    pub(crate) fn write<T>(
        &self,
        commit: CommitMode,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, redb::Error>,
    ) -> Result<T, Fault> {
        catch_panics(|| {
            let mut transaction = PanicSafeDrop::new(self.database.begin_write()?);
            match commit {
                // Stores the allocator's state, so that opening after a crash takes milliseconds.
                CommitMode::Durable => transaction.set_quick_repair(true),
                CommitMode::Lazy => transaction.set_durability(Durability::None)?,
            }
            let mut batch = Batch {
                data: PanicSafeDrop::new(transaction.open_table(DATA)?),
                meta: PanicSafeDrop::new(transaction.open_table(META)?),
                state: PanicSafeDrop::new(transaction.open_table(STATE)?),
                counters: PanicSafeDrop::new(transaction.open_table(COUNTERS)?),
                is_aborted: false,
            };
            let value = work(&mut batch)?;
            let is_aborted = batch.is_aborted;
            drop(batch);
            let transaction = transaction.into_inner();
            if is_aborted {
                transaction.abort()?;
            } else {
                transaction.commit()?;
            }
            Ok(value)
        })
    }

    /// Closes the file; then everything that was committed is on the disk.
    pub(crate) fn close(self) -> Result<(), Fault> {
        catch_panics(|| Ok(self.database.into_inner().close()?))
    }
}
