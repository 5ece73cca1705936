//! Changes of the database that the cache is told of: outcomes of commits, and what the caller gets.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, Invalidated};
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use crate::load::cause_of;
use crate::rt;

/// How long [`Cache::close`](crate::Cache::close) waits for running changes.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Outcome of a commit, for closures that can tell that nothing was written.
///
/// A closure given to [`Cache::change`](crate::Cache::change) returns this or a `Result`, whose `Err` counts as
/// [`InDoubt`](Self::InDoubt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit<T, E> {
    /// The change is in the database.
    Done(T),
    /// Certainly nothing was written: nothing is invalidated.
    RolledBack(E),
    /// The commit failed, and may be in the database all the same, as when the connection breaks.
    InDoubt(E),
}

/// Return type of closures for [`Cache::change`](crate::Cache::change): a `Result`, or a [`Commit`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell whether the change was committed",
    label = "expected a `Result` or a `Commit`",
    note = "the closure of `change` returns `Result<T, E>`: a commit that cannot fail ends with `Ok::<_, std::convert::Infallible>(value)`"
)]
pub trait CommitOutcome {
    /// Value of the commit.
    type Value;
    /// Error of the commit.
    type Error;
    /// Converts to a [`Commit`].
    fn into_commit(self) -> Commit<Self::Value, Self::Error>;
}

impl<T, E> CommitOutcome for Result<T, E> {
    type Value = T;
    type Error = E;

    fn into_commit(self) -> Commit<T, E> {
        match self {
            Ok(value) => Commit::Done(value),
            Err(error) => Commit::InDoubt(error),
        }
    }
}

impl<T, E> CommitOutcome for Commit<T, E> {
    type Value = T;
    type Error = E;

    fn into_commit(self) -> Self {
        self
    }
}

/// A change that is in the database and in the cache. It dereferences to the commit's value, serialises as that, and `clone`
/// clones that.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed<T> {
    /// Value of the commit.
    pub value: T,
    /// How far the invalidation has reached.
    pub invalidated: Invalidated,
}

impl<T> Changed<T> {
    /// Returns the commit's value alone.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Changed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize> Serialize for Changed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// Why a change failed, or was not invalidated. As for [`LoadError`](crate::LoadError), `?` turns it into an `anyhow::Error`
/// or a boxed error, and one conversion into the application's own.
#[derive(Debug)]
pub enum ChangeError<E> {
    /// Nothing was committed, because the cache is closed: it could not be invalidated, and would serve old values at the
    /// next start.
    NotBegun(Error),
    /// The commit failed with this error. Its change was invalidated all the same, unless it was
    /// [rolled back](Commit::RolledBack).
    Failed(E),
    /// The commit panicked with this message. Its change was invalidated all the same.
    Panicked(Arc<str>),
    /// The change is in the database, but was not invalidated, for this reason: old values may be served until the
    /// invalidation is repeated, by the caller or at the next start. The value of the commit is lost: read it again, or let the
    /// closure keep a copy, as the developer guide shows.
    NotInvalidated(Error),
}

impl<E> ChangeError<E> {
    /// Returns the commit's error; `None` when it panicked, did not begin, or succeeded.
    pub fn commit_error(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::NotBegun(_) | Self::Panicked(_) | Self::NotInvalidated(_) => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for ChangeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun(cause) => write!(f, "nothing was changed: {cause}"),
            Self::Failed(error) => write!(f, "{error:#}"),
            Self::Panicked(message) => write!(f, "the commit panicked: {message}"),
            Self::NotInvalidated(cause) => write!(
                f,
                "the change is in the database, but the cache could not be told of it, and may serve old values: {cause}"
            ),
        }
    }
}

impl<E: fmt::Debug + fmt::Display + 'static> std::error::Error for ChangeError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => cause_of(error),
            Self::Panicked(_) => None,
            Self::NotBegun(cause) | Self::NotInvalidated(cause) => Some(cause),
        }
    }
}

/// The running changes: each is a receiver.
#[derive(Debug, Default)]
pub(crate) struct Changes(watch::Sender<()>);

impl Changes {
    /// Marks a change as running until the guard is dropped.
    pub(crate) fn begin(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    /// Waits until no change runs, for a bounded time.
    pub(crate) async fn settle(&self) {
        if rt::before(rt::now() + SETTLE_TIMEOUT, self.0.closed()).await.is_none() {
            cache_core::log::warn!(
                "closing the cache while changes are running; they are replayed at the next start"
            );
        }
    }
}
