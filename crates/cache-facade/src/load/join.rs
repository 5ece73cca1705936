//! [`Request`]: a caller's request for values that it missed. A request for one value is one for many with one item.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{BackendKind, CacheKey, Entry, FillToken, Lookup};
use futures_util::future::{Either, select};

use super::context::{self, LoadContext, LoadId};
use super::engine::CacheEngine;
use super::flight::{Join, Outcome, Waiter};
use super::leader::{Item, Led, LoadTask, Loader, only};
use super::options::LoadOptions;
use super::{LoadError, Loaded, Source};
use crate::encoding::Encode;
use crate::lifetime::LONGEST_WAIT;
use crate::observe::events::Event;
use crate::observe::span::Span;
use crate::time_budget::{LONGEST, TimeBudget};

/// Pause after which a caller that waits for its turn to load looks up again.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A lookup of one key.
pub(crate) struct LookupResult<T> {
    /// The value, if it is fresh and one of `T`.
    pub(crate) value: Option<T>,
    pub(crate) token: FillToken,
    pub(crate) backend: BackendKind,
    /// Taken before the lookup; see [`Flights::mark`](super::flight::Flights::mark).
    pub(crate) mark: u64,
}

/// A caller's items, sorted by how they get their values.
pub(crate) struct Request<'a, I, T, E, V> {
    engine: &'a Arc<CacheEngine>,
    encoding: V,
    options: Arc<LoadOptions<T>>,
    budget: TimeBudget,
    pub(crate) values: HashMap<I, T>,
    /// Source and backend of the last value.
    source: (Source, BackendKind),
    /// Loaded by this caller for all.
    led: Vec<Led<I, E>>,
    /// Loaded by other callers.
    waiting: Vec<(I, CacheKey, Waiter<E>)>,
    /// Loaded by this caller for itself.
    pub(crate) alone: Vec<I>,
    loading: Vec<LoadId>,
    /// How long a load of this caller waits for one of another instance.
    wait: Duration,
    /// The span of a request for one value.
    span: Option<Span>,
}

/// Requests one value. `found` is the caller's lookup, which missed.
///
/// Where the load fails, the stale value is returned if its lifetime allows it.
pub(crate) async fn resolve_one<T: Send + 'static, E: Send + Sync + 'static, V: Encode<T>>(
    engine: &Arc<CacheEngine>,
    encoding: V,
    key: &CacheKey,
    options: LoadOptions<T>,
    load: Loader<(), T, E>,
    found: LookupResult<T>,
    budget: TimeBudget,
) -> Result<Loaded<T>, LoadError<E>> {
    let span = Span::new(
        || tracing::debug_span!("cache_load", %key, outcome = tracing::field::Empty, fill = tracing::field::Empty),
    );
    let lifetime = engine.lifetime(key, options.lifetime);
    let mut request = Request::new(engine, encoding, options, budget);
    request.span = Some(span.clone());
    request.wait = lifetime.wait_for_others.unwrap_or_default().min(LONGEST_WAIT);
    let mut load = Some(load);
    let resolved = async {
        request.join((), key.clone(), found)?;
        request.run(&mut || load.take().expect("one value is loaded once")).await
    };
    let resolved = span.clone().around(resolved).await;
    let Err(error) = resolved else {
        let (source, backend) = request.source;
        return Ok(Loaded { value: only(request.values), source, backend });
    };
    if !matches!(error, LoadError::Recursive)
        && lifetime.stale_if_error.is_some()
        && let Some(stale) = engine.stale_if_error(encoding, key, lifetime, &mut request.budget).await
    {
        span.record("outcome", stale.source.as_str());
        return Ok(stale);
    }
    Err(error)
}

impl<'a, I: Item, T: Send + 'static, E: Send + Sync + 'static, V: Encode<T>> Request<'a, I, T, E, V> {
    pub(crate) fn new(
        engine: &'a Arc<CacheEngine>,
        encoding: V,
        options: LoadOptions<T>,
        budget: TimeBudget,
    ) -> Self {
        Self {
            engine,
            encoding,
            options: Arc::new(options),
            budget,
            values: HashMap::new(),
            source: (Source::Loaded, engine.kind()),
            led: Vec::new(),
            waiting: Vec::new(),
            alone: Vec::new(),
            loading: Vec::new(),
            wait: Duration::ZERO,
            span: None,
        }
    }

