//! Read through the cache: look up, else join a load or lead one.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::CacheKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use super::miss::Missed;
use super::refresh::Refresh;
use super::verify::Verify;
use crate::form::{Form, Plain, Typed};
use crate::lifetime::Standing;
use crate::load::{LoadError, Loaded, Source};
use crate::options::LoadOptions;
use crate::patience::Patience;
use crate::span::Span;
use crate::trouble::Operation;

impl Cache {
    /// The value of `key` from the cache, or from `load` on a miss.
    ///
    /// However many callers miss the same key at once, one of their closures runs and all get its value. Nobody gets a
    /// value whose load began before an invalidation that had returned when he asked. A value that cannot be stored is
    /// returned all the same; trouble in the cache is a miss and an event in the log.
    ///
    /// ```
    /// # async fn example(cache: cache_facade::Cache) -> Result<(), Box<dyn std::error::Error>> {
    /// use cache_facade::images;
    ///
    /// let name: String = cache
    ///     .get_or_load(&images::image_metadata(7), async || Ok::<_, std::io::Error>("cat.png".to_owned()))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # The loader
    /// It must read a fresh snapshot: not inside a transaction that was opened before, nor an uncommitted one. It owns
    /// what it uses, because it may outlive this call: it runs as a task of its own, so that a caller who goes away
    /// neither stops it nor keeps others waiting. It runs only on a miss. After the load timeout (default 30 s)
    /// nobody joins it any more: its own caller goes on waiting, the others look up again and one of them loads.
    ///
    /// # Errors
    /// `Failed` with the loader's error and `Panicked` with its panic's message reach exactly those who waited for that
    /// load; the next call loads anew. `Recursive` when the load asks for its own key. Where loads ask for each other's
    /// keys, the one that would close the circle runs its own closure instead of waiting. A task which the loader spawns
    /// by itself is not seen through, and waits until the load timeout.
    ///
    /// # Cancellation
    /// Dropping the future leaves a load that runs to its end; its value is stored.
    ///
    /// # Cost
    /// A hit is one lookup and one decoding; it waits at most 250 ms for a store that does not answer.
    pub async fn get_or_load<T, E, F, Fut>(&self, key: &CacheKey, load: F) -> Result<T, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.read_through(Typed(self.codec), key, LoadOptions::new(), load).await.map(Loaded::into_value)
    }

    /// The same with options, and with where the value came from. Who waits for another's load goes by that one's
    /// options.
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

    /// The same for bytes that are stored as they are: pictures, files. A hit copies nothing.
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
        self.read_through(Plain, key, options, load).await
    }

    async fn read_through<T, E, F, Fut, V>(
        &self,
        form: V,
        key: &CacheKey,
        options: LoadOptions<T>,
        load: F,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        T: Send + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        V: Form<T>,
    {
        let shared = &self.shared;
        if !shared.enabled {
            return shared.load_alone(load, Source::Bypassed).await;
        }
        let key = match self.place(key) {
            Ok(key) => key,
            Err(error) => {
                shared.report(Operation::Place, key, &error);
                return shared.load_alone(load, Source::Loaded).await;
            }
        };
        let mut patience = Patience::new();
        let mark = shared.flights.mark(&key);
        let found = shared.lookup(&key, &mut patience).await;
        let standing = shared.standing(&key, options.lifetime, found.entry.as_ref());
        let entry = found.entry.filter(|_| standing != Standing::Over);
        let chosen = shared.verification.chooses(entry.as_ref(), found.token, found.backend);
        if let Some(value) = shared.hit(form, &key, entry) {
            if standing == Standing::Fresh {
                if let Some(chosen) = chosen.filter(|_| !options.says_expiry()) {
                    let (shared, key) = (Arc::clone(shared), key.into_owned());
                    Verify { shared, form, key, chosen }.in_the_background(load);
                }
                return Ok(Loaded { value, source: Source::Hit, backend: found.backend });
            }
            Refresh { shared, form, key: &key, options, load }.in_the_background(mark, found.token);
            let source = if standing == Standing::Stale { Source::Stale } else { Source::Hit };
            return Ok(shared.served(&key, value, source, found.backend));
        }
        let span = Span::new(
            || tracing::debug_span!("cache_load", %key, outcome = tracing::field::Empty, fill = tracing::field::Empty),
        );
        let lifetime = shared.lifetime(&key, options.lifetime);
        let patience = &mut patience;
        let missed = Missed { shared, form, key: &key, patience, span: span.clone(), options, load };
        // On the heap, so that a hit does not carry the miss's state along.
        let resolved = span.clone().around(missed.resolve(mark, found.token, found.backend)).await;
        match resolved {
            Err(LoadError::Failed(_) | LoadError::Panicked(_)) if lifetime.stale_if_error.is_some() => {
                let rescued = Box::pin(shared.rescued(form, &key, lifetime, patience)).await;
                rescued.map_or(resolved, |rescued| {
                    span.record("outcome", rescued.source.as_str());
                    Ok(rescued)
                })
            }
            resolved => resolved,
        }
    }
}
