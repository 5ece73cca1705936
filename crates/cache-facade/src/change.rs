//! Writing to the database so that the cache always hears of it: what a commit came to, and what the caller is told.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, Invalidated};
use tokio::sync::watch;

use crate::rt;

/// How long [`Cache::close`](crate::Cache::close) waits for changes that are under way.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a commit came to, for those who know that nothing was written.
///
/// A closure given to [`Cache::change`](crate::Cache::change) returns this or a `Result`, whose `Err` counts as
/// [`InDoubt`](Self::InDoubt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit<T, E> {
    /// It is in the database.
    Done(T),
    /// It is certain that nothing was written: nothing is invalidated.
    RolledBack(E),
    /// It failed, and may be in the database all the same, as when the connection breaks during a commit.
    InDoubt(E),
}

/// What a closure given to [`Cache::change`](crate::Cache::change) may return: a `Result`, or a [`Commit`].
pub trait CommitOutcome {
    /// What the commit gives.
    type Value;
    /// Why it failed.
    type Error;
    /// The same as a [`Commit`].
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

/// A change that is in the database and in the cache; it can be used as the commit's value itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed<T> {
    /// What the commit gave.
    pub value: T,
    /// How far the invalidation has reached.
    pub invalidated: Invalidated,
}

impl<T> Changed<T> {
    /// The commit's value alone.
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

/// Why a change did not go through, or not wholly.
pub enum ChangeError<T, E> {
    /// Nothing was committed, because the cache was closed: it could not be told any more, and would serve old values at
    /// the next start.
    NotBegun(Error),
    /// The commit failed with this error. What it may have changed was invalidated, unless it was
    /// [rolled back](Commit::RolledBack).
    Failed(E),
    /// The commit panicked with this message. What it may have changed was invalidated.
    Panicked(Arc<str>),
    /// The commit is in the database, but the cache could not be told: old values may be served until the invalidation
    /// is repeated, by the caller or at the next start.
    NotInvalidated {
        /// What the commit gave.
        value: T,
        /// Why the invalidation failed.
        cause: Error,
    },
}

impl<T, E: fmt::Debug> fmt::Debug for ChangeError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun(cause) => f.debug_tuple("NotBegun").field(cause).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::Panicked(message) => f.debug_tuple("Panicked").field(message).finish(),
            Self::NotInvalidated { value: _, cause } => {
                f.debug_struct("NotInvalidated").field("cause", cause).finish_non_exhaustive()
            }
        }
    }
}

impl<T, E: fmt::Display> fmt::Display for ChangeError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun(cause) => write!(f, "nothing was changed: {cause}"),
            Self::Failed(error) => error.fmt(f),
            Self::Panicked(message) => write!(f, "the commit panicked: {message}"),
            Self::NotInvalidated { cause, .. } => write!(
                f,
                "the change is in the database, but the cache could not be told of it, and may serve old values: {cause}"
            ),
        }
    }
}

impl<T, E: std::error::Error + 'static> std::error::Error for ChangeError<T, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Panicked(_) => None,
            Self::NotBegun(cause) | Self::NotInvalidated { cause, .. } => Some(cause),
        }
    }
}

/// The changes that are under way.
#[derive(Debug)]
pub(crate) struct Changes(watch::Sender<usize>);

/// A change that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(watch::Sender<usize>);

impl Default for Changes {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Changes {
    pub(crate) fn begin(&self) -> UnderWay {
        self.0.send_modify(|running| *running += 1);
        UnderWay(self.0.clone())
    }

    /// Waits until none is under way, for a bounded time.
    pub(crate) async fn settle(&self) {
        let mut running = self.0.subscribe();
        let none = running.wait_for(|running| *running == 0);
        if rt::before(rt::now() + SETTLE_TIMEOUT, none).await.is_none() {
            cache_core::log::emit(|| {
                tracing::warn!(
                    "closing the cache while changes are under way; they are made up for at the next start"
                );
            });
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running = running.saturating_sub(1));
    }
}
