//! The tables, and how a connection is opened.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::search;

/// How long a writer waits for another process' transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bumped with every change of the tables; `PRAGMA user_version` of the file.
const VERSION: u32 = 1;

/// Times are RFC 3339 in UTC with fixed width, so that they sort as text. Metadata is a JSON object.
const TABLES: &str = "
CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) WITHOUT ROWID;

CREATE TABLE members (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user TEXT NOT NULL,
    PRIMARY KEY (project_id, user)
) WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user, project_id);

CREATE TABLE images (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    file_id TEXT NOT NULL UNIQUE,
    filename TEXT NOT NULL,
    content_type TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    uploaded_by TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    deleted_at TEXT
) WITHOUT ROWID;
CREATE INDEX images_in_order ON images (project_id, created_at, id);

CREATE TABLE analyses (
    id TEXT PRIMARY KEY,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) WITHOUT ROWID;
CREATE INDEX analyses_by_image ON analyses (image_id, created_at, id);

CREATE TABLE milestones (name TEXT PRIMARY KEY) WITHOUT ROWID;
";

/// The reason why the database could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// SQLite refused.
    Sqlite {
        /// Where the database is.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file was made by a later version of this application.
    TooNew {
        /// Where the database is.
        path: PathBuf,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite { path, source } => write!(
                f,
                "the database {} cannot be opened: {source}; DATA_DIR must be a directory this user can write to",
                path.display()
            ),
            Self::TooNew { path } => write!(
                f,
                "the database {} was made by a newer version of this application; run that version, or set DATA_DIR",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sqlite { source, .. } => Some(source),
            Self::TooNew { .. } => None,
        }
    }
}

/// Opens the first connection, and makes the tables where there are none.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    // SQLite gives the files beside it the same mode. An error of the path is SQLite's to report below.
    let _ = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let mut connection = connect(path).map_err(sqlite)?;
    use_wal(&connection).map_err(sqlite)?;
    // Immediate: of several instances that start at once, one makes the tables and the others find them.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    if version(&transaction, path)? == 0 {
        transaction.execute_batch(TABLES).map_err(sqlite)?;
        transaction.pragma_update(None, "user_version", VERSION).map_err(sqlite)?;
    }
    transaction.commit().map_err(sqlite)?;
    Ok(connection)
}

/// Counts the images of a database that [`open`] would open, and changes nothing.
///
/// # Errors
/// As [`open`].
pub(crate) fn examine(path: &Path) -> Result<u64, OpenError> {
    const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let log = [path.as_os_str().as_bytes(), b"-wal"].concat();
    // Without a log the database is not in use, and opening it as any other would leave a log beside it.
    let is_immutable = !Path::new(std::ffi::OsStr::from_bytes(&log)).exists();
    let path_in_uri = percent_encode(path.as_os_str().as_bytes(), PATH);
    let uri = format!("file:{path_in_uri}?immutable={}", u8::from(is_immutable));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags).map_err(sqlite)?;
    if version(&connection, path)? == 0 {
        return Ok(0);
    }
    connection.query_row("SELECT count(*) FROM images", [], |row| row.get(0)).map_err(sqlite)
}

/// Returns the version of the tables, 0 before there are any.
fn version(connection: &Connection, path: &Path) -> Result<u32, OpenError> {
    match connection.query_row("PRAGMA user_version", [], |row| row.get(0)) {
        Ok(version) if version > VERSION => Err(OpenError::TooNew { path: path.to_owned() }),
        Ok(version) => Ok(version),
        Err(source) => Err(OpenError::Sqlite { path: path.to_owned(), source }),
    }
}

/// Opens one more connection to a database that [`open`] prepared.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // A commit that a power loss took back would leave the cache newer than the database, for ever.
    connection.pragma_update(None, "synchronous", "FULL")?;
    search::register(&connection)?;
    Ok(connection)
}

/// Opens a connection that reads, and fails at once where it would have to wait.
pub(super) fn connect_to_look_up(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Switches to WAL. SQLite does not honour the busy timeout here, so that instances starting at once must try again.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_newer_version_is_refused_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new.sqlite3");
        open(&path).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(open(&path), Err(OpenError::TooNew { .. })));
        assert!(matches!(examine(&path), Err(OpenError::TooNew { .. })));
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("garbage.sqlite3");
        std::fs::write(&path, "garbage ".repeat(1000)).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains("garbage.sqlite3"), "{error}");
    }

    #[test]
    fn instances_that_start_at_once_all_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shared.sqlite3");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path).map(drop))).collect();
            for instance in opened {
                instance.join().unwrap().unwrap();
            }
        });
    }
}