    /// Loads the values that are missing, or waits for the loads of other callers, until every item has its value.
    pub(crate) async fn run(
        &mut self,
        loader: &mut (dyn FnMut() -> Loader<I, T, E> + Send),
    ) -> Result<(), LoadError<E>> {
        loop {
            self.wait_for_turn().await?;
            self.look_again().await;
            self.lead(loader).await?;
            let left = self.wait().await?;
            if left.is_empty() && self.alone.is_empty() {
                return Ok(());
            }
            self.look_up(left, CacheEngine::decode).await?;
        }
    }

    /// Looks `items` up, and joins or leads the loads of those that are missing.
    pub(crate) async fn look_up(
        &mut self,
        items: Vec<(I, CacheKey)>,
        decode: fn(&CacheEngine, V, &CacheKey, Option<Entry>) -> Option<T>,
    ) -> Result<(), LoadError<E>> {
        let keys: Vec<CacheKey> = items.iter().map(|(_, key)| key.clone()).collect();
        let marks: Vec<u64> = keys.iter().map(|key| self.engine.flights.mark(key)).collect();
        let found = self.look_up_all(&keys).await;
        for (((item, key), mark), Lookup { entry, token, backend }) in items.into_iter().zip(marks).zip(found)
        {
            let value = decode(self.engine, self.encoding, &key, self.engine.fresh(entry));
            self.join(item, key, LookupResult { value, token, backend, mark })?;
        }
        Ok(())
    }

    /// Takes the value of `found`, or joins or leads a load of it.
    fn join(&mut self, item: I, key: CacheKey, found: LookupResult<T>) -> Result<(), LoadError<E>> {
        if let Some(value) = found.value {
            self.found(item, value, Source::Hit, found.backend);
            return Ok(());
        }
        let id = self.engine.flights.id::<V::Stored, E>(&key, self.encoding.codec());
        if context::is_running(&id) {
            return Err(LoadError::Recursive);
        }
        if found.token.is_never() && !self.is_single() {
            // Loads without a token wait for each other in a row: two callers of many could wait for each other's.
            self.alone.push(item);
            return Ok(());
        }
        self.source = (Source::Loaded, found.backend);
        if !self.wait.is_zero() && !found.token.is_shared() {
            self.engine.own_tokens.add(found.token);
        }
        match self.engine.flights.join::<E>(&id, found.token, found.mark) {
            Join::Waiter(waiter) => {
                self.engine.count(Event::Coalesced, &key);
                self.waiting.push((item, key, waiter));
            }
            Join::Leader(leader) => {
                self.loading.push(id);
                self.led.push(Led { item, key, token: found.token, leader });
            }
            // The load that it would wait for waits for this one.
            Join::Circle => {
                self.record("circle");
                self.loading.push(id);
                self.alone.push(item);
            }
        }
        Ok(())
    }

    /// Looks up again while a load without a token waits behind another one. The fallback store may give a token meanwhile,
    /// so that neither this caller nor those that joined it have to wait for that load.
    async fn wait_for_turn(&mut self) -> Result<(), LoadError<E>> {
        let Some(mut led) = self.led.pop_if(|led| led.token.is_never()) else { return Ok(()) };
        while !led.leader.has_its_turn_within(LOOKS_AGAIN_AFTER).await {
            // The caller waits for a load meanwhile, not for the cache.
            self.budget.renew();
            let mark = self.engine.flights.mark(&led.key);
            // A store that hangs must not delay a load whose turn has come.
            let found = {
                let lookup = pin!(self.engine.lookup(&led.key, &mut self.budget));
                let turn = pin!(led.leader.has_its_turn_within(LONGEST));
                match select(lookup, turn).await {
                    Either::Left((found, _)) => found,
                    Either::Right((true, _)) => break,
                    Either::Right((false, lookup)) => lookup.await,
                }
            };
            let Lookup { entry, token, backend } = found;
            let value = self.engine.decode(self.encoding, &led.key, self.engine.fresh(entry));
            if value.is_some() || !token.is_never() {
                let Led { item, key, leader, .. } = led;
                drop(leader);
                self.loading.clear();
                return self.join(item, key, LookupResult { value, token, backend, mark });
            }
        }
        self.led.push(led);
        Ok(())
    }

