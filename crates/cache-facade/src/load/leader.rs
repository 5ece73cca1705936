//! [`LoadTask`]: a load of one or many values by their leader. Each value is given to the callers that wait for it, and
//! stored by the token of its own lookup.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cache_core::panics::{caught_in, contained};
use cache_core::{CacheKey, Fill, FillOutcome, FillToken, NewEntry};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::context::LoadContext;
use super::engine::CacheEngine;
use super::flight::{Leader, Outcome};
use super::options::{Absent, LoadOptions};
use super::parts::{Part, of_values};
use super::{LoadError, Loaded, Source};
use crate::encoding::Encode;
use crate::observe::events::{Event, Operation};
use crate::observe::span::Span;
use crate::rt;
use crate::time_budget::TimeBudget;

/// Loads the values of items.
pub(crate) type Loader<I, T, E> =
    Box<dyn FnOnce(Vec<I>) -> BoxFuture<'static, Result<HashMap<I, T>, E>> + Send>;

/// An item of a load of many; `()` for a load of one value.
pub(crate) trait Item: Eq + Hash + Clone + Send + 'static {}

impl<I: Eq + Hash + Clone + Send + 'static> Item for I {}

/// The values of a load of many.
pub(crate) type Values<I, T, E> = Result<HashMap<I, T>, LoadError<E>>;

/// A value that this caller loads for all callers.
pub(crate) struct Led<I, E> {
    pub(crate) item: I,
    pub(crate) key: CacheKey,
    /// Token of the lookup.
    pub(crate) token: FillToken,
    pub(crate) leader: Leader<E>,
}

/// One call of a loader.
pub(crate) struct LoadTask<I, T, E, V> {
    pub(crate) engine: Arc<CacheEngine>,
    pub(crate) encoding: V,
    pub(crate) led: Vec<Led<I, E>>,
    /// Items that no other caller can wait for, and that are not stored.
    pub(crate) alone: Vec<I>,
    pub(crate) options: Arc<LoadOptions<T>>,
    pub(crate) load: Loader<I, T, E>,
    /// How long the load of one value waits for a load of another instance.
    pub(crate) wait: Duration,
    /// Records the outcome.
    pub(crate) span: Span,
}

impl<I: Item, T: Send + 'static, E: Send + Sync + 'static, V: Encode<T>> LoadTask<I, T, E, V> {
    /// Runs the load in a task of its own, and waits for its values. Returns them with their source: this load, or one of
    /// another instance.
    ///
    /// # Cancellation
    /// The load goes on, and its values are stored.
    pub(crate) async fn run(
        mut self,
        context: Arc<LoadContext>,
    ) -> Result<(HashMap<I, T>, Source), LoadError<E>> {
        // A new node has no edges of its own, so that this one closes no circle.
        let _edge = self.engine.flights.wait_for(context.node());
        let span = self.span.clone();
        let values = rt::detached(|reply| {
            span.around(context.run(async move {
                if let Some(values) = self.wait_for_others().await {
                    drop(reply.send(Ok((values, Source::Waited))));
                    return;
                }
                let with_source = |values| (values, Source::Loaded);
                self.complete(|values| drop(reply.send(values.map(with_source)))).await;
            }))
        })
        .await;
        values.unwrap_or_else(|| Err(LoadError::Panicked("the runtime was shut down during the load".into())))
    }

    /// Loads, gives the values to the callers that wait, and stores them. `reply` gets the values before the backend is
    /// waited for.
    pub(super) async fn complete(self, reply: impl FnOnce(Values<I, T, E>)) {
        let Self { engine, encoding, mut led, alone, options, load, wait: _, span } = self;
        for led in &mut led {
            led.leader.begin().await;
        }
        let started = engine.clock.monotonic();
        let items = led.iter().map(|led| led.item.clone()).chain(alone).collect();
        let loaded = run_loader(load, items).await;
        if let Some(first) = led.first() {
            let taken = engine.clock.monotonic().saturating_since(started);
            engine.metrics.loaded(engine.kind(), &first.key, taken);
            engine.loads.loaded(first.key.family(), led.len(), taken, loaded.is_err());
        }
        match loaded {
            Ok(values) => {
                span.record("outcome", "loaded");
                let mut fills = Vec::with_capacity(led.len());
                for Led { item, key, token, leader } in &led {
                    let Some(value) = values.get(item) else {
                        leader.publish(Outcome::Absent);
                        continue;
                    };
                    if let Some(entry) = engine.publish(leader, encoding, key, &options, value)
                        && !token.is_never()
                    {
                        let entry = NewEntry { load_started: Some(started), ..entry };
                        fills.push(Fill { key: key.clone(), token: *token, entry });
                    }
                }
                if let Some(outcome) = engine.fill(fills, || reply(Ok(values))).await {
                    span.record("fill", tracing::field::debug(outcome));
                }
            }
            Err(error) => {
                span.record("outcome", "failed");
                // The leaders end first, so that a caller that no other joined is the only holder of the error.
                for led in led {
                    led.leader.publish(Outcome::Failed(error.clone()));
                }
                reply(Err(error));
            }
        }
    }
}

