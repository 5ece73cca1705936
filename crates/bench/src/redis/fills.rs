//! Filling beside `HSET`, and a whole miss (lookup and fill) beside `HGET` and `HSET`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheKey, Fill, FillOutcome, FillToken, Invalidation, NewEntry};
use redis::AsyncCommands;

use super::Rig;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::session::Session;
use crate::tasks::{self, Figure};
use crate::workload::{Values, listing_keys};

const TASKS: u64 = 8;
/// Keys that are filled at a time, in groups of ten.
const KEYS: usize = 400;

/// Ours is `fill` by a token that was had before, or `lookup` and `fill`.
#[derive(Debug)]
pub struct Fills {
    rig: Arc<Rig>,
    keys: Arc<[CacheKey]>,
    values: Values,
    with_lookup: bool,
}

impl Case for Fills {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let Self { rig, keys, values, with_lookup } = self;
        let with_lookup = *with_lookup;
        let keys: Arc<[CacheKey]> = keys.iter().take(operations as usize).cloned().collect();
        let cache = Arc::clone(&rig.cache);
        rig.runtime.block_on(async {
            let groups: Vec<Invalidation> =
                keys.iter().map(|key| Invalidation::Group(key.to_group())).collect();
            let _ = cache.invalidate(&groups).await?;
            let tokens: Arc<[FillToken]> = if with_lookup {
                Arc::default()
            } else {
                cache.lookup_many(&keys).await?.into_iter().map(|found| found.token).collect()
            };
            let (values, cache) = (values.clone(), Arc::clone(&cache));
            tasks::run(TASKS, operations, Figure::Throughput, move |number| {
                let at = number as usize;
                let entry = NewEntry::new(values.of(at));
                let (cache, keys, tokens) = (Arc::clone(&cache), Arc::clone(&keys), Arc::clone(&tokens));
                async move {
                    let key = keys.get(at).ok_or("more operations than keys")?;
                    let token = match tokens.get(at) {
                        Some(token) => *token,
                        None => cache.lookup(key).await?.token,
                    };
                    let filled = cache.fill(key, token, entry).await?;
                    if filled == FillOutcome::Stored { Ok(()) } else { Err("a fill was refused".into()) }
                }
            })
            .await
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let Self { rig, keys, values, with_lookup } = self;
        let with_lookup = *with_lookup;
        let keys: Arc<[CacheKey]> = keys.iter().take(operations as usize).cloned().collect();
        let mut shared = rig.shared.clone();
        rig.runtime.block_on(async {
            let mut groups: Vec<&str> = keys.iter().map(CacheKey::group).collect();
            groups.dedup();
            let _: u64 = shared.unlink(groups).await?;
            let values = values.clone();
            tasks::run(TASKS, operations, Figure::Throughput, move |number| {
                let at = number as usize;
                let (value, mut shared, keys) = (values.of(at), shared.clone(), Arc::clone(&keys));
                async move {
                    let key = keys.get(at).ok_or("more operations than keys")?;
                    if with_lookup {
                        let found: Option<Vec<u8>> = shared.hget(key.group(), key.rest()).await?;
                        if found.is_some() {
                            return Err("a miss hit".into());
                        }
                    }
                    let () = shared.hset(key.group(), key.rest(), &value[..]).await?;
                    Ok(())
                }
            })
            .await
        })
    }
}

/// Ours is `fill_many` beside one pipeline of `HSET`.
#[derive(Debug)]
pub struct Batches {
    rig: Arc<Rig>,
    keys: Arc<[CacheKey]>,
    values: Values,
}

impl Case for Batches {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let Self { rig, keys, values } = self;
        rig.runtime.block_on(async {
            let mut taken = Duration::ZERO;
            for _ in 0..operations {
                let groups: Vec<Invalidation> =
                    keys.iter().map(|key| Invalidation::Group(key.to_group())).collect();
                let _ = rig.cache.invalidate(&groups).await?;
                let lookups = rig.cache.lookup_many(keys).await?;
                let fill = |(at, (key, found)): (usize, (&CacheKey, cache_core::Lookup))| Fill {
                    key: key.clone(),
                    token: found.token,
                    entry: NewEntry::new(values.of(at)),
                };
                let fills = keys.iter().zip(lookups).enumerate().map(fill).collect();
                let started = Instant::now();
                let outcomes = rig.cache.fill_many(fills).await?;
                taken += started.elapsed();
                if outcomes.contains(&FillOutcome::Refused) {
                    return Err("a fill was refused".into());
                }
            }
            Ok(taken)
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let Self { rig, keys, values } = self;
        let mut shared = rig.shared.clone();
        rig.runtime.block_on(async {
            let mut taken = Duration::ZERO;
            for _ in 0..operations {
                let mut commands = redis::pipe();
                for (at, key) in keys.iter().enumerate() {
                    commands.hset(key.group(), key.rest(), &values.of(at)[..]).ignore();
                }
                let started = Instant::now();
                let () = commands.query_async(&mut shared).await?;
                taken += started.elapsed();
            }
            Ok(taken)
        })
    }
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let rig = Arc::new(Rig::start(&session.runtime)?);
    let keys: Arc<[CacheKey]> = listing_keys(KEYS / 10, 10)?.into();
    for (name, bytes, with_lookup, target) in [
        ("redis fill 1 KB", 1 << 10, false, 0.6),
        ("redis fill 50 KB", 50 << 10, false, 0.7),
        ("redis fill 200 KB", 200 << 10, false, 0.8),
        ("redis miss and fill 1 KB", 1 << 10, true, 0.5),
        ("redis miss and fill 50 KB", 50 << 10, true, 0.5),
    ] {
        let peer_name = if with_lookup { "HGET and HSET" } else { "HSET" };
        let spec = Spec {
            name,
            peer_name,
            unit: Unit::PerSecond,
            pace: Pace::Slices { most: KEYS as u64 },
            target: Target::Ratio(target),
        };
        let values = Values::new(bytes);
        let mut case = Fills { rig: Arc::clone(&rig), keys: Arc::clone(&keys), values, with_lookup };
        session.measure(&spec, &mut case)?;
    }
    let spec = Spec {
        name: "redis fill_many of 100, 1 KB",
        peer_name: "pipeline of HSET",
        unit: Unit::PerSecond,
        pace: Pace::Slices { most: 100 },
        target: Target::Ratio(0.5),
    };
    let keys: Arc<[CacheKey]> = keys.iter().take(100).cloned().collect();
    session.measure(&spec, &mut Batches { rig, keys, values: Values::new(1 << 10) })?;
    Ok(())
}
