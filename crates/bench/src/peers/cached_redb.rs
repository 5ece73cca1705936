//! The crate cached with its redb store, without a sync for each write.

use std::time::Duration;

use bytes::Bytes;
use cache_core::CacheKey;
use cached::{ConcurrentCached, RedbCache, SerializeCached};

use super::store::{Place, Store};
use crate::Outcome;
use crate::case::{check, timed};

struct Cached(RedbCache<String, Bytes>);

pub(super) fn open(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(Cached(RedbCache::builder("bench").disk_dir(place.directory).durable(false).build()?)))
}

impl Store for Cached {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        let keys: Vec<String> = keys.iter().map(|key| key.as_str().to_owned()).collect();
        timed(&keys, |key| check(self.0.cache_get(key)?.map(|value| value.len()), expected))
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        let own = |(key, value): &(&CacheKey, Bytes)| (key.as_str().to_owned(), value.clone());
        let entries: Vec<_> = entries.iter().map(own).collect();
        timed(&entries, |(key, value)| {
            self.0.cache_set_ref(key, value)?;
            Ok(())
        })
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.0.flush()?)
    }
    fn remove(&mut self, key: &CacheKey) -> Outcome<()> {
        self.0.cache_remove(&key.as_str().to_owned())?;
        Ok(())
    }

    fn holds(&mut self, key: &CacheKey) -> Outcome<bool> {
        Ok(self.0.cache_get(&key.as_str().to_owned())?.is_some())
    }
}
