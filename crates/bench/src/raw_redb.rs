//! The peer of the disk backend: redb as its documentation shows it, one table from text to bytes.

use std::path::Path;

use cache_core::CacheKey;
use redb::{Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::Outcome;

const TABLE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("cache");

/// What the peer is called in rows.
pub const NAME: &str = "raw redb";
/// What it is called where each `get` begins a transaction and opens the table, as its documentation shows it.
pub const EACH: &str = "raw redb, a transaction a get";
/// What it is called where all use one transaction, which does not see what is written meanwhile.
pub const KEPT: &str = "raw redb, its transaction kept open";

/// A database with one table.
#[derive(Debug)]
pub struct RawRedb {
    database: Database,
}

/// The table as it was at one time.
#[derive(Debug)]
pub struct Snapshot(ReadOnlyTable<&'static str, &'static [u8]>);

impl Snapshot {
    /// The value of `key`, copied out.
    pub fn get(&self, key: &CacheKey) -> Outcome<Option<Vec<u8>>> {
        Ok(self.0.get(key.as_str())?.map(|value| value.value().to_vec()))
    }
}

/// One change of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Stores a value.
    Put(&'a CacheKey, &'a [u8]),
    /// Removes one.
    Remove(&'a CacheKey),
}

impl RawRedb {
    /// Opens the database in `directory` with so much memory for its pages, or creates one.
    pub fn create(directory: &Path, page_cache_bytes: usize) -> Outcome<Self> {
        let database = Builder::new().set_cache_size(page_cache_bytes).create(directory.join("raw.redb"))?;
        let raw = Self { database };
        raw.apply(&[], Durability::Immediate)?;
        Ok(raw)
    }

    /// The value of `key`, copied out: one transaction.
    pub fn get(&self, key: &CacheKey) -> Outcome<Option<Vec<u8>>> {
        self.snapshot()?.get(key)
    }

    /// What is stored now: a transaction that stays open.
    pub fn snapshot(&self) -> Outcome<Snapshot> {
        Ok(Snapshot(self.database.begin_read()?.open_table(TABLE)?))
    }

    /// Makes `changes` in one transaction.
    pub fn apply(&self, changes: &[Change<'_>], durability: Durability) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for change in changes {
                match change {
                    Change::Put(key, value) => drop(table.insert(key.as_str(), *value)?),
                    Change::Remove(key) => drop(table.remove(key.as_str())?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Removes every entry of the group `group`, durably; how many there were.
    pub fn clear_group(&self, group: &str) -> Outcome<u64> {
        let transaction = self.database.begin_write()?;
        let mut removed = 0;
        {
            let mut table = transaction.open_table(TABLE)?;
            // The character behind `:` ends the range of what begins with the group and a `:`.
            let (from, to) = (format!("{group}:"), format!("{group};"));
            table.retain_in(from.as_str()..to.as_str(), |_, _| {
                removed += 1;
                false
            })?;
        }
        transaction.commit()?;
        Ok(removed)
    }
}
