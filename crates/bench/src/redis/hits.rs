//! A hit beside `GET`, at 1 to 256 tasks.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::Context;
use bb8_redis::RedisConnectionManager;
use bb8_redis::bb8::Pool;
use cache_core::{CacheBackend, CacheKey};
use cache_redis::RedisBackend;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::Rig;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, check};
use crate::session::Session;
use crate::tasks::{Figure, in_tasks};
use crate::workload::{Values, image_keys};

/// Keys that are hit in turn.
pub(crate) const KEYS: usize = 512;

const BESIDE_SHARED: [(&str, usize, u64, f64); 8] = [
    ("redis hit 1 KB, 1 task", 1024, 1, 0.95),
    ("redis hit 1 KB, 16 tasks", 1024, 16, 0.85),
    ("redis hit 1 KB, 64 tasks", 1024, 64, 0.85),
    ("redis hit 1 KB, 256 tasks", 1024, 256, 0.85),
    ("redis hit 50 KB, 1 task", 51_200, 1, 0.95),
    ("redis hit 50 KB, 16 tasks", 51_200, 16, 0.95),
    ("redis hit 50 KB, 64 tasks", 51_200, 64, 0.95),
    ("redis hit 50 KB, 256 tasks", 51_200, 256, 0.95),
];

const BESIDE_DOCUMENTED: [(&str, u64, f64); 3] = [
    ("redis hit 1 KB, 1 task, pooled", 1, 1.7),
    ("redis hit 1 KB, 16 tasks, pooled", 16, 2.5),
    ("redis hit 1 KB, 64 tasks, pooled", 64, 4.0),
];

/// Stored values of one size, to be hit in many tasks.
#[derive(Debug)]
pub(crate) struct Hits {
    rig: Arc<Rig>,
    keys: Arc<[CacheKey]>,
    bytes: usize,
}

impl Hits {
    /// Stores the values, in the cache and as plain strings.
    pub(crate) fn store(rig: &Arc<Rig>, bytes: usize) -> Outcome<Self> {
        let keys: Arc<[CacheKey]> = image_keys(0, KEYS).into();
        rig.runtime.block_on(rig.store(&keys, &Values::new(bytes)))?;
        Ok(Self { rig: Arc::clone(rig), keys, bytes })
    }

    /// Hits of ours beside a client whose `get` returns the number of bytes that it found.
    pub(crate) fn beside<Get, Done>(&self, tasks: u64, figure: Figure, get: Get) -> impl Case + use<Get, Done>
    where
        Get: Fn(CacheKey) -> Done + Clone + Send + 'static,
        Done: Future<Output = Outcome<usize>> + Send,
    {
        let (cache, bytes) = (Arc::clone(&self.rig.cache), self.bytes);
        let (ours, peer) = (Arc::clone(&self.keys), Arc::clone(&self.keys));
        in_tasks(
            &self.rig.runtime,
            tasks,
            figure,
            move |number| hit(Arc::clone(&cache), key(&ours, number), bytes),
            move |number| {
                let found = get(key(&peer, number));
                async move { check(Some(found.await?), bytes) }
            },
        )
    }

    /// Hits of ours beside those of the shared connection.
    pub(crate) fn beside_shared(&self, tasks: u64, figure: Figure) -> impl Case + use<> {
        let shared = self.rig.shared.clone();
        self.beside(tasks, figure, move |key| get_shared(shared.clone(), key))
    }

    /// Hits of ours beside those of the pool.
    pub(crate) fn beside_documented(&self, tasks: u64) -> impl Case + use<> {
        let pool = self.rig.documented.clone();
        self.beside(tasks, Figure::Throughput, move |key| get_pooled(pool.clone(), key))
    }
}

/// The key of an operation.
pub(crate) fn key(keys: &[CacheKey], number: u64) -> CacheKey {
    keys.get(number as usize % KEYS).cloned().expect("there are as many keys")
}

async fn hit(cache: Arc<RedisBackend>, key: CacheKey, bytes: usize) -> Outcome<()> {
    let entry = cache.lookup(&key).await?.entry.context("a hit is not there")?;
    check(Some(black_box(entry.payload).len()), bytes)
}

async fn get_shared(mut shared: MultiplexedConnection, key: CacheKey) -> Outcome<usize> {
    let found: Vec<u8> = shared.get(key.as_str()).await?;
    Ok(black_box(found).len())
}

async fn get_pooled(pool: Pool<RedisConnectionManager>, key: CacheKey) -> Outcome<usize> {
    let found: Vec<u8> = pool.get().await?.get(key.as_str()).await?;
    Ok(black_box(found).len())
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let rig = Rig::start(&session.runtime)?;
    let mut hits = Hits::store(&rig, 1024)?;
    let spec = |name, peer_name, target| {
        Spec::new(name, peer_name, Unit::PerSecond, Pace::FREE, Target::Ratio(target))
    };
    for (name, bytes, tasks, target) in BESIDE_SHARED {
        if hits.bytes != bytes {
            hits = Hits::store(&rig, bytes)?;
        }
        let mut case = hits.beside_shared(tasks, Figure::Throughput);
        session.measure(&spec(name, "redis-rs", target), &mut case)?;
    }
    hits = Hits::store(&rig, 1024)?;
    let slowest = Spec {
        unit: Unit::Micros,
        // How many operations fill a slice is known by their throughput, not by the slowest.
        pace: Pace::Slices { most: 4096 },
        ..spec("redis hit 1 KB, 256 tasks, slowest 1 %", "redis-rs", 2.0)
    };
    session.measure(&slowest, &mut hits.beside_shared(256, Figure::Slowest1Percent))?;
    for (name, tasks, target) in BESIDE_DOCUMENTED {
        let spec = spec(name, "bb8-redis as documented", target)
            .note("flatters ours, whose tasks share connections; the peer's wait for one of ten");
        session.measure(&spec, &mut hits.beside_documented(tasks))?;
    }
    Ok(())
}
