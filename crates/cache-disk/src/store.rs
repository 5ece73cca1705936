//! [`Store`]: the open database. Only this module begins transactions of redb.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `data` | id | the part of a [record] that is not in blocks of a values file |
//! | `meta` | full key | [location] (id u64, size u32), expires at (u64, 0: never) |
//! | `state` | name | format, namespace, values files, next id, order of use, [notes of garbage](garbage) |
//! | `counters` | full key | a counter or a claim |
//!
//! Ids ascend and are never used twice, so that an index that is out of date can only refer to what is gone.

mod garbage;
mod location;
mod read;
mod record;
mod schema;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::panics::PanicSafeDrop;
use redb::{
    Builder, CompactionError, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend,
    TableError,
};

pub(crate) use self::garbage::GarbageNote;
pub(crate) use self::location::{BLOCK, Location, packed_size};
pub(crate) use self::read::{Snapshot, StateRows};
pub(crate) use self::record::{Record, Stored, record_bytes};
pub(crate) use self::schema::Meta;
use self::schema::{COUNTERS, DATA, META, STATE, TextTable};
pub(crate) use self::write::Batch;
use crate::error::{Fault, catch_panics};
use crate::values::Values;

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

/// An open database with its values files.
#[derive(Debug)]
pub(crate) struct Store {
    /// The number of this opening.
    pub(crate) opening: u64,
    pub(crate) values: Arc<Values>,
    database: PanicSafeDrop<Database>,
}

/// What a transaction did.
#[derive(Debug)]
pub(crate) struct Written<T> {
    pub(crate) value: T,
    /// Entries whose blocks nothing refers to any more.
    pub(crate) freed: Vec<Location>,
}

impl Store {
    /// Opens the database in `storage`, or creates one in an empty storage, with the values files that `values` returns for
    /// its table of state; `None` if that does.
    pub(crate) fn open(
        storage: impl StorageBackend,
        page_cache_bytes: usize,
        values: impl FnOnce(&StateRows) -> Result<Option<Values>, Fault>,
    ) -> Result<Option<Self>, Fault> {
        let database = catch_panics(|| {
            let database = Builder::new().set_cache_size(page_cache_bytes).create_with_backend(storage)?;
            Ok(PanicSafeDrop::new(database))
        })?;
        let values = values(&StateRows(rows(&database, STATE)?))?;
        let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
        Ok(values.map(|values| Self { opening, values: Arc::new(values), database }))
    }

    /// Returns the state of the last commit, lazy or durable; it does not change.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Fault> {
        catch_panics(|| {
            let transaction = self.database.begin_read()?;
            let data = PanicSafeDrop::new(transaction.open_table(DATA)?);
            let meta = PanicSafeDrop::new(transaction.open_table(META)?);
            Ok(Snapshot { opening: self.opening, data, meta, values: Arc::clone(&self.values) })
        })
    }

    /// Reads the table of state.
    pub(crate) fn state(&self) -> Result<StateRows, Fault> {
        rows(&self.database, STATE).map(StateRows)
    }

    /// Reads the table of counters and claims.
    pub(crate) fn counters(&self) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
        rows(&self.database, COUNTERS)
    }

    /// Runs `work` in one transaction and commits it; after an error nothing of it is committed.
    ///
    /// Blocks while another transaction writes.
    pub(crate) fn write<T>(
        &self,
        commit: CommitMode,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, redb::Error>,
    ) -> Result<Written<T>, Fault> {
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
                values: &self.values,
                freed: Vec::new(),
                is_aborted: false,
            };
            let value = work(&mut batch)?;
            let (is_aborted, freed) = (batch.is_aborted, std::mem::take(&mut batch.freed));
            drop(batch);
            let transaction = transaction.into_inner();
            if is_aborted {
                transaction.abort()?;
            } else {
                transaction.commit()?;
            }
            Ok(Written { value, freed })
        })
    }

    /// Moves the pages to the beginning of the file and cuts it off behind them; `false` if a snapshot is in use.
    ///
    /// # Cost
    /// Blocks for as long as it takes to copy the pages that lie behind the new end.
    pub(crate) fn compact(&mut self) -> Result<bool, Fault> {
        catch_panics(|| match self.database.compact() {
            Err(CompactionError::Storage(error)) => Err(error.into()),
            done => Ok(done.is_ok()),
        })
    }

    /// Leaves a damaged file open until the process ends, with the memory for its pages: closing it reads its tables of free
    /// pages, where redb may panic twice at once, which ends the process.
    pub(crate) fn abandon(self) {
        std::mem::forget(self.database);
    }

    /// Closes the file; then everything that was committed is on the disk.
    pub(crate) fn close(self) -> Result<(), Fault> {
        catch_panics(|| Ok(self.database.into_inner().close()?))
    }
}

/// Reads a table; it is empty in a database that is not a cache's.
fn rows(database: &Database, table: TextTable) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    catch_panics(|| {
        let table = match database.begin_read()?.open_table(table) {
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
