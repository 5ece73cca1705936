//! A hit beside `GET`, at 1 to 256 tasks.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{CacheBackend, CacheKey, NewEntry};
use cache_redis::RedisBackend;
use redis::AsyncCommands;

use super::Rig;
use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit};
use crate::session::Session;
use crate::tasks::{Figure, Tasks};
use crate::workload::{Values, image_keys};

/// Keys that are hit in turn.
pub(crate) const KEYS: u64 = 512;
const PACE: Pace = Pace::Slices { most: 1 << 20 };

struct Row {
    name: &'static str,
    bytes: usize,
    tasks: u64,
    target: f64,
}

const BESIDE_SHARED: [Row; 8] = [
    Row { name: "redis hit 1 KB, 1 task", bytes: 1024, tasks: 1, target: 0.95 },
    Row { name: "redis hit 1 KB, 16 tasks", bytes: 1024, tasks: 16, target: 0.85 },
    Row { name: "redis hit 1 KB, 64 tasks", bytes: 1024, tasks: 64, target: 0.85 },
    Row { name: "redis hit 1 KB, 256 tasks", bytes: 1024, tasks: 256, target: 0.85 },
    Row { name: "redis hit 50 KB, 1 task", bytes: 51_200, tasks: 1, target: 0.95 },
    Row { name: "redis hit 50 KB, 16 tasks", bytes: 51_200, tasks: 16, target: 0.95 },
    Row { name: "redis hit 50 KB, 64 tasks", bytes: 51_200, tasks: 64, target: 0.95 },
    Row { name: "redis hit 50 KB, 256 tasks", bytes: 51_200, tasks: 256, target: 0.95 },
];

const BESIDE_DOCUMENTED: [Row; 3] = [
    Row { name: "redis hit 1 KB, 1 task, pooled", bytes: 1024, tasks: 1, target: 1.7 },
    Row { name: "redis hit 1 KB, 16 tasks, pooled", bytes: 1024, tasks: 16, target: 2.5 },
    Row { name: "redis hit 1 KB, 64 tasks, pooled", bytes: 1024, tasks: 64, target: 4.0 },
];

/// The same values in the cache and as plain strings.
pub(crate) async fn store(rig: &Rig, keys: &[CacheKey], values: &Values) -> Outcome<()> {
    let mut shared = rig.shared.clone();
    for (number, key) in keys.iter().enumerate() {
        rig.cache.set(key, NewEntry::new(values.of(number))).await?;
        let () = shared.set(key.as_str(), &values.of(number)[..]).await?;
    }
    Ok(())
}

/// The key that operation `number` is about.
pub(crate) fn key(keys: &[CacheKey], number: u64) -> CacheKey {
    keys.get((number % KEYS) as usize).cloned().expect("the number is below the count")
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let rig = Rig::start(&session.runtime)?;
    let keys: Arc<[CacheKey]> = image_keys(0, KEYS as usize).into();
    let mut stored = 0;
    for Row { name, bytes, tasks, target } in BESIDE_SHARED {
        if stored != bytes {
            session.runtime.block_on(store(&rig, &keys, &Values::new(bytes)))?;
            stored = bytes;
        }
        let spec = Spec {
            name,
            peer_name: "redis-rs",
            unit: Unit::PerSecond,
            pace: PACE,
            target: Target::Ratio(target),
        };
        session.measure(&spec, &mut beside_shared(&rig, &keys, tasks, Figure::Throughput, bytes))?;
    }
    session.runtime.block_on(store(&rig, &keys, &Values::new(1024)))?;
    let spec = Spec {
        name: "redis hit 1 KB, 256 tasks, slowest 1 %",
        peer_name: "redis-rs",
        unit: Unit::Micros,
        pace: Pace::Slices { most: 1 << 20 },
        target: Target::Ratio(2.0),
    };
    let mut slowest = beside_shared(&rig, &keys, 256, Figure::Slowest1Percent, 1024);
    // How many operations fill a slice is known by their throughput, not by the slowest.
    let pace = Pace::Slices { most: 4096 };
    session.measure(&Spec { pace, ..spec }, &mut slowest)?;
    for Row { name, bytes, tasks, target } in BESIDE_DOCUMENTED {
        let spec = Spec {
            name,
            peer_name: "bb8-redis as documented",
            unit: Unit::PerSecond,
            pace: PACE,
            target: Target::Ratio(target),
        };
        let (pool, plain) = (rig.documented.clone(), Arc::clone(&keys));
        let (cache, mine) = (Arc::clone(&rig.cache), Arc::clone(&keys));
        let mut case = Tasks {
            runtime: Arc::clone(&rig.runtime),
            tasks,
            figure: Figure::Throughput,
            ours: move |number| hit(Arc::clone(&cache), key(&mine, number), bytes),
            peer: move |number| {
                let (pool, key) = (pool.clone(), key(&plain, number));
                async move {
                    let mut connection = pool.get().await?;
                    let found: Vec<u8> = connection.get(key.as_str()).await?;
                    check(black_box(found).len(), bytes)
                }
            },
        };
        session.measure(&spec, &mut case)?;
    }
    Ok(())
}

/// One hit of ours.
pub(crate) async fn hit(cache: Arc<RedisBackend>, key: CacheKey, bytes: usize) -> Outcome<()> {
    let found: Bytes = cache.lookup(&key).await?.entry.ok_or("a hit is not there")?.payload;
    check(black_box(found).len(), bytes)
}

/// Hits of ours beside those of one shared connection.
pub(crate) fn beside_shared(
    rig: &Rig,
    keys: &Arc<[CacheKey]>,
    tasks: u64,
    figure: Figure,
    bytes: usize,
) -> impl crate::Case + use<> {
    let (shared, plain) = (rig.shared.clone(), Arc::clone(keys));
    let (cache, mine) = (Arc::clone(&rig.cache), Arc::clone(keys));
    Tasks {
        runtime: Arc::clone(&rig.runtime),
        tasks,
        figure,
        ours: move |number| hit(Arc::clone(&cache), key(&mine, number), bytes),
        peer: move |number| {
            let (mut shared, key) = (shared.clone(), key(&plain, number));
            async move {
                let found: Vec<u8> = shared.get(key.as_str()).await?;
                check(black_box(found).len(), bytes)
            }
        },
    }
}

/// Whether so many bytes were found.
pub(crate) fn check(found: usize, wanted: usize) -> Outcome<()> {
    if found == wanted { Ok(()) } else { Err(format!("{found} bytes instead of {wanted}").into()) }
}
