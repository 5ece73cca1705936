//! A typed hit beside the bare backend's lookup and the codec's decoding.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheKey, Codec};

use super::{Caches, Metadata};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::session::Session;
use crate::workload::{Access, Sequence, image_keys};

/// Entries that are hit.
const ENTRIES: usize = 20_000;

/// `get_or_load` of what is there beside `lookup` and `decode`.
#[derive(Debug)]
pub struct Hits {
    caches: Caches,
    sequence: Sequence,
}

impl Hits {
    /// Hits of 20,000 values.
    pub fn new(caches: Caches) -> Outcome<Self> {
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
        Ok(Self { caches, sequence: Sequence::new(keys, Access::Uniform, 9) })
    }

    fn keys(&mut self, operations: u64) -> Vec<CacheKey> {
        self.sequence.take(operations).into_iter().cloned().collect()
    }
}

impl Case for Hits {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let keys = self.keys(operations);
        let cache = &self.caches.cache;
        self.caches.runtime.block_on(async {
            let started = Instant::now();
            for key in &keys {
                let load = async || Err::<Metadata, _>("a hit was loaded");
                black_box(cache.get_or_load(key, load).await.map_err(|error| error.to_string())?);
            }
            Ok(started.elapsed())
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let keys = self.keys(operations);
        let backend: &dyn CacheBackend = &*self.caches.bare;
        self.caches.runtime.block_on(async {
            let started = Instant::now();
            for key in &keys {
                let entry = backend.lookup(key).await?.entry.ok_or("a hit is not there")?;
                black_box(Codec::Bincode.decode::<Metadata>(&entry.payload, entry.shape)?);
            }
            Ok(started.elapsed())
        })
    }
}

/// Measures the row.
pub fn run(session: &mut Session) -> Outcome<()> {
    session.doing("storing typed values");
    let mut hits = Hits::new(Caches::create(&session.runtime)?)?;
    let spec = Spec {
        name: "typed hit 1 KB",
        peer_name: "backend and decode",
        unit: Unit::Micros,
        pace: Pace::Slices { most: 1 << 20 },
        target: Target::Difference(0.5),
    };
    session.measure(&spec, &mut hits)?;
    Ok(())
}
