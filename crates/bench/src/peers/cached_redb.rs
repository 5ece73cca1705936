//! The crate cached with its redb store, without a sync for each write.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::CacheKey;
use cached::{ConcurrentCached, RedbCache, SerializeCached};
use tokio::runtime::Runtime;

use super::Peer;
use crate::Outcome;
use crate::case::{check, timed};

struct Cached(RedbCache<String, Bytes>);

/// An empty cache in `directory`.
pub(super) fn open(_: &Arc<Runtime>, directory: &Path) -> Outcome<Box<dyn Peer>> {
    Ok(Box::new(Cached(RedbCache::builder("bench").disk_dir(directory).durable(false).build()?)))
}

impl Peer for Cached {
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
}
