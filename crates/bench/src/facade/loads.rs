//! A load through the cache beside the loader alone: what a miss costs beyond the load itself.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::CacheKey;

use super::{Caches, Metadata};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::session::Session;
use crate::workload::image_keys;

/// `get_or_load` of what is not there beside the loader alone. The loader takes no time of its own.
#[derive(Debug)]
pub struct Loads {
    caches: Caches,
    loaded: Arc<Metadata>,
    next: usize,
}

impl Loads {
    /// Loads of keys that were never seen.
    pub fn new(caches: Caches) -> Self {
        Self { caches, loaded: Arc::new(Metadata::of(7)), next: 0 }
    }
}

fn loader(value: &Metadata) -> impl Future<Output = Result<Metadata, String>> + Send + use<> {
    std::future::ready(Ok(value.clone()))
}

impl Case for Loads {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let keys: Vec<CacheKey> = image_keys(self.next, operations as usize);
        self.next += keys.len();
        let Caches { cache, runtime, .. } = &self.caches;
        let (cache, loaded) = (cache.clone(), Arc::clone(&self.loaded));
        // In a task, as a request handler runs: the load that it starts need not wake another thread.
        let task = runtime.spawn(async move {
            let started = Instant::now();
            for key in &keys {
                let loaded = Arc::clone(&loaded);
                let value = cache.get_or_load(key, move || loader(&loaded)).await;
                black_box(value.map_err(|error| error.to_string())?);
            }
            Ok::<_, String>(started.elapsed())
        });
        let taken = runtime.block_on(task)??;
        runtime.block_on(self.caches.bare.flush())?;
        Ok(taken)
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let loaded = Arc::clone(&self.loaded);
        let task = self.caches.runtime.spawn(async move {
            let started = Instant::now();
            for _ in 0..operations {
                black_box(loader(&loaded).await?);
            }
            Ok::<_, String>(started.elapsed())
        });
        Ok(self.caches.runtime.block_on(task)??)
    }
}

/// Measures the row.
///
/// Five microseconds are for a lookup, a flight, a task, encoding and a fill.
pub fn run(session: &mut Session) -> Outcome<()> {
    let mut loads = Loads::new(Caches::create(&session.runtime)?);
    let spec = Spec {
        name: "load of an absent key",
        peer_name: "bare loader",
        unit: Unit::Micros,
        // The queue holds what one slice fills.
        pace: Pace::FewSlices { most: 1000 },
        target: Target::Difference(5.0),
    };
    session.measure(&spec, &mut loads)?;
    Ok(())
}
