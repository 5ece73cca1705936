//! Read many values through the cache: one lookup for all, and one load for those that are missing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use cache_core::{CacheKey, Entry, FillToken, Lookup};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::batch::{Batch, Led, rows};
use super::{Cache, Shared};
use crate::asked::asked;
use crate::flight::{Boarding, FlightId, Outcome, Ticket};
use crate::form::{Form, Typed};
use crate::load::LoadError;
use crate::loading::{self, Loading};
use crate::options::LoadOptions;
use crate::patience::Patience;
use crate::rt;
use crate::span::Span;
use crate::trouble::Operation;
use crate::waits::{Node, Wait};

impl Cache {
    /// The values of many items from the cache; `load` is called once, with those that are missing there.
    ///
    /// ```
    /// # #[derive(Clone)] struct Db;
    /// # impl Db {
    /// #     async fn names(&self, ids: Vec<u64>) -> std::io::Result<Vec<(u64, String)>> { Ok(Vec::new()) }
    /// # }
    /// # async fn example(cache: cache_facade::Cache, db: Db) -> Result<(), Box<dyn std::error::Error>> {
    /// use cache_facade::{LoadOptions, images};
    ///
    /// let items = (1..=100).map(|id: u64| (id, images::image_metadata(id)));
    /// let names = cache.get_or_load_many(items, LoadOptions::new(), async move |ids| db.names(ids).await).await?;
    /// println!("{:?}", names.get(&7));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `load` gives pairs of item and value, in any order; an item that it leaves out is left out here too, and nothing
    /// is stored for it, unless the options say for how long it is remembered ([`LoadOptions::negative`]): then it is a `None`; one that it was not asked for is passed over. What another caller is loading, one value or many,
    /// is waited for and not loaded again; while the store does not answer, every caller loads for himself. What
    /// [`get_or_load`](Self::get_or_load) says of freshness and of the loader holds here: each value is stored by the
    /// token of its own lookup. Values whose time is over are loaded, whatever the options say of old ones.
    ///
    /// `load` is cloned, and called again, for what could not be had from those who were waited for.
    ///
    /// # Errors
    /// As for [`get_or_load`](Self::get_or_load), of the load of any of the items; the others are stored all the same.
    ///
    /// # Cancellation
    /// Dropping the future leaves a load that runs to its end; its values are stored.
    ///
    /// # Cost
    /// One round trip for all hits where the store can do it, and one for all fills; a large batch goes in parts of 500 keys
    /// and a mebibyte, each with one and with the 250 ms that a request waits at most. What is in a part
    /// that is not answered in time is loaded, and what is behind it too if the store does not answer the next one either.
    pub async fn get_or_load_many<I, T, E, F, Fut, R>(
        &self,
        items: impl IntoIterator<Item = (I, CacheKey)> + Send,
        options: LoadOptions<T>,
        load: F,
    ) -> Result<HashMap<I, T>, LoadError<E>>
    where
        I: Eq + Hash + Clone + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce(Vec<I>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoIterator<Item = (I, T)> + 'static,
    {
        let items: Vec<(I, CacheKey)> = items.into_iter().collect();
        let mut asking = Asking::new(&self.shared, Typed(self.codec));
        if !self.shared.enabled {
            return rows(load, items.into_iter().map(|(item, _)| item).collect(), options.absent).await;
        }
        let mut places = Vec::with_capacity(items.len());
        for (item, key) in items {
            match self.place(&key) {
                Ok(place) => places.push((item, place.into_owned())),
                Err(error) => {
                    self.shared.report(Operation::Place, &key, &error);
                    asking.alone.push(item);
                }
            }
        }
        // On the heap, so that the caller does not carry its state along.
        Box::pin(asking.resolve(places, options, load)).await
    }
}

/// A caller's items, sorted by how their values are to be had.
struct Asking<'a, I, T, E, V> {
    shared: &'a Arc<Shared>,
    form: V,
    patience: Patience,
    values: HashMap<I, T>,
    led: Vec<Led<I, E>>,
    waiting: Vec<(I, CacheKey, Ticket<E>)>,
    /// Loaded by this caller for himself.
    alone: Vec<I>,
    loading: Vec<FlightId>,
    /// What the load that asks waits for.
    waits: Vec<Wait>,
}

