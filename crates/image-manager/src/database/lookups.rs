//! Reads of single rows in the calling task, as each request makes one to check its permission.
//!
//! SQLite finds a row by its key in a few microseconds, and in WAL mode a reader waits for no writer. A change to another
//! thread and back costs several times as much.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::schema;

/// The most look-ups at the same moment, each of which takes microseconds.
const CONNECTIONS: usize = 4;

/// Connections for reads in the calling task.
#[derive(Debug)]
pub(super) struct Lookups {
    idle: Mutex<Vec<Connection>>,
}

impl Lookups {
    /// Opens the connections to a database that is prepared.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let idle = (0..CONNECTIONS).map(|_| schema::connect_to_look_up(path)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Mutex::new(idle) })
    }

    /// Returns what `row` reads in a fresh snapshot, or `None` where it fails or no connection is idle.
    pub(super) fn find<T>(&self, row: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let connection = self.idle.lock().pop()?;
        let found = row(&connection);
        self.idle.lock().push(connection);
        found.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use rusqlite::Connection;
    use uuid::Uuid;

    use crate::database::testing::database;
    use crate::database::{add_project, delete_project};
    use crate::error::ApiError;

    fn count(db: &Connection) -> rusqlite::Result<u64> {
        db.prepare_cached("SELECT count(*) FROM projects")?.query_row([], |row| row.get(0))
    }

    #[tokio::test]
    async fn a_lookup_sees_each_commit_before_it() {
        let (_directory, database) = database();
        let project = Uuid::now_v7();
        for _ in 0..3 {
            database.put(move |db| add_project(db, project, "P", &[], "ann")).await.unwrap();
            assert_eq!(database.pool.lookups.find(count), Some(1));
            database.put(move |db| delete_project(db, project)).await.unwrap();
            assert_eq!(database.pool.lookups.find(count), Some(0));
        }
    }

    #[tokio::test]
    async fn a_lookup_that_fails_or_finds_no_connection_is_made_as_a_read() {
        let (_directory, database) = database();
        let calls = std::sync::Arc::new(AtomicU32::new(0));
        let (counted, fails_once) = (calls.clone(), |calls: u32| match calls {
            0 => Err(rusqlite::Error::InvalidQuery),
            _ => Ok(7),
        });
        let found = database.find(move |_| fails_once(counted.fetch_add(1, Ordering::SeqCst))).await;
        assert_eq!((found, calls.load(Ordering::SeqCst)), (Ok(7), 2));

        let taken = std::mem::take(&mut *database.pool.lookups.idle.lock());
        assert!(!taken.is_empty() && database.pool.lookups.find(count).is_none());
        assert_eq!(database.find(count).await, Ok(0));
    }

    #[tokio::test]
    async fn a_lookup_waits_for_no_read_and_no_write() {
        let (directory, database) = database();
        let mut writer = Connection::open(directory.path().join("test.sqlite3")).unwrap();
        let _writing = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive).unwrap();
        let connections = u32::try_from(crate::database::CONNECTIONS).unwrap();
        let _reading = database.pool.connections.acquire_many(connections).await.unwrap();
        assert_eq!(database.find(count).await, Ok(0));
    }

    #[tokio::test]
    async fn a_lookup_changes_nothing() {
        let (_directory, database) = database();
        let deleted = database.pool.lookups.find(|db| db.execute("DELETE FROM milestones", []));
        assert_eq!(deleted, None);
        let mut names = database.pool.lookups.idle.lock();
        assert!(names.pop().is_some_and(|db| db.is_autocommit()));
    }

    #[tokio::test]
    async fn a_lookup_in_a_database_that_was_replaced_is_an_error() {
        let (directory, database) = database();
        let path = directory.path().join("test.sqlite3");
        std::fs::rename(&path, directory.path().join("aside")).unwrap();
        assert_eq!(database.find(count).await.map_err(|error| error.status().as_u16()), Err(500));
        std::fs::rename(directory.path().join("aside"), &path).unwrap();
        assert_eq!(database.find(count).await, Ok::<_, ApiError>(0));
    }
}