impl CacheEngine {
    /// Loads for one caller, without joining other loads.
    pub(crate) async fn load_alone<T, E>(
        &self,
        load: Loader<(), T, E>,
        source: Source,
    ) -> Result<Loaded<T>, LoadError<E>> {
        Ok(Loaded { value: load_one(load).await?, source, backend: self.kind() })
    }

    /// Gives `value` to the callers that wait; returns its entry if it is to be stored.
    fn publish<T, E, V: Encode<T>>(
        &self,
        leader: &Leader<E>,
        encoding: V,
        key: &CacheKey,
        options: &LoadOptions<T>,
        value: &T,
    ) -> Option<NewEntry> {
        // A value that its type writes and does not read would be stored and loaded again each time.
        let encoded = if self.type_mismatches.contains(key) {
            encoding.encode_compared(&self.round_trips, value)
        } else {
            encoding.encode(&self.round_trips, value)
        };
        let Ok(entry) = encoded.inspect_err(|refusal| self.report_refusal(key, refusal)) else {
            leader.publish(Outcome::Unshared);
            return None;
        };
        leader.publish(Outcome::Value(entry.payload.clone(), entry.shape));
        if !contained(|| options.keeps(value)).unwrap_or(false) {
            return None;
        }
        let lifetime = contained(|| options.lifetime_of(value))?;
        Some(self.lifetime(key, lifetime).timed(entry))
    }

    /// Stores loaded values in parts, and returns the last outcome. `reply` is called before the backend is waited for, and
    /// after the values are stored where the backend does not wait.
    async fn fill(&self, fills: Vec<Fill>, reply: impl FnOnce()) -> Option<FillOutcome> {
        let (mut reply, mut has_failed, mut last) = (Some(reply), false, None);
        for Part { values: fills, bytes } in of_values(fills, |fill: &Fill| &fill.entry) {
            let keys: Vec<CacheKey> = fills.iter().map(|fill| fill.key.clone()).collect();
            let Some(first) = keys.first() else { continue };
            let mut fill = pin!(self.backend.fill_many(fills));
            let fill = poll_fn(|context| {
                let polled = fill.as_mut().poll(context);
                if polled.is_pending()
                    && let Some(reply) = reply.take()
                {
                    reply();
                }
                polled
            });
            match self.call(Operation::Fill, first, &mut TimeBudget::to_send(bytes), fill).await {
                Some(outcomes) => {
                    has_failed = false;
                    for (key, outcome) in keys.iter().zip(outcomes) {
                        last = Some(outcome);
                        match outcome {
                            FillOutcome::Stored => self.count(Event::Filled, key),
                            FillOutcome::Refused => self.fill_refused(key),
                        }
                    }
                }
                // One part that fails does not lose those behind it; two mean that the backend is unreachable.
                None if !has_failed => has_failed = true,
                None => break,
            }
        }
        if let Some(reply) = reply {
            reply();
        }
        last
    }
}

/// Makes a loader of one value.
pub(crate) fn one<T, E, F, Fut>(load: F) -> Loader<(), T, E>
where
    T: 'static,
    E: 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
{
    Box::new(|_| async move { Ok::<_, E>(HashMap::from([((), load().await?)])) }.boxed())
}

/// Makes a loader of many values, which asks `load` for each item once, and for none not at all, with `absent` for items that
/// `load` leaves out, and without items that were not requested.
pub(crate) fn many<I, T, E, F, Fut, R>(load: F, absent: Option<Absent<T>>) -> Loader<I, T, E>
where
    I: Item,
    T: 'static,
    E: 'static,
    F: FnOnce(Vec<I>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: IntoIterator<Item = (I, T)> + 'static,
{
    Box::new(move |mut items: Vec<I>| {
        async move {
            if items.is_empty() {
                return Ok(HashMap::new());
            }
            let mut requested = HashSet::with_capacity(items.len());
            items.retain(|item| requested.insert(item.clone()));
            let rows = load(items).await?;
            let mut values: HashMap<I, T> =
                rows.into_iter().filter(|(item, _)| requested.contains(item)).collect();
            if let Some(absent) = absent {
                for item in requested {
                    values.entry(item).or_insert_with(&*absent);
                }
            }
            Ok::<_, E>(values)
        }
        .boxed()
    })
}

/// Runs `load`; its panic is an error.
pub(crate) async fn run_loader<I, T, E>(load: Loader<I, T, E>, items: Vec<I>) -> Values<I, T, E> {
    match caught_in(async move { load(items).await }).await {
        Ok(Ok(values)) => Ok(values),
        Ok(Err(error)) => Err(LoadError::Failed(Arc::new(error))),
        Err(message) => Err(LoadError::Panicked(message)),
    }
}

/// Runs a loader of one value.
pub(super) async fn load_one<T, E>(load: Loader<(), T, E>) -> Result<T, LoadError<E>> {
    run_loader(load, vec![()]).await.map(only)
}

/// The value of a loader of one.
pub(super) fn only<T>(values: HashMap<(), T>) -> T {
    values.into_values().next().expect("a loader of one gives one value")
}
