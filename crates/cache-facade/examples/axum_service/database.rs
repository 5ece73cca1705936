//! Stands for a database.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DbError {
    NoSuchUser(u64),
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NoSuchUser(id) = self;
        write!(f, "there is no user {id}")
    }
}

#[derive(Clone, Default)]
struct User {
    name: String,
    posts: Vec<String>,
}

/// Users by id; clones share them, as those of a connection pool do.
#[derive(Clone)]
pub(crate) struct Database(Arc<Mutex<BTreeMap<u64, User>>>);

impl Database {
    pub(crate) fn with_user(id: u64, name: &str) -> Self {
        let user = User { name: name.to_owned(), posts: Vec::new() };
        Self(Arc::new(Mutex::new(BTreeMap::from([(id, user)]))))
    }

    pub(crate) async fn name(&self, id: u64) -> Result<String, DbError> {
        self.user(id, |user| user.name.clone()).await
    }

    pub(crate) async fn posts(&self, id: u64) -> Result<Vec<String>, DbError> {
        self.user(id, |user| user.posts.clone()).await
    }

    pub(crate) async fn rename(&self, id: u64, name: String) -> Result<(), DbError> {
        self.user(id, |user| user.name = name).await
    }

    pub(crate) async fn publish(&self, id: u64, post: String) -> Result<(), DbError> {
        self.user(id, |user| user.posts.push(post)).await
    }

    async fn user<T>(&self, id: u64, work: impl FnOnce(&mut User) -> T) -> Result<T, DbError> {
        tokio::task::yield_now().await;
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.get_mut(&id).map(work).ok_or(DbError::NoSuchUser(id))
    }
}
