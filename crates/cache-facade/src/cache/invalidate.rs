//! Invalidation: with a change of the database, or alone.

use std::panic::Location;
use std::sync::Arc;

use cache_core::panics::caught_in;
use cache_core::{CacheKey, CachePattern, Error, ErrorKind, Invalidated, Invalidates, Invalidation, Result};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Cache;
use crate::catch_panic::catch_panic;
use crate::change::{ChangeError, Changed, Commit, CommitOutcome};
use crate::durability::journal::Intent;
use crate::load::engine::CacheEngine;
use crate::observe::events::Operation;
use crate::observe::feed::Origin;
use crate::observe::span::Span;
use crate::rt;

impl Cache {
    /// Changes the database with `commit`, and invalidates what `what` makes stale: every read after this returned sees the
    /// change.
    ///
    /// The invalidation is written to the journal first; then `commit` runs; then the cache is invalidated and the record
    /// erased. All this happens in a task of its own: a client that goes away does not cut it short, and after a crash of
    /// the process the next start replays the record before the first read.
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
    /// group instead of its keys. Keys that are only found on the way can be invalidated inside the closure after the
    /// commit, which survives a client that goes away, but not a crash.
    ///
    /// When `commit` returns, the database must have decided: a read that starts then sees the change, or, after an error,
    /// the change never comes. The cache cannot see through a replica that lags, or a commit that is still running.
    ///
    /// # Errors
    /// `NotBegun` when the cache was closed before, or its directory was taken by another process: the closure did not
    /// run. `Failed` and `Panicked` for a commit that did not succeed: it may have been written all the same, so that it is
    /// invalidated too, unless the closure returned [`Commit::RolledBack`]. `NotInvalidated` for one that did, when the
    /// invalidation failed.
    ///
    /// # Cancellation
    /// The change goes on once the future was polled.
    ///
    /// # Cost
    /// On disk two durable writes beside the commit's own: the record, and the invalidation.
    pub async fn change<O, F, Fut>(
        &self,
        what: impl Invalidates,
        commit: F,
    ) -> Result<Changed<O::Value>, ChangeError<O::Error>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: CommitOutcome + 'static,
        O::Value: Send + 'static,
        O::Error: Send + 'static,
    {
        let stale = self.scoped_invalidations(what.invalidations());
        let origin = Origin::of("change", &what);
        drop(what);
        let commit = async move { commit().await.into_commit() }.boxed();
        let engine = Arc::clone(&self.engine);
        let running = engine.changes.begin();
        let first = stale.first().map(tracing::field::display);
        let span = Span::new(|| {
            tracing::debug_span!("cache_change", first, count = stale.len(), outcome = tracing::field::Empty)
        });
        let outcome = rt::detached(|reply| {
            span.clone().around(async move {
                let outcome = engine.change(&stale, origin, commit).await;
                span.record("outcome", name_of(&outcome));
                drop(running);
                drop(reply.send(outcome));
            })
        });
        outcome.await.unwrap_or_else(|| Err(ChangeError::Panicked(CUT_OFF.into())))
    }

    /// Invalidates what `what` makes stale: a key, a group, a pattern, several of them, or a change of the application.
    ///
    /// For changes of a database use [`change`](Self::change), which also covers the time before this call.
    ///
    /// # Errors
    /// `NotDurable`, `Unavailable`, `Timeout`, `WritesRefused`: the invalidation counts as not done.
    ///
    /// # Cancellation
    /// The invalidation goes on once the future was polled. It does not cover a handler that is dropped, or a process that
    /// dies, between the commit and this call.
    pub async fn invalidate(&self, what: &(impl Invalidates + ?Sized)) -> Result<Invalidated> {
        self.remove(what.invalidations(), Origin::of("invalidate", what)).await
    }

    /// Invalidates one key; see [`invalidate`](Self::invalidate).
    ///
    /// # Errors
    /// As for [`invalidate`](Self::invalidate).
    pub async fn delete(&self, key: &CacheKey) -> Result<Invalidated> {
        self.remove(vec![Invalidation::Key(key.clone())], Origin::of("delete", key)).await
    }

    /// Invalidates all keys that match `pattern`: a [`CachePattern`], or its text; see [`invalidate`](Self::invalidate).
    ///
    /// # Errors
    /// `InvalidPattern` for a text that is no pattern, such as an empty one; else as for [`invalidate`](Self::invalidate).
    pub async fn clear_pattern<P>(&self, pattern: P) -> Result<Invalidated>
    where
        P: TryInto<CachePattern>,
        Error: From<P::Error>,
    {
        let pattern = pattern.try_into().map_err(Error::from)?;
        cache_core::log::debug!(%pattern, scope = self.scope.as_deref(), "clearing by pattern");
        let origin = Origin::of("clear_pattern", &pattern);
        self.remove(vec![Invalidation::Pattern(pattern)], origin).await
    }

