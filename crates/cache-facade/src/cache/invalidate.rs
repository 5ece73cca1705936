//! Taking values out of the cache: with a change of the database, or alone.

use std::panic::{AssertUnwindSafe, Location};
use std::sync::Arc;

use cache_core::panics::message_of;
use cache_core::{CacheKey, CachePattern, Error, ErrorKind, Invalidated, Invalidates, Invalidation, Result};
use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{Cache, Shared};
use crate::asked::asked;
use crate::change::{ChangeError, Changed, Commit, CommitOutcome};
use crate::outage::journal::Intent;
use crate::rt;
use crate::span::Span;
use crate::trouble::Operation;

impl Cache {
    /// Changes the database with `commit`, and takes what `what` makes stale out of the cache: whoever reads after this
    /// returned sees the change.
    ///
    /// What is to be invalidated is written down durably first, then `commit` runs, then it is invalidated, then the
    /// note is erased. All this happens in a task of its own: a client who goes away does not cut it short, and after
    /// a crash of the process the note is made good at the next start, before the first read.
    ///
    /// ```
    /// # #[derive(Clone)] struct Db;
    /// # impl Db { async fn rename(&self, _: u64, _: &str) -> std::io::Result<String> { Ok(String::new()) } }
    /// # async fn handler(cache: cache_facade::Cache, db: Db) -> Result<(), Box<dyn std::error::Error>> {
    /// use cache_facade::images::ImageChange;
    ///
    /// let change = ImageChange::ImageUpdated { project: 7, image: 42 };
    /// let image = cache.change(&change, async move || db.rename(42, "cat.png").await).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `what` must be known before the commit. Where the commit decides what becomes stale, name the wider thing: the
    /// group instead of its keys. What is only found on the way can be invalidated inside the closure after the commit,
    /// which survives a client who goes away, but not a crash.
    ///
    /// When `commit` answers, the database must have made up its mind: a read that starts then sees the change, or, after
    /// an error, it never comes. A replica that lags, or a commit that is still on its way, cannot be seen through.
    ///
    /// # Errors
    /// `NotBegun` when the cache was closed before, or its directory was taken by another process: the closure did not
    /// run. `Failed` and `Panicked` for a commit that did not succeed: it may have been written all the same, so that it is
    /// invalidated too, unless the closure returned [`Commit::RolledBack`]. `NotInvalidated` for one that did, when the
    /// cache could not be told.
    ///
    /// # Cancellation
    /// From the first poll on, dropping the future changes nothing: the change runs to its end.
    ///
    /// # Cost
    /// On disk two durable writes beside the commit's own: the note, and the invalidation.
    pub async fn change<O, F, Fut>(
        &self,
        what: impl Invalidates,
        commit: F,
    ) -> Result<Changed<O::Value>, ChangeError<O::Value, O::Error>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: CommitOutcome + 'static,
        O::Value: Send + 'static,
        O::Error: Send + 'static,
    {
        let stale = self.places(what.invalidations());
        drop(what);
        let shared = Arc::clone(&self.shared);
        let under_way = shared.changes.begin();
        let (reply, answer) = oneshot::channel();
        let first = stale.first().map(tracing::field::display);
        let span = Span::new(|| {
            tracing::debug_span!("cache_change", first, count = stale.len(), outcome = tracing::field::Empty)
        });
        let ended = span.clone();
        let task = async move {
            let outcome = shared.change(&stale, commit).await;
            ended.record("outcome", outcome_of(&outcome));
            drop(under_way);
            drop(reply.send(outcome));
        };
        let answer = rt::answer_of(span.around(task), answer).await;
        answer.unwrap_or_else(|| Err(ChangeError::Panicked(CUT_OFF.into())))
    }

    /// Takes what `what` makes stale out of the cache: a [`Invalidates`](crate::Invalidates), a key, a group, a pattern, several of
    /// them, or the application's own.
    ///
    /// After the commit of a change to the database prefer [`change`](Self::change), which also covers the time before.
    ///
    /// # Errors
    /// `NotDurable`, `Unavailable`, `Timeout`, `WritesRefused`: it must be treated as not done.
    ///
    /// # Cancellation
    /// Once polled, it runs to its end. It cannot cover what happens before: a handler that is dropped, or a process that
    /// dies, between the commit and this call.
    pub async fn invalidate(&self, what: &(impl Invalidates + ?Sized)) -> Result<Invalidated> {
        self.remove(what.invalidations()).await
    }

    /// Takes one key out; see [`invalidate`](Self::invalidate).
    ///
    /// # Errors
    /// As for [`invalidate`](Self::invalidate).
    pub async fn delete(&self, key: &CacheKey) -> Result<Invalidated> {
        self.remove(vec![Invalidation::Key(key.clone())]).await
    }

    /// Takes out whatever matches `pattern`: a [`CachePattern`], or its text; see [`invalidate`](Self::invalidate).
    ///
    /// # Errors
    /// `InvalidPattern` for a text that is none, an empty one too; else as for [`invalidate`](Self::invalidate).
    pub async fn clear_pattern<P>(&self, pattern: P) -> Result<Invalidated>
    where
        P: TryInto<CachePattern>,
        Error: From<P::Error>,
    {
        let pattern = pattern.try_into().map_err(Error::from)?;
        cache_core::log::emit(
            || tracing::debug!(%pattern, scope = self.scope.as_deref(), "clearing what matches a pattern"),
        );
        self.remove(vec![Invalidation::Pattern(pattern)]).await
    }

