//! SQLite: the one place where blocking database work leaves the async threads.
//!
//! Several processes may share the file: it is in WAL mode, readers never wait, and writers wait for each other.

mod analyses;
mod columns;
mod images;
mod listing;
mod lookups;
mod permission;
mod projects;
mod schema;
mod search;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

pub(crate) use analyses::{Analysis, add_analysis, analyses_of, find_analysis, stored_analysis};
pub(crate) use images::{
    Image, NewFile, NewImage, StoredImage, add_image, delete_image, file_is_known, find_image, image,
    image_for, replace_file, restore_image, set_metadata, stored_image,
};
pub(crate) use listing::{ImagePage, ListingQuery, images_of};
pub(crate) use permission::permitted;
pub(crate) use projects::{
    Project, Samples, add_project, begin_samples, delete_project, end_samples, filenames_of, files_of,
    find_project, project_for, projects_of, samples, set_members,
};
pub use schema::OpenError;
pub(crate) use schema::examine;
pub(crate) use search::Search;

use self::lookups::Lookups;
use crate::caching::Announced;
use crate::error::ApiError;

/// Connections of this process, and with them threads inside SQLite at once.
const CONNECTIONS: usize = 8;

const NEVER_CLOSED: &str = "nothing closes the semaphores";

/// The application's database; a cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    path: PathBuf,
    /// Device and inode of the file that was opened.
    file: (u64, u64),
    idle: Mutex<Vec<Connection>>,
    lookups: Lookups,
    connections: Arc<Semaphore>,
    /// Writers of this process queue here, in order, so that they do not hold connections while they wait.
    writer: Arc<Semaphore>,
}

/// A failed write.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The database is unchanged.
    RolledBack(ApiError),
    /// The write may be in the database: the commit itself failed.
    Unknown(ApiError),
}

impl Database {
    /// Opens the database at `path`, made and brought to the current schema if need be. Blocks.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or was made by a newer version of this application.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let first = schema::open(path)?;
        let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let file =
            identity(path).map_err(|error| sqlite(rusqlite::Error::ToSqlConversionFailure(error.into())))?;
        let lookups = Lookups::open(path).map_err(sqlite)?;
        let pool = Pool {
            path: path.to_owned(),
            file,
            idle: Mutex::new(vec![first]),
            lookups,
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            writer: Arc::new(Semaphore::new(1)),
        };
        Ok(Self { pool: Arc::new(pool) })
    }

    /// Returns what `row` reads in a fresh snapshot, in the calling task: for one statement that finds a few rows by their
    /// keys.
    ///
    /// Where that fails, as while another process recovers the database, `row` is called once more by
    /// [`read`](Self::read), which waits and reports errors.
    pub(crate) async fn find<T: Send + 'static>(
        &self,
        row: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        if self.pool.is_in_place()
            && let Some(found) = self.pool.lookups.find(&row)
        {
            return Ok(found);
        }
        self.read(move |db| Ok(row(db)?)).await
    }

    /// Reads in one fresh snapshot: everything committed before the call, and nothing later than its first statement.
    ///
    /// # Cancellation
    /// The work runs to its end on its thread; its result is dropped.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.blocking(move |connection| {
            let snapshot = connection.transaction()?;
            work(&snapshot)
        })
        .await
    }

    /// Writes in one transaction: all of `work`, or on its error nothing.
    ///
    /// `Announced` proves that the cache knows the values that the write makes stale.
    ///
    /// # Cancellation
    /// The transaction runs to its end on its thread.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        _announced: Announced,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, WriteError> {
        let turn = Arc::clone(&self.pool.writer).acquire_owned().await.expect(NEVER_CLOSED);
        let written = self.blocking(move |connection| {
            let _turn = turn;
            Ok(write(connection, work))
        });
        written.await.unwrap_or_else(|error| Err(WriteError::Unknown(error)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.pool.connections).acquire_owned().await.expect(NEVER_CLOSED);
        let pool = Arc::clone(&self.pool);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            // SQLite would write on to a file without a name, which is lost when it is closed.
            if !pool.is_in_place() {
                return Err(ApiError::internal(
                    "using the database",
                    format!("{} was removed or replaced; restore it and start again", pool.path.display()),
                ));
            }
            let idle = pool.idle.lock().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => schema::connect(&pool.path)?,
            };
            let result = work(&mut connection);
            pool.idle.lock().push(connection);
            result
        });
        done.await.unwrap_or_else(|panic| Err(ApiError::internal("database work", panic)))
    }
}

impl Pool {
    /// Returns whether the file that was opened still has its name.
    fn is_in_place(&self) -> bool {
        identity(&self.path).ok() == Some(self.file)
    }
}

/// Returns the device and inode of a file.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn write<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, ApiError>,
) -> Result<T, WriteError> {
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = begun.map_err(|error| WriteError::RolledBack(error.into()))?;
    let value = work(&transaction).map_err(WriteError::RolledBack)?;
    transaction.commit().map_err(|error| WriteError::Unknown(error.into()))?;
    Ok(value)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Creates a database in a directory that is removed with the returned guard.
    pub(crate) fn database() -> (tempfile::TempDir, Database) {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("test.sqlite3")).unwrap();
        (directory, database)
    }

    impl Database {
        /// Writes as a route does, without a cache.
        pub(crate) async fn put<T: Send + 'static>(
            &self,
            work: impl FnOnce(&Transaction<'_>) -> Result<T, ApiError> + Send + 'static,
        ) -> Result<T, ApiError> {
            self.write(Announced::for_tests(), work).await.map_err(|error| match error {
                WriteError::RolledBack(error) | WriteError::Unknown(error) => error,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::testing::database;
    use super::*;

    fn count(transaction: &Transaction<'_>) -> Result<u64, ApiError> {
        Ok(transaction.query_row("SELECT count(*) FROM projects", [], |row| row.get(0))?)
    }

    fn insert(transaction: &Transaction<'_>) -> Result<(), ApiError> {
        add_project(transaction, Uuid::now_v7(), "P", &["demo".to_owned()], "demo")?;
        Ok(())
    }

    #[tokio::test]
    async fn a_refused_write_leaves_nothing_behind() {
        let (_directory, database) = database();
        let refused = database.write(Announced::for_tests(), |transaction| {
            insert(transaction)?;
            Err::<(), _>(ApiError::conflict("no"))
        });
        assert!(matches!(refused.await, Err(WriteError::RolledBack(_))));
        assert_eq!(database.read(count).await, Ok(0));
    }

    #[tokio::test]
    async fn a_read_after_a_write_sees_it() {
        let (_directory, database) = database();
        database.put(insert).await.unwrap();
        assert_eq!(database.read(count).await, Ok(1));
    }

    #[tokio::test]
    async fn many_instances_write_one_file() {
        let (directory, first) = database();
        let path = directory.path().join("test.sqlite3");
        let second = Database::open(&path).unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..40 {
            let database = if number % 2 == 0 { first.clone() } else { second.clone() };
            writers.spawn(async move { database.put(insert).await });
        }
        while let Some(written) = writers.join_next().await {
            written.unwrap().unwrap();
        }
        assert_eq!(first.read(count).await, Ok(40));
    }
}
