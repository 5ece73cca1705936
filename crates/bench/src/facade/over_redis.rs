//! A typed hit over Redis beside the bare backend's lookup and the codec's decoding.

use std::sync::Arc;

use cache_core::CacheKey;
use cache_facade::Cache;

use super::Metadata;
use super::hits::{bare, typed};
use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit};
use crate::redis::Rig;
use crate::redis::hits::{KEYS, key};
use crate::session::Session;
use crate::tasks::{Figure, in_tasks};
use crate::workload::image_keys;

const TASKS: u64 = 16;

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
    let (backend, plain) = (Arc::clone(&rig.cache), Arc::clone(&keys));
    let mut case = in_tasks(
        &rig.runtime,
        TASKS,
        Figure::Throughput,
        move |number| {
            let (cache, key) = (cache.clone(), key(&keys, number));
            async move { typed(&cache, &key).await }
        },
        move |number| {
            let (backend, key) = (Arc::clone(&backend), key(&plain, number));
            async move { bare(&*backend, &key).await }
        },
    );
    let (name, target) = ("typed hit 1 KB over Redis, 16 tasks", Target::Ratio(0.97));
    let spec = Spec::new(name, "backend and decode", Unit::PerSecond, Pace::FREE, target);
    session.measure(&spec, &mut case)?;
    Ok(())
}
