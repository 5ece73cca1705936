//! Reads of many values: one lookup for all, and one load for those that are missing.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;

use cache_core::CacheKey;
use futures_util::{FutureExt, StreamExt, stream};

use super::Cache;
use crate::call::{Call, Load};
use crate::encoding::{CacheValue, Typed};
use crate::load::engine::CacheEngine;
use crate::load::options::Absent;
use crate::load::{Item, LoadOptions, LoadResult, Loader, LoaderError, Request, many, run_loader};
use crate::time_budget::TimeBudget;

/// Progress of a [`Cache::warm`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warmed {
    /// Items that were loaded, or were in the cache already.
    pub done: u64,
    /// Items whose load failed.
    pub failed: u64,
}

impl Cache {
    /// Returns the values stored for `keys`, in their order. One round trip for each 500 keys, where the backend can read
    /// many at once. The keys of a part that is not answered within 250 ms are misses.
    pub async fn get_many<T: CacheValue>(&self, keys: &[CacheKey]) -> Vec<Option<T>> {
        let engine = &self.engine;
        if !engine.enabled {
            return keys.iter().map(|_| None).collect();
        }
        let scoped: Vec<_> = keys.iter().map(|key| self.readable_key(key)).collect();
        let present: Vec<CacheKey> = scoped.iter().flatten().map(|key| key.clone().into_owned()).collect();
        let mut found = engine.get_many(&present).await.into_iter();
        let mut value =
            |key: &CacheKey| engine.hit(Typed(self.codec), key, engine.fresh(found.next().flatten()));
        scoped.iter().map(|key| value(key.as_deref()?)).collect()
    }

