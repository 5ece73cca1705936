//! Writes of values that no database holds, counters and claims.

use std::borrow::Borrow;
use std::pin::pin;

use bytes::Bytes;
use cache_core::{AtomicBackend, CacheKey, Error, ErrorKind, NewEntry, Result};

use super::Cache;
use crate::call::{Call, Set};
use crate::catch_panic::catch_panic;
use crate::encoding::{StoredValue, encoded};
use crate::lifetime::Lifetime;
use crate::load::{Part, of_values};
use crate::time_budget::{self, TimeBudget};

impl Cache {
    /// Stores `value` for `key`, and replaces the value before it.
    ///
    /// For values that no database holds. A `set` takes **no** part in the promise of freshness: it wins over an
    /// invalidation that runs at the same time, one that timed out may land after a later invalidation, and after a crash
    /// the value before it may be back. Load values that come from elsewhere by [`get_or_load`](Self::get_or_load).
    ///
    /// The value lives as long as the configuration of its key's family says, or as [`Set::ttl`] does. With caching switched off
    /// nothing is stored, and that is no error. [`Bytes`] are stored without a codec.
    ///
    /// ```
    /// # async fn example(cache: cache_facade::Cache, key: cache_facade::CacheKey) -> cache_facade::Result<()> {
    /// cache.set(&key, "a draft").ttl(std::time::Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Encode` when the codec cannot encode it, `TooLarge` for a value over the backend's limit, `InvalidKey` when the
    /// scope makes the key too long, `Timeout` after 250 ms and a millisecond for every 32 KiB, and those of the backend.
    ///
    /// # Cancellation
    /// The value may or may not be stored.
    pub fn set<T: StoredValue + ?Sized>(
        &self,
        key: &CacheKey,
        value: &T,
    ) -> Set<impl Call<Lifetime, Output = Result<()>>> {
        self.set_in(key, Lifetime::new(), value)
    }

    /// Makes the call of [`set`](Self::set), for a key that it may own.
    pub(crate) fn set_in<T: StoredValue + ?Sized>(
        &self,
        key: impl Borrow<CacheKey> + Send,
        lifetime: Lifetime,
        value: &T,
    ) -> Set<impl Call<Lifetime, Output = Result<()>>> {
        Set::new(lifetime, move |lifetime| self.store(key, value, lifetime))
    }

    /// Stores many values; see [`set`](Self::set). One round trip for each 500 values or mebibyte, where the backend can
    /// store many at once.
    ///
    /// # Errors
    /// As for [`set`](Self::set), of the first part that fails; the parts before it are stored, and some of it may be.
    pub async fn set_many<'a, T: StoredValue + 'a>(
        &self,
        values: impl IntoIterator<Item = (&'a CacheKey, &'a T)>,
    ) -> Result<()> {
        if !self.engine.enabled {
            return Ok(());
        }
        let mut entries = Vec::new();
        for (key, value) in values {
            let key = self.scoped_key(key)?.into_owned();
            let entry = self.timed(&key, encoded(self.codec, value)?, Lifetime::new());
            entries.push((key, entry));
        }
        for Part { values: entries, bytes } in of_values(entries, |(_, entry)| entry) {
            self.in_time(bytes, self.engine.backend.set_many(entries)).await?;
        }
        Ok(())
    }

    async fn store<T: StoredValue + ?Sized>(
        &self,
        key: impl Borrow<CacheKey>,
        value: &T,
        lifetime: Lifetime,
    ) -> Result<()> {
        if !self.engine.enabled {
            return Ok(());
        }
        let entry = encoded(self.codec, value)?;
        let key = self.scoped_key(key.borrow())?;
        let entry = self.timed(&key, entry, lifetime);
        self.in_time(entry.payload.len(), self.engine.backend.set(&key, entry)).await
    }

    /// Waits for a call that sends `bytes` to the backend; a timeout is an error.
    async fn in_time(&self, bytes: usize, call: impl Future<Output = Result<()>>) -> Result<()> {
        let (mut budget, call) = (TimeBudget::to_send(bytes), pin!(catch_panic(call)));
        budget.wait(&*self.engine.backend, call).await.unwrap_or_else(|| {
            let millis = time_budget::longest_to_send(bytes).as_millis();
            Err(Error::new(
                ErrorKind::Timeout,
                format!("the cache did not store the value within {millis} ms"),
            ))
        })
    }

    /// Sets the times of `entry`: the caller's, else those of the key's family. Never stale ones, because no load could
    /// replace the value.
    fn timed(&self, key: &CacheKey, entry: NewEntry, said: Lifetime) -> NewEntry {
        self.engine.lifetime(key, said).without_stale().timed(entry)
    }

    /// Adds `by` to the counter `key`, which begins at 0, and returns the sum.
    ///
    /// Counters have a name space of their own: [`get`](Self::get) does not see them and no pattern clears them;
    /// [`reset`](Self::reset) does. They may be lost with the backend, and on disk a crash may undo those of the last second.
    ///
    /// # Errors
    /// `Unsupported` where the backend has no counters, `Unavailable` while it is unreachable or caching is switched off:
    /// the answer of another backend would be wrong.
    ///
    /// # Cancellation
    /// The counter may or may not have been increased.
    pub async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.atomic()?.increment(&*self.scoped_key(key)?, by).await
    }

    /// Claims `key` with `value` if it is not claimed; returns whether this call did. A claim is as durable as a counter: work
    /// that must never be done twice needs a record in the database.
    ///
    /// # Errors
    /// As for [`increment`](Self::increment).
    ///
    /// # Cancellation
    /// The claim may or may not have been made.
    pub async fn add(&self, key: &CacheKey, value: impl Into<Bytes>) -> Result<bool> {
        self.atomic()?.add(&*self.scoped_key(key)?, value.into()).await
    }

    /// Removes the counter and the claim of `key`.
    ///
    /// # Errors
    /// As for [`increment`](Self::increment).
    pub async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.atomic()?.reset(&*self.scoped_key(key)?).await
    }

    fn atomic(&self) -> Result<&dyn AtomicBackend> {
        if !self.engine.enabled {
            return Err(Error::new(ErrorKind::Unavailable, "caching is switched off, and counters with it"));
        }
        self.engine.atomic.as_deref().ok_or_else(|| {
            let kind = self.engine.kind();
            Error::new(ErrorKind::Unsupported, format!("the {kind} cache has no counters and claims"))
        })
    }
}
