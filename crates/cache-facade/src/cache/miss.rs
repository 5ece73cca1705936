//! What a caller does who did not find what he asked for: join a load or lead one.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{BackendKind, CacheKey, FillToken};
use tokio::sync::oneshot;

use super::Shared;
use super::run::{Run, resolved};
use crate::flight::{Boarding, FlightId, Lead, Outcome};
use crate::form::Form;
use crate::load::{LoadError, Loaded, Source};
use crate::loading::{self, Loading};
use crate::options::LoadOptions;
use crate::patience::Patience;
use crate::rt;
use crate::span::Span;

/// After how long a caller who waits for his turn to load looks up again.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A caller who looked `key` up and did not find it.
pub(super) struct Missed<'a, T, F, V> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) form: V,
    pub(super) key: &'a CacheKey,
    pub(super) patience: &'a mut Patience,
    /// Says in the end how the miss was resolved.
    pub(super) span: Span,
    pub(super) options: LoadOptions<T>,
    pub(super) load: F,
}

impl<T, F, V> Missed<'_, T, F, V> {
    /// Joins a flight or leads one, as often as it takes.
    ///
    /// `token` is that of the caller's lookup, which `backend` answered, and `mark` was taken before it.
    pub(super) async fn resolve<E, Fut>(
        self,
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
                    let Ok(_waits) = loading::waits_for(shared.flights.waits(), ticket.node()) else {
                        return self.load_within(id).await;
                    };
                    shared.meter.coalesced(shared.kind(), key);
                    match ticket.outcome().await {
                        Some(Outcome::Value(payload, shape)) => {
                            return match form.decode(&payload, shape) {
                                Ok(value) => Ok(resolved(&self.span, value, Source::Waited, backend)),
                                Err(_) => shared.load_alone(self.load, Source::Loaded).await,
                            };
                        }
                        Some(Outcome::Unshared | Outcome::Absent) => {
                            return shared.load_alone(self.load, Source::Loaded).await;
                        }
                        Some(Outcome::Failed(error)) => {
                            self.span.record("outcome", "failed");
                            return Err(error);
                        }
                        // The leader went away, or his load takes too long.
                        None => {}
                    }
                }
                Boarding::Leads(mut lead) => {
                    let Ok(_waits) = loading::waits_for(shared.flights.waits(), lead.node()) else {
                        // Nobody is to wait for a flight that does not begin.
                        drop(lead);
                        return self.load_within(id).await;
                    };
                    // After a lookup that failed another would only cost the caller time.
                    if lead.looks_again() && !token.is_never() {
                        let found = shared.lookup(key, self.patience).await;
                        if let Some(value) = shared.decoded(form, key, shared.fresh(found.entry)) {
                            return Ok(resolved(&self.span, value, Source::Hit, found.backend));
                        }
                        if !found.token.is_never() {
                            (token, backend) = (found.token, found.backend);
                            lead.retoken(token);
                        }
                    }
                    // Behind another's load for want of a token, which what stands in for the store may give by now: then
                    // neither this caller nor those who wait with him have to wait for that load.
                    let mut has_token = false;
                    while token.is_never()
                        && !self.patience.is_spent()
                        && !lead.has_its_turn_within(LOOKS_AGAIN_AFTER).await
                    {
                        mark = shared.flights.mark(key);
                        let found = shared.lookup(key, self.patience).await;
                        if let Some(value) = shared.decoded(form, key, shared.fresh(found.entry)) {
                            return Ok(resolved(&self.span, value, Source::Hit, found.backend));
                        }
                        has_token = !found.token.is_never();
                        (token, backend) = (found.token, found.backend);
                    }
                    if has_token {
                        continue;
                    }
                    let loading = Loading::new(vec![id], Arc::clone(lead.node()));
                    return self.lead(lead, loading, token, backend).await;
                }
            }
            mark = shared.flights.mark(key);
            let found = shared.lookup(key, self.patience).await;
            if let Some(value) = shared.decoded(form, key, shared.fresh(found.entry)) {
                return Ok(resolved(&self.span, value, Source::Hit, found.backend));
            }
            (token, backend) = (found.token, found.backend);
        }
    }

    /// Loads inside the load that asks, as if nobody else did: the flight which it would wait for waits for it.
    async fn load_within<E, Fut>(self, id: FlightId) -> Result<Loaded<T>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.span.record("outcome", "circle");
        Loading::within(id).run(self.shared.load_alone(self.load, Source::Loaded)).await
    }

    /// Loads in a task of its own, for this caller and all who join.
    async fn lead<E, Fut>(
        self,
        lead: Lead<E>,
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
        let (reply, answer) = oneshot::channel();
        let run = Run {
            shared: Arc::clone(shared),
            form,
            key: key.clone(),
            token,
            backend,
            lead,
            span,
            options,
            load,
        };
        let task = run.complete(|answer| drop(reply.send(answer)));
        let answer = rt::answer_of(Span::current().around(loading.run(task)), answer).await;
        answer.unwrap_or_else(|| Err(LoadError::Panicked("the runtime was shut down during the load".into())))
    }
}