    /// Returns the values of many items from the cache, and from one call of `load` for those that are missing.
    ///
    /// ```
    /// # #[derive(Clone)] struct Db;
    /// # impl Db {
    /// #     async fn names(&self, ids: Vec<u64>) -> std::io::Result<Vec<(u64, String)>> { Ok(Vec::new()) }
    /// # }
    /// # async fn example(cache: cache_facade::Cache, db: Db) -> Result<(), Box<dyn std::error::Error>> {
    /// use cache_facade::CacheKey;
    ///
    /// let mut items = Vec::new();
    /// for id in 1..=100_u64 {
    ///     items.push((id, CacheKey::builder("user", id).part("name").build()?));
    /// }
    /// let names = cache.get_or_load_many(items, async move |ids| db.names(ids).await).await?;
    /// println!("{:?}", names.get(&7));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `load` gives pairs of item and value, in any order. An item that it leaves out is left out of the result and not
    /// stored, unless the options say how long a `None` is kept ([`Load::negative`]): then it is a `None`. Items that
    /// were not requested are ignored. Values that other callers are loading, one or many, are waited for and not loaded
    /// again; while the backend does not answer, every caller loads for itself. The promises of
    /// [`get_or_load`](Self::get_or_load) on freshness and on the loader hold here: each value is stored by the token of its
    /// own lookup. Expired values are loaded, whatever the options say of stale ones.
    ///
    /// `load` is cloned, and called again, for values that the loads of other callers did not give.
    ///
    /// # Errors
    /// As for [`get_or_load`](Self::get_or_load), of the load of any of the items; the others are stored all the same.
    ///
    /// # Cancellation
    /// The load goes on, and its values are stored.
    ///
    /// # Cost
    /// One round trip for all hits and one for all fills, where the backend can do it. Large batches go in parts of 500 keys
    /// and a mebibyte, each with a round trip and a wait of 250 ms at most. A part that is not answered in time is loaded,
    /// and so are all parts after it if the next one is not answered either.
    pub fn get_or_load_many<I, T, E, F, Fut, R>(
        &self,
        items: impl IntoIterator<Item = (I, CacheKey)> + Send,
        load: F,
    ) -> Load<T, impl Call<LoadOptions<T>, Output = LoadResult<HashMap<I, T>, E>>, LoadResult<HashMap<I, T>, E>>
    where
        I: Eq + Hash + Clone + Send + 'static,
        T: CacheValue,
        E: LoaderError,
        F: FnOnce(Vec<I>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoIterator<Item = (I, T)> + 'static,
    {
        let items: Vec<(I, CacheKey)> = items.into_iter().collect();
        self.load_many(items, LoadOptions::new(), move |absent| many(load.clone(), absent))
    }

    /// Makes the call of [`get_or_load_many`](Self::get_or_load_many), whose loaders are made by `loader`.
    pub(crate) fn load_many<I: Item, T: CacheValue, E: LoaderError>(
        &self,
        items: Vec<(I, CacheKey)>,
        options: LoadOptions<T>,
        loader: impl FnMut(Option<Absent<T>>) -> Loader<I, T, E> + Send + 'static,
    ) -> Load<T, impl Call<LoadOptions<T>, Output = LoadResult<HashMap<I, T>, E>>, LoadResult<HashMap<I, T>, E>>
    {
        // Boxed to keep the caller's future small.
        Load::new(options, move |options| self.values_of_many(items, options, loader).boxed())
    }

    async fn values_of_many<I: Item, T: CacheValue, E: LoaderError>(
        &self,
        items: Vec<(I, CacheKey)>,
        options: LoadOptions<T>,
        mut loader: impl FnMut(Option<Absent<T>>) -> Loader<I, T, E> + Send,
    ) -> LoadResult<HashMap<I, T>, E> {
        let absent = options.absent();
        let mut loader = move || loader(absent.clone());
        if !self.engine.enabled {
            return run_loader(loader(), items.into_iter().map(|(item, _)| item).collect()).await;
        }
        let mut request = Request::new(&self.engine, Typed(self.codec), options, TimeBudget::new());
        let mut scoped = Vec::with_capacity(items.len());
        for (item, key) in items {
            match self.readable_key(&key) {
                Some(key) => scoped.push((item, key.into_owned())),
                None => request.alone.push(item),
            }
        }
        request.look_up(scoped, CacheEngine::hit).await?;
        request.run(&mut loader).await?;
        Ok(request.values)
    }

    /// Calls `load` for each of `items`, `concurrency` of them at a time, and `progress` after each.
    ///
    /// ```
    /// # async fn name_of(id: u64) -> std::io::Result<String> { Ok(String::new()) }
    /// # async fn example(cache: cache_facade::Cache) {
    /// use cache_facade::images;
    ///
    /// let warmed = cache
    ///     .warm(1..=100, 8, async |cache, id| {
    ///         cache.get_or_load(&images::image_metadata(id), async move || name_of(id).await).await
    ///     }, |warmed| eprintln!("{} of 100", warmed.done))
    ///     .await;
    /// # }
    /// ```
    ///
    /// An item that fails is counted, and the others go on. A `concurrency` of 0 counts as 1.
    ///
    /// # Cancellation
    /// Loads that have begun go on; no further one begins.
    pub async fn warm<I, L, T, E>(
        &self,
        items: I,
        concurrency: usize,
        load: L,
        progress: impl FnMut(Warmed),
    ) -> Warmed
    where
        I: IntoIterator,
        L: AsyncFn(&Self, I::Item) -> Result<T, E>,
    {
        let load = &load;
        run_all(items.into_iter().map(async |item| load(self, item).await.is_ok()), concurrency, progress)
            .await
    }
}

/// Runs `loads`, which tell whether they succeeded, `concurrency` at a time.
pub(crate) async fn run_all<F: Future<Output = bool>>(
    loads: impl IntoIterator<Item = F>,
    concurrency: usize,
    mut progress: impl FnMut(Warmed),
) -> Warmed {
    let mut warmed = Warmed::default();
    let mut loads = pin!(stream::iter(loads).buffer_unordered(concurrency.max(1)));
    while let Some(is_done) = loads.next().await {
        *(if is_done { &mut warmed.done } else { &mut warmed.failed }) += 1;
        progress(warmed);
    }
    warmed
}