    /// Invalidates everything; in a scoped view, everything in its scope. Logs the caller.
    ///
    /// # Errors
    /// As for [`invalidate`](Self::invalidate).
    #[track_caller]
    pub fn clear(&self) -> impl Future<Output = Result<Invalidated>> + Send {
        let caller = Location::caller();
        async move {
            let origin = Origin::of("clear", &Invalidation::Everything);
            let cleared = self.remove(vec![Invalidation::Everything], origin).await;
            let scope = self.scope.as_deref();
            match &cleared {
                Ok(invalidated) => {
                    cache_core::log::info!(%caller, scope, removed = invalidated.removed(), "cache cleared");
                }
                Err(error) => {
                    cache_core::log::warn!(
                        limit: (self.engine.flights.number(), caller), %caller, scope, %error,
                        "cache not cleared"
                    );
                }
            }
            cleared
        }
    }

    fn remove(&self, what: Vec<Invalidation>, origin: Origin) -> BoxFuture<'_, Result<Invalidated>> {
        // Boxed here: each crate that awaits it would compile the futures within anew.
        Box::pin(async move {
            let stale = self.scoped_invalidations(what);
            let engine = Arc::clone(&self.engine);
            let running = engine.changes.begin();
            let outcome = rt::detached(|reply| {
                Span::current().around(async move {
                    let outcome = engine.invalidate(&stale, origin, None).await;
                    drop(running);
                    drop(reply.send(outcome));
                })
            });
            outcome.await.unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, CUT_OFF)))
        })
    }

    /// Puts invalidations into this view's scope.
    pub(super) fn scoped_invalidations(&self, what: Vec<Invalidation>) -> Vec<Invalidation> {
        let Some(scope) = &self.scope else { return what };
        let whole = || CachePattern::scope(scope).map_or(Invalidation::Everything, Invalidation::Pattern);
        // A pattern that becomes too long inside the scope cannot be asked for: the whole scope covers it.
        what.into_iter().map(|what| what.in_scope(scope).unwrap_or_else(|_| whole())).collect()
    }
}

/// The name of an outcome in the span.
fn name_of<T, E>(outcome: &Result<Changed<T>, ChangeError<E>>) -> &'static str {
    match outcome {
        Ok(Changed { invalidated: Invalidated::Applied { .. }, .. }) => "applied",
        Ok(Changed { invalidated: Invalidated::Journaled { .. }, .. }) => "journaled",
        Err(ChangeError::NotBegun(_)) => "not begun",
        Err(ChangeError::Failed(_)) => "failed",
        Err(ChangeError::Panicked(_)) => "panicked",
        Err(ChangeError::NotInvalidated(_)) => "not invalidated",
    }
}

const CUT_OFF: &str = "the runtime was shut down before the cache was invalidated";

impl CacheEngine {
    /// Writes the intent to the journal, commits, and invalidates.
    async fn change<T, E>(
        &self,
        stale: &[Invalidation],
        origin: Origin,
        commit: BoxFuture<'static, Commit<T, E>>,
    ) -> Result<Changed<T>, ChangeError<E>> {
        let mut intent = self.journal.intend(stale).await.map_err(ChangeError::NotBegun)?;
        intent.begin_commit();
        let committed = caught_in(commit).await;
        intent.end_commit();
        let failed = match committed {
            Ok(Commit::Done(value)) => {
                return match self.invalidate(stale, origin, Some(intent)).await {
                    Ok(invalidated) => Ok(Changed { value, invalidated }),
                    Err(cause) => Err(ChangeError::NotInvalidated(cause)),
                };
            }
            Ok(Commit::RolledBack(error)) => {
                intent.finish();
                return Err(ChangeError::Failed(error));
            }
            Ok(Commit::InDoubt(error)) => ChangeError::Failed(error),
            Err(message) => ChangeError::Panicked(message),
        };
        // The caller gets the first error; should the invalidation fail too, it is in the log.
        let _ = self.invalidate(stale, origin, Some(intent)).await;
        Err(failed)
    }

    /// Invalidates, and erases the intent after that.
    fn invalidate<'a>(
        &'a self,
        stale: &'a [Invalidation],
        origin: Origin,
        intent: Option<Intent>,
    ) -> BoxFuture<'a, Result<Invalidated>> {
        // Boxed here: each crate that awaits it would compile the futures within anew.
        Box::pin(async move {
            let outcome = if stale.is_empty() {
                Ok(Invalidated::Applied { removed: 0 })
            } else {
                let started = self.metrics.start(&*self.clock);
                let outcome = catch_panic(self.backend.invalidate(stale)).await;
                self.metrics.took(&*self.clock, self.kind(), Operation::Invalidate, started);
                // Where another process has taken the directory meanwhile, the backend of this one is not enough.
                match outcome {
                    Ok(invalidated) => self.journal.confirm().await.map(|()| invalidated),
                    failed => failed,
                }
            };
            if !stale.is_empty() {
                let outcome = outcome.as_ref().map(|invalidated| *invalidated).map_err(ToString::to_string);
                self.feed.invalidated(self.clock.now(), stale, origin, outcome);
            }
            match outcome {
                Ok(invalidated) => {
                    self.metrics.invalidated(self.backend.kind(), stale.len(), invalidated.removed());
                    if let Some(intent) = intent {
                        intent.finish();
                    }
                    Ok(invalidated)
                }
                Err(error) => {
                    self.metrics.error(self.kind(), Operation::Invalidate);
                    let first = stale.first().map(ToString::to_string);
                    cache_core::log::error!(
                        limit: self.flights.number(), %error, first, count = stale.len(),
                        "invalidation failed; old values may be served"
                    );
                    Err(error)
                }
            }
        })
    }
}
