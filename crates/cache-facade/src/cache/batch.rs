//! A load of many values on its way: each is given to those who wait for it, and stored by its own token.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::task::Poll;

use cache_core::{CacheKey, Fill, FillToken, NewEntry, Result as StoreResult};

use super::Shared;
use super::run::caught;
use crate::asked::asked;
use crate::flight::{Lead, Outcome};
use crate::form::Form;
use crate::load::LoadError;
use crate::options::LoadOptions;
use crate::parts::{self, Part};
use crate::patience::Patience;
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
    pub(super) options: Arc<LoadOptions<T>>,
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
        let loaded = rows(load, items, options.absent).await;
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
    /// What `ask` gives for `keys`, asked for in parts, in their order, with nothing for a part that is not answered while
    /// `patience` lasts. The next part begins with all of it. Two such parts in a row, or the first one, end it: the store
    /// is away.
    pub(super) async fn in_parts<'k, T, F>(
        &self,
        keys: &'k [CacheKey],
        patience: &mut Patience,
        ask: impl Fn(&'k [CacheKey]) -> F,
    ) -> Vec<Option<T>>
    where
        F: Future<Output = StoreResult<Vec<T>>> + Unpin,
    {
        let mut found = Vec::with_capacity(keys.len());
        let (mut left, mut has_answered) = (keys, false);
        while let Some(first) = left.first() {
            let (part, rest) = self.part_size.split(left);
            let (started, asked) = (self.started(), rt::now());
            let answers = patience.wait(ask(part)).await;
            self.took(Operation::Lookup, started);
            self.part_size.took(part.len(), rt::now().duration_since(asked));
            match self.settled(Operation::Lookup, first, answers) {
                // Without an answer to each key none could be told whose it is.
                Some(answers) if answers.len() == part.len() => {
                    found.extend(answers.into_iter().map(Some));
                    has_answered = true;
                }
                _ if has_answered => {
                    found.extend(part.iter().map(|_| None));
                    has_answered = false;
                }
                _ => break,
            }
            patience.renew();
            left = rest;
        }
        found
    }

    /// Fills many keys, in parts, and calls `go_on` before it waits.
    async fn fill_many(&self, fills: Vec<Fill>, go_on: impl FnOnce()) {
        let mut go_on = Some(go_on);
        let mut failures = 0;
        for Part { values: fills, bytes } in parts::of_values(fills, |fill: &Fill| &fill.entry) {
            let keys: Vec<CacheKey> = fills.iter().map(|fill| fill.key.clone()).collect();
            let Some(first) = keys.first() else { continue };
            let started = self.started();
            let mut fill = asked(self.backend.fill_many(fills));
            let outcome = match rt::poll_once(&mut fill).await {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => {
                    if let Some(go_on) = go_on.take() {
                        go_on();
                    }
                    Patience::to_send(bytes).wait(fill).await
                }
            };
            self.took(Operation::Fill, started);
            match self.settled(Operation::Fill, first, outcome) {
                Some(outcomes) => {
                    failures = 0;
                    for (key, outcome) in keys.iter().zip(outcomes) {
                        self.meter.filled(self.kind(), key, outcome);
                    }
                }
                // Nobody waits for it: one part that is lost does not lose those behind it, two are a store that is away.
                None if failures == 0 => failures += 1,
                None => break,
            }
        }
        if let Some(go_on) = go_on {
            go_on();
        }
    }
}

/// What `load` gives for `items`, and `absent` for those that it leaves out.
pub(super) async fn rows<I, T, E, F, Fut, R>(
    load: F,
    items: Vec<I>,
    absent: Option<fn() -> T>,
) -> Rows<I, T, E>
where
    I: Eq + Hash + Clone + Send + 'static,
    T: 'static,
    F: FnOnce(Vec<I>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: IntoIterator<Item = (I, T)> + 'static,
{
    // The rows are sorted in by the load itself, so that a panic on the way is its too.
    let load = async move || {
        let asked: HashSet<I> = items.iter().cloned().collect();
        let rows = load(items).await?;
        let mut values: HashMap<I, T> = rows.into_iter().filter(|(item, _)| asked.contains(item)).collect();
        if let Some(absent) = absent {
            for item in asked {
                values.entry(item).or_insert_with(absent);
            }
        }
        Ok(values)
    };
    caught(load).await
}
