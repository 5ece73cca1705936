//! Reads of single values: with a load on a miss, or without.

use std::borrow::{Borrow, Cow};
use std::convert::Infallible;
use std::sync::Arc;

use cache_core::{CacheKey, Entry, Lookup};

use super::Cache;
use crate::call::{Call, Load};
use crate::encoding::{CacheValue, Decode, Encode, Shared, Typed};
use crate::lifetime::Freshness;
use crate::load::{LoadOptions, LoadResult, Loaded, LoaderError, LookupResult, Source, one, resolve_one};
use crate::observe::events::Event;
use crate::time_budget::TimeBudget;

impl Cache {
    /// Returns the value of `key` from the cache, or from `load` on a miss.
    ///
    /// However many callers miss the same key at once, one of their closures runs and all get its value. A call never
    /// returns a value whose load began before an invalidation that completed before the call. A value that cannot be
    /// stored is returned all the same; an error of the cache is a miss and an event in the log. [`Bytes`](bytes::Bytes) are
    /// stored without a codec, as for files, and a hit copies nothing.
    ///
    /// ```
    /// # async fn example(cache: cache_facade::Cache) -> Result<(), Box<dyn std::error::Error>> {
    /// # async fn name_of(id: u64) -> std::io::Result<String> { Ok(String::new()) }
    /// use cache_facade::CacheKey;
    /// use std::time::Duration;
    ///
    /// let key = CacheKey::builder("user", 7).part("name").build()?;
    /// let name: String = cache.get_or_load(&key, async || name_of(7).await).await?;
    ///
    /// // With options before the await, which are those of `Load`.
    /// let load = cache.get_or_load(&key, async || name_of(7).await).ttl(Duration::from_secs(60));
    /// println!("{}", load.details().await?.source);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # The loader
    /// It must read a fresh snapshot: not inside a transaction that was opened before, nor an uncommitted one. It owns
    /// what it uses, because it may outlive this call: it runs as a task of its own, so that a caller that is
    /// cancelled neither stops it nor delays others. A closure that borrows `self` or a local variable is a compile error (E0521,
    /// E0597 or E0373): clone the handle before the call and move the clone in, as [`Family::get_or_load`](crate::Family::get_or_load)
    /// shows. It runs only on a miss. After the load timeout (default 30 s) no caller
    /// joins it: its own caller still waits, the others look up again and one of them loads.
    ///
    /// # Errors
    /// `Failed` with the loader's error and `Panicked` with its panic's message reach exactly the callers that waited for
    /// that load; the next call loads anew. `Recursive` when the load requests its own key. Where loads request each
    /// other's keys, the one that would close the circle runs its own closure instead of waiting. A task that the loader
    /// spawns by itself is not recognised, and waits until the load timeout.
    ///
    /// # Cancellation
    /// The load goes on, and its value is stored.
    ///
    /// # Cost
    /// A hit is one lookup and one decoding; it waits at most 250 ms for a backend that does not answer.
    pub fn get_or_load<T, E, F, Fut>(
        &self,
        key: &CacheKey,
        load: F,
    ) -> Load<T, impl Call<LoadOptions<T>, Output = LoadResult<Loaded<T>, E>>, LoadResult<T, E>>
    where
        T: CacheValue,
        E: LoaderError,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.load(key, LoadOptions::new(), load).answer(|loaded| loaded.map(Loaded::into_value))
    }

    /// Returns the value of `key` from the cache, or from `compute` on a miss, which cannot fail; see
    /// [`get_or_load`](Self::get_or_load).
    ///
    /// ```
    /// # async fn example(cache: cache_facade::Cache, key: cache_facade::CacheKey) {
    /// let name = cache.get_or_compute(&key, async || "Ada".to_owned()).await;
    /// # }
    /// ```
    ///
    /// # Panics
    /// With the panic of `compute`, and where it requests its own key.
    pub fn get_or_compute<T, F, Fut>(
        &self,
        key: &CacheKey,
        compute: F,
    ) -> Load<T, impl Call<LoadOptions<T>, Output = LoadResult<Loaded<T>, Infallible>>, T>
    where
        T: CacheValue,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        Load::computed(self.load(key, LoadOptions::new(), async move || Ok(compute().await)))
    }

    /// Returns the value of `key` as one that callers share: what [`get_or_load`](Self::get_or_load) would decode for each of
    /// them is decoded once, and kept as long as a lookup finds the same bytes in memory. It is stored as a `T`, so that both
    /// calls find each other's values.
    ///
    /// Values are kept decoded in a quarter of [`CACHE_MEMORY_MB`](crate::config::CacheConfigBuilder::memory_mb). Without it, and where the
    /// lookup finds the value elsewhere than in memory, each call decodes.
    ///
    /// ```
    /// # async fn example(cache: cache_facade::Cache, key: cache_facade::CacheKey) -> Result<(), Box<dyn std::error::Error>> {
    /// # async fn names() -> std::io::Result<Vec<String>> { Ok(Vec::new()) }
    /// use std::sync::Arc;
    ///
    /// let names: Arc<Vec<String>> = cache.get_or_load_shared(&key, names).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get_or_load`](Self::get_or_load).
    pub fn get_or_load_shared<T, E, F, Fut>(
        &self,
        key: &CacheKey,
        load: F,
    ) -> Load<
        Arc<T>,
        impl Call<LoadOptions<Arc<T>>, Output = LoadResult<Loaded<Arc<T>>, E>>,
        LoadResult<Arc<T>, E>,
    >
    where
        T: CacheValue + Sync,
        E: LoaderError,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.load_shared(key, LoadOptions::new(), load).answer(|loaded| loaded.map(Loaded::into_value))
    }

    /// Makes the call of [`get_or_load`](Self::get_or_load), for a key that it may own.
    #[inline]
    pub(crate) fn load<T, E, F, Fut>(
        &self,
        key: impl Borrow<CacheKey> + Send,
        options: LoadOptions<T>,
        load: F,
    ) -> Load<T, impl Call<LoadOptions<T>, Output = LoadResult<Loaded<T>, E>>, LoadResult<Loaded<T>, E>>
    where
        T: CacheValue,
        E: LoaderError,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        Load::new(options, move |options| self.read_through(Typed(self.codec), key, options, load))
    }

    /// Makes the call of [`get_or_load_shared`](Self::get_or_load_shared), for a key that it may own.
    pub(crate) fn load_shared<T, E, F, Fut>(
        &self,
        key: impl Borrow<CacheKey> + Send,
        options: LoadOptions<Arc<T>>,
        load: F,
    ) -> Load<
        Arc<T>,
        impl Call<LoadOptions<Arc<T>>, Output = LoadResult<Loaded<Arc<T>>, E>>,
        LoadResult<Loaded<Arc<T>>, E>,
    >
    where
        T: CacheValue + Sync,
        E: LoaderError,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let load = move || async move { load().await.map(Arc::new) };
        Load::new(options, move |options| self.read_through(Shared(self.codec), key, options, load))
    }

    /// Not an `async fn`, whose future would hold each argument twice.
    #[inline]
    #[expect(clippy::manual_async_fn, reason = "the future of a hit is smaller")]
    fn read_through<T, E, F, Fut, V>(
        &self,
        encoding: V,
        key: impl Borrow<CacheKey> + Send,
        options: LoadOptions<T>,
        load: F,
    ) -> impl Future<Output = LoadResult<Loaded<T>, E>> + Send
    where
        T: Send + 'static,
        E: LoaderError,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        V: Encode<T>,
    {
        async move {
            let engine = &self.engine;
            if !engine.enabled {
                return engine.load_alone(one(load), Source::Bypassed).await;
            }
            let Some(key) = self.readable_key(key.borrow()) else {
                return engine.load_alone(one(load), Source::Loaded).await;
            };
            let mut budget = TimeBudget::new();
            let mark = engine.flights.mark(&key);
            let Lookup { entry, token, backend } = engine.lookup(&key, &mut budget).await;
            let freshness = engine.freshness(&key, options.lifetime, entry.as_ref());
            let entry = entry.filter(|_| freshness != Freshness::Expired);
            let sample = engine.sample(entry.as_ref(), token, backend);
            let Some(value) = engine.hit(encoding, &key, entry) else {
                let found = LookupResult { value: None, token, backend, mark };
                // Boxed to keep the future of a hit small.
                return Box::pin(resolve_one(engine, encoding, &key, options, one(load), found, budget))
                    .await;
            };
            if freshness != Freshness::Fresh {
                engine.refresh(encoding, &key, options, one(load), (token, mark));
            } else if let Some(sample) = sample.filter(|_| !options.sets_expiry()) {
                engine.verify(encoding, &key, one(load), sample);
            }
            if freshness == Freshness::Stale {
                engine.metrics.count(Event::Stale, backend, &key);
                return Ok(Loaded { value, source: Source::Stale, backend });
            }
            Ok(Loaded { value, source: Source::Hit, backend })
        }
    }

    /// Returns the value stored for `key`, if it is one of `T`.
    ///
    /// An error of the cache is a miss and an event in the log. To load a missing value use
    /// [`get_or_load`](Self::get_or_load).
    pub async fn get<T: CacheValue>(&self, key: &CacheKey) -> Option<T> {
        self.read(Typed(self.codec), key).await
    }

    /// Returns the value stored for `key` as one that callers share; see [`get_or_load_shared`](Self::get_or_load_shared).
    pub async fn get_shared<T: CacheValue + Sync>(&self, key: &CacheKey) -> Option<Arc<T>> {
        self.read(Shared(self.codec), key).await
    }

    /// Whether a value of any type is stored for `key`. An error of the cache is `false` and an event in the log.
    pub async fn contains(&self, key: &CacheKey) -> bool {
        self.entry(key).await.is_some_and(|(_, entry)| entry.is_some())
    }

    async fn read<T, V: Decode<T>>(&self, encoding: V, key: &CacheKey) -> Option<T> {
        let (key, entry) = self.entry(key).await?;
        self.engine.hit(encoding, &key, entry)
    }

    /// Reads the fresh entry of `key` without a token; `None` where there is nothing to read.
    async fn entry<'a>(&self, key: &'a CacheKey) -> Option<(Cow<'a, CacheKey>, Option<Entry>)> {
        let engine = &self.engine;
        if !engine.enabled {
            return None;
        }
        let key = self.readable_key(key)?;
        let entry = engine.fresh(engine.get(&key).await);
        Some((key, entry))
    }
}
