//! A load of many values on its way: each is given to those who wait for it, and stored by its own token.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::task::Poll;

use cache_core::{CacheKey, Fill, FillToken, NewEntry};

use super::Shared;
use super::run::caught;
use crate::asked::asked;
use crate::flight::{Lead, Outcome};
use crate::form::Form;
use crate::load::LoadError;
use crate::options::Load;
use crate::patience;
use crate::rt;
use crate::span::Span;
use crate::trouble::Operation;

/// A value that this caller loads for all who ask for it.
pub(super) struct Led<I, E> {
    pub(super) item: I,
    pub(super) key: CacheKey,
    /// That of its lookup.
    pub(super) token: FillToken,
    pub(super) lead: Lead<E>,
}

/// What one call of a loader is to give.
pub(super) struct Batch<I, T, E, V> {
    pub(super) shared: Arc<Shared>,
    pub(super) form: V,
    pub(super) led: Vec<Led<I, E>>,
    /// Items that nobody else can wait for, and that are not stored.
    pub(super) alone: Vec<I>,
    pub(super) options: Arc<Load<T>>,
}

/// What came of a load of many.
pub(super) type Rows<I, T, E> = Result<HashMap<I, T>, LoadError<E>>;

impl<I, T, E, V> Batch<I, T, E, V>
where
    I: Eq + Hash + Clone + Send + 'static,
    T: Send + 'static,
    E: Send + Sync + 'static,
    V: Form<T>,
{
    pub(super) fn len(&self) -> usize {
        self.led.len() + self.alone.len()
    }

    /// Loads, answers all who wait, and stores the values that may be; `reply` gets them before anybody waits for the
    /// store.
    pub(super) async fn complete<F, Fut, R>(self, load: F, span: Span, reply: impl FnOnce(Rows<I, T, E>))
    where
        F: FnOnce(Vec<I>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoIterator<Item = (I, T)> + 'static,
    {
        let Self { shared, form, mut led, alone, options } = self;
        for led in &mut led {
            led.lead.begin().await;
        }
        let started = shared.clock.monotonic();
        let items = led.iter().map(|led| led.item.clone()).chain(alone).collect();
        let loaded = rows(load, items).await;
        if let Some(first) = led.first() {
            let taken = shared.clock.monotonic().saturating_since(started);
            shared.meter.loaded(shared.kind(), &first.key, taken);
        }
        match loaded {
            Ok(values) => {
                span.record("outcome", "loaded");
                let mut fills = Vec::with_capacity(led.len());
                for led in &led {
                    let Some(value) = values.get(&led.item) else {
                        led.lead.publish(Outcome::Absent);
                        continue;
                    };
                    if let Some(entry) = shared.publish(&led.lead, form, &led.key, &options, value) {
                        let entry = NewEntry { load_started: Some(started), ..entry };
                        fills.push(Fill { key: led.key.clone(), token: led.token, entry });
                    }
                }
                shared.fill_many(fills, || reply(Ok(values))).await;
            }
            Err(error) => {
                span.record("outcome", "failed");
                for led in led {
                    led.lead.publish(Outcome::Failed(error.clone()));
                }
                reply(Err(error));
            }
        }
    }
}

impl Shared {
    /// Fills many keys, and calls `go_on` before it waits.
    async fn fill_many(&self, fills: Vec<Fill>, go_on: impl FnOnce()) {
        let keys: Vec<CacheKey> = fills.iter().map(|fill| fill.key.clone()).collect();
        let Some(first) = keys.first() else { return go_on() };
        let started = self.started();
        let mut fill = asked(self.backend.fill_many(fills));
        let outcome = rt::poll_once(&mut fill).await;
        go_on();
        let outcome = match outcome {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => patience::wait(fill).await,
        };
        self.took(Operation::Fill, started);
        for (key, outcome) in
            keys.iter().zip(self.settled(Operation::Fill, first, outcome).unwrap_or_default())
        {
            self.meter.filled(self.kind(), key, outcome);
        }
    }
}

/// What `load` gives for `items`.
pub(super) async fn rows<I, T, E, F, Fut, R>(load: F, items: Vec<I>) -> Rows<I, T, E>
where
    I: Eq + Hash + Clone + Send + 'static,
    F: FnOnce(Vec<I>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: IntoIterator<Item = (I, T)> + 'static,
{
    // The rows are sorted in by the load itself, so that a panic on the way is its too.
    let load = async move || {
        let asked: HashSet<I> = items.iter().cloned().collect();
        let rows = load(items).await?;
        Ok(rows.into_iter().filter(|(item, _)| asked.contains(item)).collect())
    };
    caught(load).await
}
