//! Ours as a [`Store`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use cache_core::{CacheBackend, CacheBackendExt, CacheKey, Invalidated};
use cache_disk::{DiskBackend, DiskConfig};
use tokio::runtime::Runtime;

use super::store::{DISK_MB, MEMORY, Place, Store};
use crate::Outcome;
use crate::case::check;
use crate::stores::{pages_within, set};

struct Ours {
    runtime: Arc<Runtime>,
    cache: Arc<DiskBackend>,
}

fn config(place: Place<'_>) -> DiskConfig {
    DiskConfig::new(place.directory)
        .limit_bytes(DISK_MB << 20)
        .page_cache_bytes(pages_within(MEMORY, place.entries))
}

fn open_with(place: Place<'_>, config: DiskConfig) -> Outcome<Box<dyn Store>> {
    let cache = Arc::new(place.runtime.block_on(DiskBackend::open(config))?);
    Ok(Box::new(Ours { runtime: Arc::clone(place.runtime), cache }))
}

pub(super) fn open(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    open_with(place, config(place))
}

/// As much memory for values again: all of it is what foyer has in its README.
#[cfg(feature = "peers")]
pub(super) fn open_with_memory(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    let near = cache_facade::CacheConfig::builder().memory_mb(MEMORY as u64 >> 20).build()?.near();
    open_with(place, near.into_iter().fold(config(place), DiskConfig::near))
}

impl Store for Ours {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        let keys: Vec<CacheKey> = keys.iter().copied().cloned().collect();
        let cache = Arc::clone(&self.cache);
        self.runtime.block_on(self.runtime.spawn(async move {
            let backend: &dyn CacheBackend = &*cache;
            let started = Instant::now();
            for key in &keys {
                let found = backend.lookup(key).await?.entry;
                check(found.map(|entry| entry.payload.len()), expected)?;
            }
            Ok(started.elapsed())
        }))?
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        let own = |(key, value): &(&CacheKey, Bytes)| (CacheKey::clone(key), value.clone());
        let entries: Vec<_> = entries.iter().map(own).collect();
        let cache = Arc::clone(&self.cache);
        self.runtime.block_on(self.runtime.spawn(async move {
            let started = Instant::now();
            for (key, value) in entries {
                set(&cache, &key, value).await?;
            }
            Ok(started.elapsed())
        }))?
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.runtime.block_on(self.cache.flush())?)
    }

    fn remove(&mut self, key: &CacheKey) -> Outcome<()> {
        let done = self.runtime.block_on(self.cache.delete(key))?;
        ensure!(matches!(done, Invalidated::Applied { .. }), "a delete was not applied");
        Ok(())
    }

    fn holds(&mut self, key: &CacheKey) -> Outcome<bool> {
        Ok(self.runtime.block_on(self.cache.lookup(key))?.entry.is_some())
    }
}
