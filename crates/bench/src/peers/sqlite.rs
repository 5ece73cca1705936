//! SQLite as a cache: one ordinary table, write-ahead log, `synchronous=NORMAL`, prepared statements.

use std::time::Duration;

use bytes::Bytes;
use cache_core::CacheKey;
use rusqlite::{Connection, OptionalExtension};

use super::store::{MEMORY, Place, Store};
use crate::Outcome;
use crate::case::{check, timed};

struct Sqlite(Connection);

pub(super) fn open(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(Sqlite(connect(place)?)))
}

/// The whole file is mapped: pages of the system, beside the memory that SQLite has.
pub(super) fn open_mapped(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    let connection = connect(place)?;
    connection.execute_batch("PRAGMA mmap_size = 1073741824")?;
    Ok(Box::new(Sqlite(connection)))
}

fn connect(place: Place<'_>) -> Outcome<Connection> {
    let connection = Connection::open(place.directory.join("cache.sqlite"))?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{}; \
         CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, value BLOB NOT NULL)",
        MEMORY / 1024
    ))?;
    Ok(connection)
}

impl Store for Sqlite {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        let mut statement = self.0.prepare_cached("SELECT value FROM cache WHERE key = ?1")?;
        timed(keys, |key| {
            let found: Option<Vec<u8>> = statement.query_row([key.as_str()], |row| row.get(0)).optional()?;
            check(found.map(|value| value.len()), expected)
        })
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        let mut statement = self.0.prepare_cached("INSERT OR REPLACE INTO cache VALUES (?1, ?2)")?;
        timed(entries, |(key, value)| Ok(statement.execute((key.as_str(), &value[..])).map(drop)?))
    }

    fn remove(&mut self, key: &CacheKey) -> Outcome<()> {
        let mut statement = self.0.prepare_cached("DELETE FROM cache WHERE key = ?1")?;
        statement.execute([key.as_str()])?;
        Ok(())
    }

    fn holds(&mut self, key: &CacheKey) -> Outcome<bool> {
        let mut statement = self.0.prepare_cached("SELECT 1 FROM cache WHERE key = ?1")?;
        Ok(statement.exists([key.as_str()])?)
    }
}
