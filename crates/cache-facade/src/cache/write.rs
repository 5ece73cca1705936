//! Writes of values that no database holds, counters and claims.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{AtomicBackend, CacheKey, Error, ErrorKind, NewEntry, Result};
use serde::Serialize;

use super::Cache;
use crate::catch_panic::catch_panic;
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
    /// The value lives as long as the configuration of its key's family says. With caching switched off nothing is stored,
    /// and that is no error.
    ///
    /// # Errors
    /// `Encode` when the codec cannot encode it, `TooLarge` for a value over the backend's limit, `InvalidKey` when the
    /// scope makes the key too long, `Timeout` after 250 ms and a millisecond for every 32 KiB, and those of the backend.
    ///
    /// # Cancellation
    /// The value may or may not be stored.
    pub async fn set<T: Serialize + ?Sized + Sync>(&self, key: &CacheKey, value: &T) -> Result<()> {
        self.store(key, || self.encoded(value), None).await
    }

    /// Stores `value` for at most `expires_in`; see [`set`](Self::set).
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub async fn set_expiring<T: Serialize + ?Sized + Sync>(
        &self,
        key: &CacheKey,
        value: &T,
        expires_in: Duration,
    ) -> Result<()> {
        self.store(key, || self.encoded(value), Some(expires_in)).await
    }

    /// Stores bytes without a codec; see [`set`](Self::set).
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub async fn set_bytes(&self, key: &CacheKey, value: impl Into<Bytes>) -> Result<()> {
        let value = value.into();
        self.store(key, || Ok(NewEntry::new(value)), None).await
    }

    /// Stores bytes without a codec for at most `expires_in`; see [`set`](Self::set).
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub async fn set_bytes_expiring(
        &self,
        key: &CacheKey,
        value: impl Into<Bytes>,
        expires_in: Duration,
    ) -> Result<()> {
        let value = value.into();
        self.store(key, || Ok(NewEntry::new(value)), Some(expires_in)).await
    }

    /// Stores many values; see [`set`](Self::set). One round trip for each 500 values or mebibyte, where the backend can
    /// store many at once.
    ///
    /// # Errors
    /// As for [`set`](Self::set), of the first part that fails; the parts before it are stored, and some of it may be.
    pub async fn set_many<'a, T: Serialize + Sync + 'a>(
        &self,
        values: impl IntoIterator<Item = (&'a CacheKey, &'a T)>,
    ) -> Result<()> {
        if !self.engine.enabled {
            return Ok(());
        }
        let mut entries = Vec::new();
        for (key, value) in values {
            let key = self.scoped_key(key)?.into_owned();
            let entry = self.timed(&key, self.encoded(value)?, None);
            entries.push((key, entry));
        }
        for Part { values: entries, bytes } in of_values(entries, |(_, entry)| entry) {
            self.in_time(bytes, self.engine.backend.set_many(entries)).await?;
        }
        Ok(())
    }

    async fn store(
        &self,
        key: &CacheKey,
        entry: impl FnOnce() -> Result<NewEntry>,
        expires_in: Option<Duration>,
    ) -> Result<()> {
        if !self.engine.enabled {
            return Ok(());
        }
        let entry = entry()?;
        let key = self.scoped_key(key)?;
        let entry = self.timed(&key, entry, expires_in);
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

    fn encoded<T: Serialize + ?Sized>(&self, value: &T) -> Result<NewEntry> {
        self.codec.encode(value).map(NewEntry::from)
    }

    /// Sets the times of `entry`: the caller's, else those of the key's family. Never stale ones, because no load could
    /// replace the value.
    fn timed(&self, key: &CacheKey, entry: NewEntry, expires_in: Option<Duration>) -> NewEntry {
        let said = Lifetime { expire: expires_in, ..Lifetime::new() };
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