    /// Looks up again the items of which a load ended since they were looked up: their values may be stored by now.
    async fn look_again(&mut self) {
        // After a lookup that failed another would only cost the caller time.
        let looks_again = |led: &mut Led<I, E>| led.leader.looks_again() && !led.token.is_never();
        let again: Vec<_> = self.led.extract_if(.., looks_again).collect();
        let keys: Vec<CacheKey> = again.iter().map(|led| led.key.clone()).collect();
        let found = self.look_up_all(&keys).await;
        for (mut led, Lookup { entry, token, backend }) in again.into_iter().zip(found) {
            if let Some(value) = self.engine.decode(self.encoding, &led.key, self.engine.fresh(entry)) {
                self.found(led.item, value, Source::Hit, backend);
                continue;
            }
            if !token.is_never() {
                led.token = token;
                led.leader.retoken(token);
                self.source = (Source::Loaded, backend);
            }
            self.led.push(led);
        }
    }

    /// Loads the items that no other caller loads, in a task of its own.
    async fn lead(
        &mut self,
        loader: &mut (dyn FnMut() -> Loader<I, T, E> + Send),
    ) -> Result<(), LoadError<E>> {
        let (led, alone) = (std::mem::take(&mut self.led), std::mem::take(&mut self.alone));
        let items = led.len() + alone.len();
        if items == 0 {
            return Ok(());
        }
        let ids = std::mem::take(&mut self.loading);
        let context = LoadContext::of_all(ids, led.iter().map(|led| led.leader.node()));
        let span = self.span.clone().unwrap_or_else(|| {
            Span::new(|| tracing::debug_span!("cache_load_many", items, outcome = tracing::field::Empty))
        });
        let (engine, options) = (Arc::clone(self.engine), Arc::clone(&self.options));
        let (encoding, load, wait) = (self.encoding, loader(), self.wait);
        let task = LoadTask { engine, encoding, led, alone, options, load, wait, span };
        let (values, source) = task.run(context).await?;
        self.values.extend(values);
        self.source.0 = source;
        Ok(())
    }

    /// Waits for the loads of other callers. Returns the items to look up again, because their leader was cancelled or the
    /// deadline passed; those whose values could not be shared are left to this caller.
    async fn wait(&mut self) -> Result<Vec<(I, CacheKey)>, LoadError<E>> {
        let mut left = Vec::new();
        for (item, key, waiter) in std::mem::take(&mut self.waiting) {
            match waiter.outcome().await.as_deref() {
                Some(Outcome::Value(payload, shape)) => match self.encoding.decode(payload, *shape) {
                    Ok(value) => self.found(item, value, Source::Waited, self.source.1),
                    Err(_) => self.alone.push(item),
                },
                Some(Outcome::Unshared) => self.alone.push(item),
                Some(Outcome::Absent) if self.is_single() => self.alone.push(item),
                Some(Outcome::Absent) => {
                    self.values.extend(self.options.absent().map(|absent| (item, absent())));
                }
                Some(Outcome::Failed(error)) => {
                    self.record("failed");
                    return Err(error.clone());
                }
                None => left.push((item, key)),
            }
        }
        Ok(left)
    }

    async fn look_up_all(&mut self, keys: &[CacheKey]) -> Vec<Lookup> {
        let found = self.engine.lookup_many(keys, &mut self.budget).await;
        // A request for many waits as long again after an answer.
        if !self.is_single() && !self.budget.is_spent() {
            self.budget.renew();
        }
        found
    }

    fn is_single(&self) -> bool {
        self.span.is_some()
    }

    fn record(&self, outcome: &'static str) {
        if let Some(span) = &self.span {
            span.record("outcome", outcome);
        }
    }

    fn found(&mut self, item: I, value: T, source: Source, backend: BackendKind) {
        self.record(if source == Source::Waited { "waited" } else { "hit" });
        self.source = (source, backend);
        self.values.insert(item, value);
    }
}
