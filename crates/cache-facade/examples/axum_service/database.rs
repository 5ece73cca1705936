//! Users and their posts in an SQL database.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::task::spawn_blocking;

const SCHEMA: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE posts (author INTEGER NOT NULL REFERENCES users, text TEXT NOT NULL);
    INSERT INTO users VALUES (7, 'Ada');
";

#[derive(Debug)]
pub(crate) enum DbError {
    NoSuchUser(u32),
    Sql(rusqlite::Error),
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchUser(id) => write!(f, "there is no user {id}"),
            Self::Sql(error) => write!(f, "the database failed: {error}"),
        }
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Clones share the connection; a pool of connections works alike.
#[derive(Clone)]
pub(crate) struct Database(Arc<Mutex<Connection>>);

impl Database {
    pub(crate) fn in_memory() -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    pub(crate) async fn name(&self, id: u32) -> Result<String, DbError> {
        self.run(move |db| db.query_row("SELECT name FROM users WHERE id = ?1", [id], |row| row.get(0)))
            .await
            .map_err(|error| no_such_user(id, error))
    }

    pub(crate) async fn posts(&self, id: u32) -> Result<Vec<String>, DbError> {
        self.run(move |db| {
            let mut query = db.prepare("SELECT text FROM posts WHERE author = ?1")?;
            query.query_map([id], |row| row.get(0))?.collect()
        })
        .await
    }

    pub(crate) async fn rename(&self, id: u32, name: String) -> Result<(), DbError> {
        let update = "UPDATE users SET name = ?2 WHERE id = ?1 RETURNING id";
        self.run(move |db| db.query_row(update, (id, name), |_| Ok(())))
            .await
            .map_err(|error| no_such_user(id, error))
    }

    pub(crate) async fn publish(&self, id: u32, post: String) -> Result<(), DbError> {
        self.run(move |db| db.execute("INSERT INTO posts VALUES (?1, ?2)", (id, post)).map(drop)).await
    }

    /// Runs `work` on a thread that may block.
    async fn run<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let database = Arc::clone(&self.0);
        let work = move || work(&database.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(spawn_blocking(work)
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?)
    }
}

fn no_such_user(id: u32, error: DbError) -> DbError {
    match error {
        DbError::Sql(rusqlite::Error::QueryReturnedNoRows) => DbError::NoSuchUser(id),
        other => other,
    }
}
