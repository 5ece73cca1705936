//! A typed hit over Redis beside the bare backend's lookup and the codec's decoding.

use std::hint::black_box;
use std::sync::Arc;

use cache_core::{CacheBackend, CacheKey, Codec};
use cache_facade::Cache;

use super::Metadata;
use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit};
use crate::redis::Rig;
use crate::session::Session;
use crate::tasks::{Figure, Tasks};
use crate::workload::image_keys;

/// Keys that are hit in turn.
const KEYS: usize = 512;
const TASKS: u64 = 16;

fn key(keys: &[CacheKey], number: u64) -> CacheKey {
    keys.get(number as usize % KEYS).cloned().expect("the number is below the count")
}

/// Measures the row.
pub fn run(session: &mut Session) -> Outcome<()> {
    let rig = Rig::start(&session.runtime)?;
    let cache = Cache::new(Arc::clone(&rig.cache) as Arc<_>);
    let keys: Arc<[CacheKey]> = image_keys(0, KEYS).into();
    session.runtime.block_on(async {
        for (number, key) in keys.iter().enumerate() {
            cache.set(key, &Metadata::of(number)).await?;
        }
        Outcome::Ok(())
    })?;
    let (bare, plain) = (Arc::clone(&rig.cache), Arc::clone(&keys));
    let mut case = Tasks {
        runtime: Arc::clone(&rig.runtime),
        tasks: TASKS,
        figure: Figure::Throughput,
        ours: move |number| {
            let (cache, key) = (cache.clone(), key(&keys, number));
            async move {
                let load = async || Err::<Metadata, _>("a hit was loaded");
                black_box(cache.get_or_load(&key, load).await.map_err(|error| error.to_string())?);
                Ok(())
            }
        },
        peer: move |number| {
            let (bare, key) = (Arc::clone(&bare), key(&plain, number));
            async move {
                let entry = bare.lookup(&key).await?.entry.ok_or("a hit is not there")?;
                black_box(Codec::Bincode.decode::<Metadata>(&entry.payload, entry.shape)?);
                Ok(())
            }
        },
    };
    let spec = Spec {
        name: "typed hit 1 KB over Redis, 16 tasks",
        peer_name: "backend and decode",
        unit: Unit::PerSecond,
        pace: Pace::Slices { most: 1 << 20 },
        target: Target::Ratio(0.97),
    };
    session.measure(&spec, &mut case)?;
    Ok(())
}
