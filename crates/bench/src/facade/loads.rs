//! A load through the cache beside the loader alone: what a miss costs beyond the load itself.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Error;
use cache_core::CacheKey;

use super::{Caches, Metadata};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, pair};
use crate::session::Session;
use crate::workload::image_keys;

/// `get_or_load` of absent keys beside the loader alone. The loader takes no time of its own.
pub fn loads(caches: Caches) -> impl Case {
    let (runtime, loaded) = (Arc::clone(&caches.runtime), Arc::new(Metadata::of(7)));
    let (of_ours, mut next) = (Arc::clone(&loaded), 0);
    pair(
        move |operations| {
            let keys: Vec<CacheKey> = image_keys(next, operations as usize);
            next += keys.len();
            let (cache, loaded) = (caches.cache.clone(), Arc::clone(&of_ours));
            // In a task, as a request handler runs: the load that it starts need not wake another thread.
            let task = caches.runtime.spawn(async move {
                let started = Instant::now();
                for key in &keys {
                    let loaded = Arc::clone(&loaded);
                    let value = cache.get_or_load(key, move || loader(&loaded)).await;
                    black_box(value.map_err(|error| Error::msg(error.to_string()))?);
                }
                Outcome::Ok(started.elapsed())
            });
            let taken = caches.runtime.block_on(task)??;
            caches.runtime.block_on(caches.bare.flush())?;
            Ok(taken)
        },
        move |operations| {
            let loaded = Arc::clone(&loaded);
            let task = runtime.spawn(async move {
                let started = Instant::now();
                for _ in 0..operations {
                    black_box(loader(&loaded).await.map_err(Error::msg)?);
                }
                Ok(started.elapsed())
            });
            runtime.block_on(task)?
        },
    )
}

fn loader(value: &Metadata) -> impl Future<Output = Result<Metadata, String>> + Send + use<> {
    std::future::ready(Ok(value.clone()))
}

/// Measures the row.
///
/// Five microseconds are for a lookup, a flight, a task, encoding and a fill.
pub fn run(session: &mut Session) -> Outcome<()> {
    let mut loads = loads(Caches::create(&session.runtime)?);
    // The queue holds what one slice fills.
    let (pace, target) = (Pace::FewSlices { most: 1000 }, Target::Difference(5.0));
    let spec = Spec::new("load of an absent key", "bare loader", Unit::Micros, pace, target);
    session.measure(&spec, &mut loads)?;
    Ok(())
}
