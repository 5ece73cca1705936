//! Laws of the start: which directory may be used, and which of its values may still be read.

#![expect(clippy::unwrap_used, reason = "a panic in a helper fails its test")]

mod directory;
mod last_run;

use std::convert::Infallible;
use std::path::Path;

use cache_facade::{Cache, CacheConfig, CacheKey, Source, config::CacheConfigBuilder};

fn config(directory: &Path) -> CacheConfigBuilder {
    CacheConfig::builder().directory(directory).size_mb(8)
}

async fn open(directory: &Path) -> Cache {
    connect(config(directory)).await
}

async fn connect(config: CacheConfigBuilder) -> Cache {
    Cache::connect(config.build().unwrap()).await.unwrap()
}

fn key(id: u32) -> CacheKey {
    CacheKey::builder("image", id).part("metadata").build().unwrap()
}

/// Reads `key(id)` while the database holds `current`.
async fn read(cache: &Cache, id: u32, current: &'static str) -> (String, Source) {
    let load = async move || Ok::<_, Infallible>(current.to_owned());
    let loaded = cache.get_or_load(&key(id), load).details().await.unwrap();
    (loaded.value, loaded.source)
}

/// Whether a read of `key(id)` is a hit; stores its value otherwise.
async fn hits(cache: &Cache, id: u32) -> bool {
    read(cache, id, "value").await.1 == Source::Hit
}