    /// Takes everything out; in a scoped view, everything in its scope. Leaves a line in the log that names the caller.
    ///
    /// # Errors
    /// As for [`invalidate`](Self::invalidate).
    #[track_caller]
    pub fn clear(&self) -> impl Future<Output = Result<Invalidated>> + Send {
        let caller = Location::caller();
        async move {
            let cleared = self.remove(vec![Invalidation::Everything]).await;
            let scope = self.scope.as_deref();
            match &cleared {
                Ok(invalidated) => {
                    cache_core::log::emit(
                        || tracing::info!(%caller, scope, removed = invalidated.removed(), "cache cleared"),
                    );
                }
                Err(error) => {
                    cache_core::log::limited(
                        (self.shared.flights.number(), caller),
                        |suppressed| tracing::warn!(%caller, scope, %error, suppressed, "cache not cleared"),
                    );
                }
            }
            cleared
        }
    }

    async fn remove(&self, what: Vec<Invalidation>) -> Result<Invalidated> {
        let stale = self.places(what);
        let shared = Arc::clone(&self.shared);
        let under_way = shared.changes.begin();
        let (reply, answer) = oneshot::channel();
        let task = async move {
            let outcome = shared.invalidate(&stale, None).await;
            drop(under_way);
            drop(reply.send(outcome));
        };
        let answer = rt::answer_of(Span::current().around(task), answer).await;
        answer.unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, CUT_OFF)))
    }

    /// `what` as the store knows it: inside this view's scope.
    fn places(&self, what: Vec<Invalidation>) -> Vec<Invalidation> {
        let Some(scope) = &self.scope else { return what };
        let whole = || CachePattern::scope(scope).map_or(Invalidation::Everything, Invalidation::Pattern);
        // What becomes too long inside the scope matches no key there as it stands: the whole scope covers it.
        what.into_iter().map(|what| what.in_scope(scope).unwrap_or_else(|_| whole())).collect()
    }
}

/// How a change ended, in its span.
fn outcome_of<T, E>(outcome: &Result<Changed<T>, ChangeError<T, E>>) -> &'static str {
    match outcome {
        Ok(Changed { invalidated: Invalidated::Applied { .. }, .. }) => "applied",
        Ok(Changed { invalidated: Invalidated::Journaled { .. }, .. }) => "journaled",
        Err(ChangeError::NotBegun(_)) => "not begun",
        Err(ChangeError::Failed(_)) => "failed",
        Err(ChangeError::Panicked(_)) => "panicked",
        Err(ChangeError::NotInvalidated { .. }) => "not invalidated",
    }
}

const CUT_OFF: &str = "the runtime was shut down before the cache was told";

impl Shared {
    /// Writes down what becomes stale, commits, invalidates.
    async fn change<O, F, Fut>(
        &self,
        stale: &[Invalidation],
        commit: F,
    ) -> Result<Changed<O::Value>, ChangeError<O::Value, O::Error>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: CommitOutcome,
    {
        let mut intent = self.journal.intend(stale).await.map_err(ChangeError::NotBegun)?;
        let commit = AssertUnwindSafe(async move { commit().await.into_commit() });
        intent.commits();
        let committed = commit.catch_unwind().await;
        intent.committed();
        let failed = match committed {
            Ok(Commit::Done(value)) => {
                return match self.invalidate(stale, Some(intent)).await {
                    Ok(invalidated) => Ok(Changed { value, invalidated }),
                    Err(cause) => Err(ChangeError::NotInvalidated { value, cause }),
                };
            }
            Ok(Commit::RolledBack(error)) => {
                intent.finish();
                return Err(ChangeError::Failed(error));
            }
            Ok(Commit::InDoubt(error)) => ChangeError::Failed(error),
            Err(panic) => ChangeError::Panicked(message_of(panic.as_ref())),
        };
        // Should this fail too, it is in the log: the caller hears of what came first.
        let _ = self.invalidate(stale, Some(intent)).await;
        Err(failed)
    }

    /// Invalidates; the note of it is erased only when that is done.
    async fn invalidate(&self, stale: &[Invalidation], intent: Option<Intent>) -> Result<Invalidated> {
        let outcome = if stale.is_empty() {
            Ok(Invalidated::Applied { removed: 0 })
        } else {
            let started = self.started();
            let outcome = asked(self.backend.invalidate(stale)).await;
            self.took(Operation::Invalidate, started);
            // Where another process has taken the directory meanwhile, this one's store alone is not enough.
            match outcome {
                Ok(invalidated) => self.journal.confirm().await.map(|()| invalidated),
                failed => failed,
            }
        };
        match outcome {
            Ok(invalidated) => {
                self.meter.invalidated(self.backend.kind(), stale.len(), invalidated.removed());
                if let Some(intent) = intent {
                    intent.finish();
                }
                Ok(invalidated)
            }
            Err(error) => {
                self.meter.error(self.kind(), Operation::Invalidate);
                let first = stale.first().map(ToString::to_string);
                cache_core::log::limited(
                    self.flights.number(),
                    |suppressed| tracing::error!(%error, first, count = stale.len(), suppressed, "invalidation failed; old values may be served"),
                );
                Err(error)
            }
        }
    }
}