impl<'a, I, T, E, V> Asking<'a, I, T, E, V>
where
    I: Eq + Hash + Clone + Send + 'static,
    T: Send + 'static,
    E: Send + Sync + 'static,
    V: Form<T>,
{
    fn new(shared: &'a Arc<Shared>, form: V) -> Self {
        Self {
            shared,
            form,
            patience: Patience::new(),
            values: HashMap::new(),
            led: Vec::new(),
            waiting: Vec::new(),
            alone: Vec::new(),
            loading: Vec::new(),
            waits: Vec::new(),
        }
    }

    async fn resolve<F, Fut, R>(
        mut self,
        places: Vec<(I, CacheKey)>,
        options: LoadOptions<T>,
        load: F,
    ) -> Result<HashMap<I, T>, LoadError<E>>
    where
        F: FnOnce(Vec<I>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoIterator<Item = (I, T)> + 'static,
    {
        let options = Arc::new(options);
        self.look(places, Shared::hit).await?;
        loop {
            self.look_again().await;
            self.lead(&options, load.clone()).await?;
            let left = self.wait(options.absent).await?;
            if left.is_empty() && self.alone.is_empty() {
                return Ok(self.values);
            }
            self.look(left, Shared::decoded).await?;
        }
    }

    /// Looks `places` up, and boards the flights of what is missing.
    async fn look(
        &mut self,
        places: Vec<(I, CacheKey)>,
        read: impl Fn(&Shared, V, &CacheKey, Option<Entry>) -> Option<T>,
    ) -> Result<(), LoadError<E>> {
        let keys: Vec<CacheKey> = places.iter().map(|(_, key)| key.clone()).collect();
        let marks: Vec<u64> = keys.iter().map(|key| self.shared.flights.mark(key)).collect();
        let found = self.lookup(&keys).await;
        for (((item, key), mark), found) in places.into_iter().zip(marks).zip(found) {
            match read(self.shared, self.form, &key, self.shared.fresh(found.entry)) {
                Some(value) => drop(self.values.insert(item, value)),
                None => self.board(item, key, mark, found.token)?,
            }
        }
        Ok(())
    }

    /// Joins the flight of a value that is missing, or leads one.
    fn board(&mut self, item: I, key: CacheKey, mark: u64, token: FillToken) -> Result<(), LoadError<E>> {
        let id = self.shared.flights.id::<T, E>(&key, self.form.codec());
        if loading::is_running(&id) {
            return Err(LoadError::Recursive);
        }
        if token.is_never() {
            // Flights without a token wait for each other in a row; two callers could wait for each other's.
            self.alone.push(item);
            return Ok(());
        }
        match self.shared.flights.board::<E>(&id, token, mark) {
            Boarding::Joined(ticket) => {
                let Ok(waits) = loading::waits_for(self.shared.flights.waits(), ticket.node()) else {
                    // What it would wait for waits for it: it loads as if nobody else did.
                    self.loading.push(id);
                    self.alone.push(item);
                    return Ok(());
                };
                self.waits.extend(waits);
                self.shared.meter.coalesced(self.shared.kind(), &key);
                self.waiting.push((item, key, ticket));
            }
            Boarding::Leads(lead) => {
                self.loading.push(id);
                self.led.push(Led { item, key, token, lead });
            }
        }
        Ok(())
    }

    /// Looks once more for values whose flight ended since they were looked up: they may be there by now.
    async fn look_again(&mut self) {
        let keys: Vec<CacheKey> =
            self.led.iter().filter(|led| led.lead.looks_again()).map(|led| led.key.clone()).collect();
        let mut found = self.lookup(&keys).await.into_iter();
        for mut led in std::mem::take(&mut self.led) {
            if led.lead.looks_again() {
                let Some(found) = found.next() else { continue };
                let entry = self.shared.fresh(found.entry);
                if let Some(value) = self.shared.decoded(self.form, &led.key, entry) {
                    self.values.insert(led.item, value);
                    continue;
                }
                if !found.token.is_never() {
                    led.token = found.token;
                    led.lead.retoken(found.token);
                }
            }
            self.led.push(led);
        }
    }

    /// Loads what nobody else loads, in a task of its own.
    async fn lead<F, Fut, R>(&mut self, options: &Arc<LoadOptions<T>>, load: F) -> Result<(), LoadError<E>>
    where
        F: FnOnce(Vec<I>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoIterator<Item = (I, T)> + 'static,
    {
        let (led, alone) = (std::mem::take(&mut self.led), std::mem::take(&mut self.alone));
        if led.is_empty() && alone.is_empty() {
            return Ok(());
        }
        let node = Arc::<Node>::default();
        for led in &led {
            led.lead.node().waits_for(&node);
        }
        // Nobody waits for what is new.
        let _waits = loading::waits_for(self.shared.flights.waits(), &node);
        let loading = Loading::new(std::mem::take(&mut self.loading), node);
        let (shared, options) = (Arc::clone(self.shared), Arc::clone(options));
        let batch = Batch { shared, form: self.form, led, alone, options };
        let span = Span::new(|| {
            tracing::debug_span!("cache_load_many", items = batch.len(), outcome = tracing::field::Empty)
        });
        let (reply, answer) = oneshot::channel();
        let task = batch.complete(load, span.clone(), |answer| drop(reply.send(answer)));
        let answer = rt::answer_of(span.around(loading.run(task)), answer).await;
        let cut_off = || Err(LoadError::Panicked("the runtime was shut down during the load".into()));
        self.values.extend(answer.unwrap_or_else(cut_off)?);
        Ok(())
    }

    /// Waits for what others load. Gives back what is to be looked up again, because its leader went away or took too
    /// long; what he could not share this caller loads for himself.
    async fn wait(&mut self, absent: Option<fn() -> T>) -> Result<Vec<(I, CacheKey)>, LoadError<E>> {
        let mut left = Vec::new();
        for (item, key, ticket) in std::mem::take(&mut self.waiting) {
            match ticket.outcome().await {
                Some(Outcome::Value(payload, shape)) => match self.form.decode(&payload, shape) {
                    Ok(value) => drop(self.values.insert(item, value)),
                    Err(_) => self.alone.push(item),
                },
                Some(Outcome::Unshared) => self.alone.push(item),
                // Left out here too.
                Some(Outcome::Absent) => self.values.extend(absent.map(|absent| (item, absent()))),
                Some(Outcome::Failed(error)) => return Err(error),
                None => left.push((item, key)),
            }
        }
        self.waits.clear();
        Ok(left)
    }

    /// Looks `keys` up, in their order. Trouble is a miss without a token for each.
    async fn lookup(&mut self, keys: &[CacheKey]) -> Vec<Lookup> {
        let ask = |part| asked(self.shared.backend.lookup_many(part));
        let mut found = self.shared.in_parts(keys, &mut self.patience, ask).await;
        found.resize_with(keys.len(), || None);
        found.into_iter().map(|found| found.unwrap_or_else(|| self.shared.nothing())).collect()
    }
}
