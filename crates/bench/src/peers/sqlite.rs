//! SQLite as a cache: one table, write-ahead log, `synchronous=NORMAL`, prepared statements.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::CacheKey;
use rusqlite::{Connection, OptionalExtension};
use tokio::runtime::Runtime;

use super::Peer;
use crate::Outcome;
use crate::case::{check, timed};

struct Sqlite(Connection);

/// An empty database in `directory`.
pub(super) fn open(_: &Arc<Runtime>, directory: &Path) -> Outcome<Box<dyn Peer>> {
    let connection = Connection::open(directory.join("cache.sqlite"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768; \
         CREATE TABLE cache (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    )?;
    Ok(Box::new(Sqlite(connection)))
}

impl Peer for Sqlite {
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
}
