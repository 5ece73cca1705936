//! Reads of single values: with a load on a miss, or without.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{CacheKey, Entry, Lookup};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use crate::encoding::{Decode, Encode, Raw, Shared, Typed};
use crate::lifetime::Freshness;
use crate::load::{LoadError, LoadOptions, Loaded, LookupResult, Source, one, resolve_one};
use crate::observe::events::Event;
use crate::time_budget::TimeBudget;

impl Cache {
    /// Returns the value of `key` from the cache, or from `load` on a miss.
    ///
    /// However many callers miss the same key at once, one of their closures runs and all get its value. A call never
    /// returns a value whose load began before an invalidation that completed before the call. A value that cannot be
    /// stored is returned all the same; an error of the cache is a miss and an event in the log.
    ///
    /// ```
    /// # async fn example(cache: cache_facade::Cache) -> Result<(), Box<dyn std::error::Error>> {
    /// use cache_facade::CacheKey;
    ///
    /// let key = CacheKey::builder("user", 7).part("name").build()?;
    /// let name: String =
    ///     cache.get_or_load(&key, async || Ok::<_, std::io::Error>("Ada".to_owned())).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # The loader
    /// It must read a fresh snapshot: not inside a transaction that was opened before, nor an uncommitted one. It owns
    /// what it uses, because it may outlive this call: it runs as a task of its own, so that a caller that is
    /// cancelled neither stops it nor delays others. It runs only on a miss. After the load timeout (default 30 s) no caller
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
    pub async fn get_or_load<T, E, F, Fut>(&self, key: &CacheKey, load: F) -> Result<T, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.read_through(Typed(self.codec), key, LoadOptions::new(), load).await.map(Loaded::into_value)
    }

    /// Returns the value of `key` and its source, with options for the load. A caller that joins a load in flight uses the
    /// leader's options.
    ///
    /// # Errors
    /// As for [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_with<T, E, F, Fut>(
        &self,
        key: &CacheKey,
        options: LoadOptions<T>,
        load: F,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.read_through(Typed(self.codec), key, options, load).await
    }

    /// Returns the value of `key` as one that callers share: what [`get_or_load`](Self::get_or_load) would decode for each of
    /// them is decoded once, and kept as long as a lookup finds the same bytes in memory. It is stored as a `T`, so that both
    /// calls find each other's values.
    ///
    /// Values are kept decoded in a quarter of [`CACHE_MEMORY_MB`](crate::CacheConfigBuilder::memory_mb). Without it, and where the
    /// lookup finds the value elsewhere than in memory, each call decodes.
    ///
    /// ```
    /// # async fn example(cache: cache_facade::Cache) -> Result<(), Box<dyn std::error::Error>> {
    /// use cache_facade::CacheKey;
    /// use std::sync::Arc;
    ///
    /// let key = CacheKey::builder("user", 7).part("names").build()?;
    /// let load = async || Ok::<_, std::io::Error>(vec!["Ada".to_owned(), "Countess".to_owned()]);
    /// let names: Arc<Vec<String>> = cache.get_or_load_shared(&key, load).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_shared<T, E, F, Fut>(
        &self,
        key: &CacheKey,
        load: F,
    ) -> Result<Arc<T>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let load = move || async move { load().await.map(Arc::new) };
        self.read_through(Shared(self.codec), key, LoadOptions::new(), load).await.map(Loaded::into_value)
    }

    /// Returns the bytes of `key`, stored without a codec, as for files. A hit copies nothing.
    ///
    /// # Errors
    /// As for [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_bytes<E, F, Fut>(
        &self,
        key: &CacheKey,
        options: LoadOptions<Bytes>,
        load: F,
    ) -> Result<Loaded<Bytes>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        self.read_through(Raw, key, options, load).await
    }

    async fn read_through<T, E, F, Fut, V>(
        &self,
        encoding: V,
        key: &CacheKey,
        options: LoadOptions<T>,
        load: F,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        T: Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        V: Encode<T>,
    {
        let engine = &self.engine;
        if !engine.enabled {
            return engine.load_alone(one(load), Source::Bypassed).await;
        }
        let Some(key) = self.readable_key(key) else {
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
            return Box::pin(resolve_one(engine, encoding, &key, options, one(load), found, budget)).await;
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

    /// Returns the value stored for `key`, if it is one of `T`.
    ///
    /// An error of the cache is a miss and an event in the log. To load a missing value use
    /// [`get_or_load`](Self::get_or_load).
    pub async fn get<T: DeserializeOwned>(&self, key: &CacheKey) -> Option<T> {
        self.read(Typed(self.codec), key).await
    }

    /// Returns the value stored for `key` as one that callers share; see [`get_or_load_shared`](Self::get_or_load_shared).
    pub async fn get_shared<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        key: &CacheKey,
    ) -> Option<Arc<T>> {
        self.read(Shared(self.codec), key).await
    }

    /// Returns the bytes stored for `key`, without copying them. An error of the cache is a miss and an event in the log.
    pub async fn get_bytes(&self, key: &CacheKey) -> Option<Bytes> {
        self.read(Raw, key).await
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
