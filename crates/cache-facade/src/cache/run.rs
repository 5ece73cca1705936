//! A load on its way: given to all who wait for it, and stored by its token.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;

use cache_core::panics::{contained, message_of};
use cache_core::{BackendKind, CacheKey, FillOutcome, FillToken, NewEntry};
use futures_util::FutureExt;

use super::Shared;
use crate::asked::asked;
use crate::flight::{Lead, Outcome};
use crate::form::Form;
use crate::load::{LoadError, Loaded, Source};
use crate::options::LoadOptions;
use crate::patience::Patience;
use crate::rt;
use crate::span::Span;
use crate::trouble::Operation;

/// A load that somebody leads.
pub(super) struct Run<T, E, F, V> {
    pub(super) shared: Arc<Shared>,
    pub(super) form: V,
    pub(super) key: CacheKey,
    /// That of the leader's lookup.
    pub(super) token: FillToken,
    /// Who answered it.
    pub(super) backend: BackendKind,
    pub(super) lead: Lead<E>,
    /// Says in the end how the load ended.
    pub(super) span: Span,
    pub(super) options: LoadOptions<T>,
    pub(super) load: F,
}

impl<T, E, F, V> Run<T, E, F, V> {
    /// Loads, answers all who wait, and stores the value if it may be; `reply` gets the leader's own answer before
    /// anybody waits for the store.
    pub(super) async fn complete<Fut>(self, reply: impl FnOnce(Result<Loaded<T>, LoadError<E>>))
    where
        T: Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        V: Form<T>,
    {
        let Run { shared, form, key, token, backend, mut lead, span, options, load } = self;
        lead.begin().await;
        let started = shared.clock.monotonic();
        let outcome = caught(load).await;
        shared.meter.loaded(shared.kind(), &key, shared.clock.monotonic().saturating_since(started));
        match outcome {
            Ok(value) => {
                let entry = shared.publish(&lead, form, &key, &options, &value);
                let loaded = Ok(resolved(&span, value, Source::Loaded, backend));
                let go_on = || reply(loaded);
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
                reply(Err(error));
            }
        }
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
    pub(super) fn publish<T, E, V: Form<T>>(
        &self,
        lead: &Lead<E>,
        form: V,
        key: &CacheKey,
        options: &LoadOptions<T>,
        value: &T,
    ) -> Option<NewEntry> {
        let Some(entry) = self.encoded(form, key, value) else {
            lead.publish(Outcome::Unshared);
            return None;
        };
        lead.publish(Outcome::Value(entry.payload.clone(), entry.shape));
        let keeps = contained(|| options.keeps(value)).unwrap_or(false);
        if !keeps {
            return None;
        }
        let lifetime = contained(|| options.lifetime_of(value))?;
        Some(self.lifetime(key, lifetime).timed(entry))
    }

    /// `value` as it is stored; `None` for one that cannot be, which is reported.
    ///
    /// Where the value stored last did not decode, this one is decoded and compared first: without that, a value that its
    /// type writes and does not read would be stored and loaded again each time.
    fn encoded<T, V: Form<T>>(&self, form: V, key: &CacheKey, value: &T) -> Option<NewEntry> {
        let encoded = if self.strangers.has_seen(key) {
            form.encode_compared(&self.round_trips, value)
        } else {
            form.encode(&self.round_trips, value)
        };
        encoded.inspect_err(|refusal| self.refused(key, refusal)).ok()
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
        let (started, bytes) = (self.started(), entry.payload.len());
        let mut fill = asked(self.backend.fill(key, token, entry));
        let outcome = rt::poll_once(&mut fill).await;
        go_on();
        let outcome = match outcome {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => Patience::to_send(bytes).wait(fill).await,
        };
        self.took(Operation::Fill, started);
        let outcome = self.settled(Operation::Fill, key, outcome)?;
        self.meter.filled(self.kind(), key, outcome);
        Some(outcome)
    }
}

/// What a miss came to, whose span it completes.
pub(super) fn resolved<T>(span: &Span, value: T, source: Source, backend: BackendKind) -> Loaded<T> {
    let outcome = match source {
        Source::Hit => "hit",
        Source::Stale => "stale",
        Source::Waited => "waited",
        Source::Loaded | Source::Bypassed => "loaded",
    };
    span.record("outcome", outcome);
    Loaded { value, source, backend }
}

/// Runs `load` and turns its panic into an error.
pub(super) async fn caught<T, E, F, Fut>(load: F) -> Result<T, LoadError<E>>
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
