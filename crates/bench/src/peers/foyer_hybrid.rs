//! foyer's hybrid cache as its README sets it up, and with as much memory as ours.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::CacheKey;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
};
use tokio::runtime::Runtime;

use super::store::{DISK_MB, MEMORY, Place, Store};
use crate::Outcome;
use crate::case::{check, timed};

struct Foyer {
    runtime: Arc<Runtime>,
    cache: HybridCache<String, Bytes>,
}

fn engine(
    directory: &Path,
    disk_mb: u64,
) -> Outcome<BlockEngineConfig<String, Bytes, foyer::HybridCacheProperties>> {
    let device = FsDeviceBuilder::new(directory).with_capacity((disk_mb as usize) << 20).build()?;
    Ok(BlockEngineConfig::new(device))
}

/// Memory of 64 MiB without a weigher, which counts each entry as one: all values stay in memory. Disk of 256 MiB.
pub(super) fn open_readme(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    let cache = place.runtime.block_on(async {
        let memory = HybridCacheBuilder::new().memory(64 << 20);
        memory
            .storage()
            .with_engine_config(engine(place.directory, 256)?)
            .build()
            .await
            .map_err(anyhow::Error::from)
    })?;
    Ok(Box::new(Foyer { runtime: Arc::clone(place.runtime), cache }))
}

pub(super) fn open_equal(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    open_weighed(place, HybridCachePolicy::WriteOnEviction)
}

pub(super) fn open_on_insertion(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    open_weighed(place, HybridCachePolicy::WriteOnInsertion)
}

/// As much memory and disk as ours, by bytes.
fn open_weighed(place: Place<'_>, policy: HybridCachePolicy) -> Outcome<Box<dyn Store>> {
    let cache = place.runtime.block_on(async {
        let memory = HybridCacheBuilder::new()
            .with_policy(policy)
            .memory(MEMORY)
            .with_weighter(|key: &String, value: &Bytes| key.len() + value.len());
        let storage = memory.storage().with_engine_config(engine(place.directory, DISK_MB)?);
        storage.build().await.map_err(anyhow::Error::from)
    })?;
    Ok(Box::new(Foyer { runtime: Arc::clone(place.runtime), cache }))
}

impl Store for Foyer {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        let keys: Vec<String> = keys.iter().map(|key| key.as_str().to_owned()).collect();
        let cache = self.cache.clone();
        self.runtime.block_on(self.runtime.spawn(async move {
            let started = Instant::now();
            for key in &keys {
                check(cache.get(key).await?.map(|entry| entry.value().len()), expected)?;
            }
            Ok(started.elapsed())
        }))?
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        let own = |(key, value): &(&CacheKey, Bytes)| (key.as_str().to_owned(), value.clone());
        let entries: Vec<_> = entries.iter().map(own).collect();
        let cache = self.cache.clone();
        self.runtime.block_on(self.runtime.spawn(async move {
            timed(entries, |(key, value)| {
                drop(cache.insert(key, value));
                Ok(())
            })
        }))?
    }

    fn settle(&mut self) -> Outcome<()> {
        self.runtime.block_on(self.cache.storage().wait());
        Ok(())
    }

    fn remove(&mut self, key: &CacheKey) -> Outcome<()> {
        let _runtime = self.runtime.enter();
        self.cache.remove(key.as_str());
        Ok(())
    }

    fn holds(&mut self, key: &CacheKey) -> Outcome<bool> {
        Ok(self.runtime.block_on(self.cache.get(key.as_str()))?.is_some())
    }
}
