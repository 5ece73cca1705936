//! foyer's hybrid cache, with so little memory that reads come from its disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::CacheKey;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
};
use tokio::runtime::Runtime;

use super::Peer;
use crate::Outcome;
use crate::case::{check, timed, timed_async};

/// Bytes of its memory: less than one entry, so that every value is read from the disk.
const MEMORY: usize = 512;
const DISK: usize = 1 << 30;

struct Foyer {
    runtime: Arc<Runtime>,
    cache: HybridCache<String, Bytes>,
}

/// An empty cache in `directory`.
pub(super) fn open(runtime: &Arc<Runtime>, directory: &Path) -> Outcome<Box<dyn Peer>> {
    let cache = runtime.block_on(async {
        let device = FsDeviceBuilder::new(directory).with_capacity(DISK).build()?;
        HybridCacheBuilder::new()
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .memory(MEMORY)
            .with_shards(1)
            .with_weighter(|key: &String, value: &Bytes| key.len() + value.len())
            .storage()
            .with_engine_config(BlockEngineConfig::new(device))
            .build()
            .await
    })?;
    Ok(Box::new(Foyer { runtime: Arc::clone(runtime), cache }))
}

impl Peer for Foyer {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        let keys: Vec<String> = keys.iter().map(|key| key.as_str().to_owned()).collect();
        self.runtime.block_on(timed_async(&keys, async |key| {
            check(self.cache.get(key).await?.map(|entry| entry.value().len()), expected)
        }))
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        let own = |(key, value): &(&CacheKey, Bytes)| (key.as_str().to_owned(), value.clone());
        let entries: Vec<_> = entries.iter().map(own).collect();
        let _runtime = self.runtime.enter();
        timed(entries, |(key, value)| {
            drop(self.cache.insert(key, value));
            Ok(())
        })
    }

    fn settle(&mut self) -> Outcome<()> {
        self.runtime.block_on(self.cache.storage().wait());
        Ok(())
    }
}
