//! Filling beside `HSET`, and a whole miss (lookup and fill) beside `HGET` and `HSET`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cache_core::{CacheBackend, CacheKey, Fill, FillOutcome, FillToken, Invalidation, NewEntry};
use redis::AsyncCommands;

use super::Rig;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, pair};
use crate::session::Session;
use crate::tasks::{self, Figure};
use crate::workload::{Values, listing_keys};

const TASKS: u64 = 8;
/// Keys that are filled at a time, in groups of ten.
const KEYS: usize = 400;

/// Removes the groups of `keys` from the cache.
async fn forget(rig: &Rig, keys: &[CacheKey]) -> Outcome<()> {
    let groups: Vec<_> = keys.iter().map(|key| Invalidation::Group(key.to_group())).collect();
    let _ = rig.cache.invalidate(&groups).await?;
    Ok(())
}

/// `fill` by a token that was taken before, beside `HSET`; `with_lookup`, `lookup` and `fill` beside `HGET` and `HSET`.
fn fills(rig: &Arc<Rig>, keys: &[CacheKey], bytes: usize, with_lookup: bool) -> impl Case + use<> {
    let (ours, peer) = (Arc::clone(rig), Arc::clone(rig));
    let (all, values) = (keys.to_vec(), Values::new(bytes));
    let (known, of_peer) = (all.clone(), values.clone());
    let some = |keys: &[CacheKey], operations: u64| -> Arc<[CacheKey]> {
        keys.iter().take(operations as usize).cloned().collect()
    };
    pair(
        move |operations| {
            let (keys, values) = (some(&all, operations), values.clone());
            ours.runtime.block_on(async {
                forget(&ours, &keys).await?;
                let tokens: Arc<[FillToken]> = if with_lookup {
                    Arc::default()
                } else {
                    ours.cache.lookup_many(&keys).await?.into_iter().map(|found| found.token).collect()
                };
                let cache = Arc::clone(&ours.cache);
                tasks::run(TASKS, operations, Figure::Throughput, move |number| {
                    let at = number as usize;
                    let entry = NewEntry::new(values.of(at));
                    let (cache, keys, tokens) = (Arc::clone(&cache), Arc::clone(&keys), Arc::clone(&tokens));
                    async move {
                        let key = keys.get(at).context("too few keys")?;
                        let token = match tokens.get(at) {
                            Some(token) => *token,
                            None => cache.lookup(key).await?.token,
                        };
                        let filled = cache.fill(key, token, entry).await?;
                        ensure!(filled == FillOutcome::Stored, "a fill was refused");
                        Ok(())
                    }
                })
                .await
            })
        },
        move |operations| {
            let (keys, values) = (some(&known, operations), of_peer.clone());
            let mut shared = peer.shared.clone();
            peer.runtime.block_on(async {
                let mut groups: Vec<&str> = keys.iter().map(CacheKey::group).collect();
                groups.dedup();
                let _: u64 = shared.unlink(groups).await?;
                tasks::run(TASKS, operations, Figure::Throughput, move |number| {
                    let at = number as usize;
                    let (value, mut shared, keys) = (values.of(at), shared.clone(), Arc::clone(&keys));
                    async move {
                        let key = keys.get(at).context("too few keys")?;
                        if with_lookup {
                            let found: Option<Vec<u8>> = shared.hget(key.group(), key.rest()).await?;
                            ensure!(found.is_none(), "a miss hit");
                        }
                        Ok(shared.hset(key.group(), key.rest(), &value[..]).await?)
                    }
                })
                .await
            })
        },
    )
}

/// `fill_many` beside one pipeline of `HSET`.
fn batches(rig: &Arc<Rig>, keys: Vec<CacheKey>, bytes: usize) -> impl Case + use<> {
    let (ours, peer) = (Arc::clone(rig), Arc::clone(rig));
    let (known, values) = (keys.clone(), Values::new(bytes));
    let of_peer = values.clone();
    pair(
        move |operations| {
            ours.runtime.block_on(async {
                let mut taken = Duration::ZERO;
                for _ in 0..operations {
                    forget(&ours, &keys).await?;
                    let lookups = ours.cache.lookup_many(&keys).await?;
                    let fills = keys.iter().zip(lookups).enumerate().map(|(at, (key, found))| Fill {
                        key: key.clone(),
                        token: found.token,
                        entry: NewEntry::new(values.of(at)),
                    });
                    let fills = fills.collect();
                    let started = Instant::now();
                    let outcomes = ours.cache.fill_many(fills).await?;
                    taken += started.elapsed();
                    ensure!(!outcomes.contains(&FillOutcome::Refused), "a fill was refused");
                }
                Ok(taken)
            })
        },
        move |operations| {
            let mut shared = peer.shared.clone();
            peer.runtime.block_on(async {
                let mut taken = Duration::ZERO;
                for _ in 0..operations {
                    let mut commands = redis::pipe();
                    for (at, key) in known.iter().enumerate() {
                        commands.hset(key.group(), key.rest(), &of_peer.of(at)[..]).ignore();
                    }
                    let started = Instant::now();
                    let () = commands.query_async(&mut shared).await?;
                    taken += started.elapsed();
                }
                Ok(taken)
            })
        },
    )
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let rig = Rig::start(&session.runtime)?;
    let keys = listing_keys(KEYS / 10, 10)?;
    let spec = |name, peer_name, most, target| {
        Spec::new(name, peer_name, Unit::PerSecond, Pace::Slices { most }, Target::Ratio(target))
    };
    for (name, bytes, with_lookup, target) in [
        ("redis fill 1 KB", 1 << 10, false, 0.6),
        ("redis fill 50 KB", 50 << 10, false, 0.7),
        ("redis fill 200 KB", 200 << 10, false, 0.8),
        ("redis miss and fill 1 KB", 1 << 10, true, 0.5),
        ("redis miss and fill 50 KB", 50 << 10, true, 0.5),
    ] {
        let peer_name = if with_lookup { "HGET and HSET" } else { "HSET" };
        let spec = spec(name, peer_name, KEYS as u64, target);
        session.measure(&spec, &mut fills(&rig, &keys, bytes, with_lookup))?;
    }
    let spec = spec("redis fill_many of 100, 1 KB", "pipeline of HSET", 100, 0.5);
    let keys = keys.into_iter().take(100).collect();
    session.measure(&spec, &mut batches(&rig, keys, 1 << 10))?;
    Ok(())
}
