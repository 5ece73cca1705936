//! A typed hit beside the bare backend's lookup and the codec's decoding.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Error};
use cache_core::{CacheBackend, CacheKey, Codec};
use cache_facade::Cache;

use super::{Caches, Metadata};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, pair, timed_async};
use crate::session::Session;
use crate::workload::{Access, Sequence, image_keys};

/// Entries that are hit.
const ENTRIES: usize = 20_000;

/// `get_or_load` of 20,000 stored values beside `lookup` and `decode`.
pub fn hits(caches: Caches) -> Outcome<impl Case> {
    let keys = image_keys(0, ENTRIES);
    caches.runtime.block_on(async {
        for (number, key) in keys.iter().enumerate() {
            caches.cache.set(key, &Metadata::of(number)).await?;
            if number % 1000 == 999 {
                caches.bare.flush().await?;
            }
        }
        caches.bare.flush().await
    })?;
    let sequence = Sequence::new(keys, Access::Uniform, 9);
    let (mut of_ours, mut of_peer) = (sequence.clone(), sequence);
    let caches = Arc::new(caches);
    let peer = Arc::clone(&caches);
    Ok(pair(
        move |operations| {
            let keys = of_ours.take(operations);
            caches.runtime.block_on(timed_async(keys, async |key| typed(&caches.cache, key).await))
        },
        move |operations| {
            let backend: &dyn CacheBackend = &*peer.bare;
            peer.runtime.block_on(timed_async(of_peer.take(operations), async |key| bare(backend, key).await))
        },
    ))
}

/// A hit of the typed handle.
pub(super) async fn typed(cache: &Cache, key: &CacheKey) -> Outcome<()> {
    let load = async || Err::<Metadata, _>("a hit was loaded");
    black_box(cache.get_or_load(key, load).await.map_err(|error| Error::msg(error.to_string()))?);
    Ok(())
}

/// A hit of the backend, decoded.
pub(super) async fn bare(backend: &dyn CacheBackend, key: &CacheKey) -> Outcome<()> {
    let entry = backend.lookup(key).await?.entry.context("a hit is not there")?;
    black_box(Codec::Bincode.decode::<Metadata>(&entry.payload, entry.shape)?);
    Ok(())
}

/// Measures the row.
pub fn run(session: &mut Session) -> Outcome<()> {
    session.doing("storing typed values");
    let mut hits = hits(Caches::create(&session.runtime)?)?;
    let target = Target::Difference(0.5);
    let spec = Spec::new("typed hit 1 KB", "backend and decode", Unit::Micros, Pace::FREE, target);
    session.measure(&spec, &mut hits)?;
    Ok(())
}
