//! Values that no database holds: get, set and their relatives, for one key and for many.

use std::time::Duration;

use cache_core::{CacheKey, Entry, Error, ErrorKind, NewEntry, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use crate::asked::asked;
use crate::form::Typed;
use crate::patience;
use crate::trouble::Operation;

impl Cache {
    /// The value stored for `key`, if it is one of `T`.
    ///
    /// Trouble is a miss and an event in the log. To load what is missing use [`get_or_load`](Self::get_or_load).
    pub async fn get<T: DeserializeOwned>(&self, key: &CacheKey) -> Option<T> {
        let key = self.readable(key)?;
        let entry = self.shared.look(&key).await;
        self.shared.hit(Typed(self.codec), &key, entry)
    }

    /// Whether a value is stored for `key`, of whatever type. Trouble is `false` and an event in the log.
    pub async fn contains(&self, key: &CacheKey) -> bool {
        match self.readable(key) {
            Some(key) => self.shared.look(&key).await.is_some(),
            None => false,
        }
    }

    /// The values stored for `keys`, in their order: one round trip where the store can do it.
    pub async fn get_many<T: DeserializeOwned>(&self, keys: &[CacheKey]) -> Vec<Option<T>> {
        let places: Vec<_> = keys.iter().map(|key| self.readable(key)).collect();
        let present: Vec<CacheKey> = places.iter().flatten().map(|key| key.clone().into_owned()).collect();
        let Some(first) = present.first() else { return keys.iter().map(|_| None).collect() };
        let started = self.shared.started();
        let found = patience::wait(asked(self.shared.backend.get_many(&present))).await;
        self.shared.took(Operation::Lookup, started);
        let mut found = self.shared.settled(Operation::Lookup, first, found).unwrap_or_default().into_iter();
        places
            .iter()
            .map(|place| {
                let key = place.as_deref()?;
                self.shared.hit(Typed(self.codec), key, self.shared.fresh(found.next().flatten()))
            })
            .collect()
    }

    /// Stores `value` for `key`, whatever was there.
    ///
    /// For values that no database holds. A `set` does **not** take part in freshness: it wins over an invalidation that
    /// runs at the same time, one that timed out may land after a later invalidation, and after a crash the value before
    /// it may be back. What was loaded from somewhere goes through [`get_or_load`](Self::get_or_load).
    ///
    /// The value lives as long as the configuration lets values of its key's family live. Without a cache nothing is
    /// stored, and that is no error.
    ///
    /// # Errors
    /// `Encode` when the codec cannot encode it, `TooLarge` for a value over the store's limit, `InvalidKey` when the
    /// scope makes the key too long, `Timeout` after 250 ms, else as the store says.
    ///
    /// # Cancellation
    /// The value may or may not be stored.
    pub async fn set<T: Serialize + ?Sized + Sync>(&self, key: &CacheKey, value: &T) -> Result<()> {
        self.store(key, value, None).await
    }

    /// The same for a value that may be served for `expires_in` at most.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub async fn set_expiring<T: Serialize + ?Sized + Sync>(
        &self,
        key: &CacheKey,
        value: &T,
        expires_in: Duration,
    ) -> Result<()> {
        self.store(key, value, Some(expires_in)).await
    }

    /// Stores many values: one round trip where the store can do it; see [`set`](Self::set).
    ///
    /// # Errors
    /// As for [`set`](Self::set); some of the values may be stored.
    pub async fn set_many<'a, T: Serialize + Sync + 'a>(
        &self,
        values: impl IntoIterator<Item = (&'a CacheKey, &'a T)>,
    ) -> Result<()> {
        if !self.shared.enabled {
            return Ok(());
        }
        let mut entries = Vec::new();
        for (key, value) in values {
            let key = self.place(key)?.into_owned();
            let entry = self.shared.timed(&key, Typed(self.codec).entry(value)?, None);
            entries.push((key, entry));
        }
        if entries.is_empty() {
            return Ok(());
        }
        answered(patience::wait(asked(self.shared.backend.set_many(entries))).await)
    }

    async fn store<T: Serialize + ?Sized + Sync>(
        &self,
        key: &CacheKey,
        value: &T,
        expires_in: Option<Duration>,
    ) -> Result<()> {
        if !self.shared.enabled {
            return Ok(());
        }
        self.store_entry(key, Typed(self.codec).entry(value)?, expires_in).await
    }

    pub(super) async fn store_entry(
        &self,
        key: &CacheKey,
        entry: NewEntry,
        expires_in: Option<Duration>,
    ) -> Result<()> {
        let key = self.place(key)?;
        let entry = self.shared.timed(&key, entry, expires_in);
        answered(patience::wait(asked(self.shared.backend.set(&key, entry))).await)
    }

    /// `key` in its place, unless there is nothing to read there.
    pub(super) fn readable<'a>(&self, key: &'a CacheKey) -> Option<std::borrow::Cow<'a, CacheKey>> {
        if !self.shared.enabled {
            return None;
        }
        match self.place(key) {
            Ok(key) => Some(key),
            Err(error) => {
                self.shared.report(Operation::Place, key, &error);
                None
            }
        }
    }
}

impl super::Shared {
    /// The entry of `key`, for a caller who does not mean to fill it. Trouble is a miss.
    pub(super) async fn look(&self, key: &CacheKey) -> Option<Entry> {
        let started = self.started();
        let found = patience::wait(asked(self.backend.get(key))).await;
        self.took(Operation::Lookup, started);
        self.fresh(self.settled(Operation::Lookup, key, found).flatten())
    }
}

fn answered(outcome: Option<Result<()>>) -> Result<()> {
    outcome.unwrap_or_else(|| {
        let millis = patience::LONGEST.as_millis();
        Err(Error::new(ErrorKind::Timeout, format!("the cache did not store the value within {millis} ms")))
    })
}
