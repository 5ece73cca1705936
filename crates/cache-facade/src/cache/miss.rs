//! What a caller does who did not find what he asked for: join a load or lead one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;

use cache_core::{BackendKind, CacheKey, FillOutcome, FillToken, NewEntry};
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tracing::{Instrument, Span};

use super::Shared;
use crate::flight::{Boarding, Lead, Outcome};
use crate::form::Form;
use crate::load::{Load, LoadError, Loaded, Source};
use crate::loading::{self, Loading};
use crate::panic::{message_of, unless_it_panics};
use crate::patience::{self, Patience};
use crate::rt;
use crate::trouble::Operation;

/// A caller who looked `key` up and did not find it.
pub(super) struct Missed<'a, T, F, V> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) form: V,
    pub(super) key: &'a CacheKey,
    pub(super) patience: Patience,
    /// Says in the end how the miss was resolved.
    pub(super) span: Span,
    pub(super) options: Load<T>,
    pub(super) load: F,
}

impl<T, F, V> Missed<'_, T, F, V> {
    /// Joins a flight or leads one, as often as it takes.
    ///
    /// `token` is that of the caller's lookup, which `backend` answered, and `mark` was taken before it.
    pub(super) async fn resolve<E, Fut>(
        mut self,
        mut mark: u64,
        mut token: FillToken,
        mut backend: BackendKind,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        T: Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        V: Form<T>,
    {
        let (shared, form, key) = (self.shared, self.form, self.key);
        let id = shared.flights.id::<T, E>(key, form.codec());
        if loading::is_running(&id) {
            return Err(LoadError::Recursive);
        }
        loop {
            match shared.flights.board::<E>(&id, token, mark) {
                Boarding::Joined(ticket) => {
                    shared.meter.coalesced(shared.kind(), key);
                    match ticket.outcome().await {
                        Some(Outcome::Value(payload, shape)) => {
                            return match form.decode(&payload, shape) {
                                Ok(value) => Ok(resolved(&self.span, value, Source::Waited, backend)),
                                Err(_) => shared.load_alone(self.load, Source::Loaded).await,
                            };
                        }
                        Some(Outcome::Unshared) => return shared.load_alone(self.load, Source::Loaded).await,
                        Some(Outcome::Failed(error)) => {
                            self.span.record("outcome", "failed");
                            return Err(error);
                        }
                        // The leader went away, or his load takes too long.
                        None => {}
                    }
                }
                Boarding::Leads(lead) => {
                    // After a lookup that failed another would only cost the caller time.
                    if lead.looks_again() && !token.is_never() {
                        let found = shared.lookup(key, &mut self.patience).await;
                        if let Some(value) = shared.decoded(form, key, found.entry) {
                            return Ok(resolved(&self.span, value, Source::Hit, found.backend));
                        }
                        if !found.token.is_never() {
                            (token, backend) = (found.token, found.backend);
                            lead.retoken(token);
                        }
                    }
                    return self.lead(lead, Loading::new(id), token, backend).await;
                }
            }
            mark = shared.flights.mark(key);
            let found = shared.lookup(key, &mut self.patience).await;
            if let Some(value) = shared.decoded(form, key, found.entry) {
                return Ok(resolved(&self.span, value, Source::Hit, found.backend));
            }
            (token, backend) = (found.token, found.backend);
        }
    }

    /// Loads in a task of its own, for this caller and all who join.
    async fn lead<E, Fut>(
        self,
        mut lead: Lead<E>,
        loading: Arc<Loading>,
        token: FillToken,
        backend: BackendKind,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        T: Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        V: Form<T>,
    {
        let Missed { shared, form, key, patience: _, span, options, load } = self;
        let (shared, key) = (Arc::clone(shared), key.clone());
        let (reply, answer) = oneshot::channel();
        let task = async move {
            lead.begin().await;
            let started = shared.clock.monotonic();
            let outcome = caught(load).await;
            shared.meter.loaded(shared.kind(), &key, shared.clock.monotonic().saturating_since(started));
            match outcome {
                Ok(value) => {
                    let entry = shared.publish(&lead, form, &key, &options, &value);
                    let loaded = Ok(resolved(&span, value, Source::Loaded, backend));
                    let go_on = || drop(reply.send(loaded));
                    match entry.filter(|_| !token.is_never()) {
                        None => go_on(),
                        Some(entry) => {
                            let entry = NewEntry { load_started: Some(started), ..entry };
                            if let Some(outcome) = shared.fill(&key, token, entry, go_on).await {
                                span.record("fill", tracing::field::debug(outcome));
                            }
                        }
                    }
                }
                Err(error) => {
                    span.record("outcome", "failed");
                    lead.publish(Outcome::Failed(error.clone()));
                    // First, so that a caller whom nobody joined gets the error for himself.
                    drop(lead);
                    drop(reply.send(Err(error)));
                }
            }
        };
        let answer = rt::answer_of(loading.run(task).in_current_span(), answer).await;
        answer.unwrap_or_else(|| Err(LoadError::Panicked("the runtime was shut down during the load".into())))
    }
}

impl Shared {
    /// Loads for one caller, past everybody else's flights.
    pub(super) async fn load_alone<T, E, F, Fut>(
        &self,
        load: F,
        source: Source,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        // On the heap, so that callers who never come here do not carry its state along.
        let value = Box::pin(caught(load)).await?;
        Ok(Loaded { value, source, backend: self.kind() })
    }

    /// Gives the value to all who wait; what is to be stored of it, if it may be.
    fn publish<T, E, V: Form<T>>(
        &self,
        lead: &Lead<E>,
        form: V,
        key: &CacheKey,
        options: &Load<T>,
        value: &T,
    ) -> Option<NewEntry> {
        let Some(entry) = self.encoded(form, key, value) else {
            lead.publish(Outcome::Unshared);
            return None;
        };
        lead.publish(Outcome::Value(entry.payload.clone(), entry.shape));
        let keeps = unless_it_panics(|| options.keeps(value)).unwrap_or(false);
        keeps.then(|| self.timed(key, entry, options.expires_in))
    }

    /// `value` as it is stored; `None` for one that cannot be, which is reported once for its type.
    fn encoded<T, V: Form<T>>(&self, form: V, key: &CacheKey, value: &T) -> Option<NewEntry> {
        match form.encode(&self.round_trips, value) {
            Ok(entry) => Some(entry),
            Err(refusal) => {
                if refusal.is_first {
                    self.report(Operation::Encode, key, &refusal.error);
                }
                None
            }
        }
    }

    /// Fills `key`, and calls `go_on` before it waits: a store that answers at once has stored the value before the
    /// caller goes on, and nobody waits for another.
    async fn fill(
        &self,
        key: &CacheKey,
        token: FillToken,
        entry: NewEntry,
        go_on: impl FnOnce(),
    ) -> Option<FillOutcome> {
        let mut fill = self.backend.fill(key, token, entry);
        let outcome = rt::poll_once(&mut fill).await;
        go_on();
        let outcome = match outcome {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => patience::wait(fill).await,
        };
        let outcome = self.settled(Operation::Fill, key, outcome)?;
        self.meter.filled(self.kind(), key, outcome);
        Some(outcome)
    }
}

/// What a miss came to, whose span it completes.
fn resolved<T>(span: &Span, value: T, source: Source, backend: BackendKind) -> Loaded<T> {
    let outcome = match source {
        Source::Hit => "hit",
        Source::Waited => "waited",
        Source::Loaded | Source::Bypassed => "loaded",
    };
    span.record("outcome", outcome);
    Loaded { value, source, backend }
}

/// Runs `load` and turns its panic into an error.
async fn caught<T, E, F, Fut>(load: F) -> Result<T, LoadError<E>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
{
    match AssertUnwindSafe(async move { load().await }).catch_unwind().await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(LoadError::Failed(Arc::new(error))),
        Err(panic) => Err(LoadError::Panicked(message_of(panic.as_ref()))),
    }
}
