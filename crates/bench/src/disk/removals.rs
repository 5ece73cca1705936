//! Removing for ever: one key, many keys at once, a group. Both sides return when it is on the disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cache_core::{CacheBackendExt, CacheKey, CachePattern, Invalidated};
use redb::Durability;

use super::SMALL;
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, pair, timed};
use crate::raw_redb::{self, Change};
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::tasks::{self, Figure};
use crate::workload::{Sequence, image_keys, listing_keys};

/// Keys of a group.
const GROUP: usize = 100;
/// How many delete at the same time.
const CALLERS: u64 = 16;

/// Deletes of the keys in `stores`, by so many callers, beside a `remove` and an `Immediate` commit each.
pub fn deletes(stores: &Arc<Stores>, callers: u64) -> impl Case + use<> {
    let (ours, peer) = (Arc::clone(stores), Arc::clone(stores));
    let sequence = Sequence::each_once(stores.keys.clone(), 12 + callers);
    let (mut of_ours, mut of_peer) = (sequence.clone(), sequence);
    pair(
        move |operations| {
            let keys: Arc<[CacheKey]> = of_ours.take(operations).into_iter().cloned().collect();
            let backend = Arc::clone(&ours.ours);
            ours.runtime.block_on(tasks::run(callers, operations, Figure::Throughput, move |number| {
                let (backend, keys) = (Arc::clone(&backend), Arc::clone(&keys));
                async move {
                    let done = backend.delete(keys.get(number as usize).context("too few keys")?).await?;
                    ensure!(matches!(done, Invalidated::Applied { .. }), "a delete was not applied");
                    Ok(())
                }
            }))
        },
        move |operations| {
            timed(of_peer.take(operations), |key| {
                peer.peer.apply(&[Change::Remove(key)], Durability::Immediate)
            })
        },
    )
}

/// Clears of the groups in `stores`, one after the other, beside a ranged `retain_in` and an `Immediate` commit.
pub fn clears(stores: &Arc<Stores>) -> impl Case + use<> {
    let (ours, peer) = (Arc::clone(stores), Arc::clone(stores));
    let mut of_ours: Vec<CacheKey> = stores.keys.iter().step_by(GROUP).cloned().collect();
    let mut of_peer = of_ours.clone();
    let each = |operations: u64, groups: &mut Vec<CacheKey>, clear: &dyn Fn(&CacheKey) -> Outcome<u64>| {
        let mut taken = Duration::ZERO;
        for _ in 0..operations {
            let key = groups.pop().context("every group was cleared")?;
            let started = Instant::now();
            let removed = clear(&key)?;
            taken += started.elapsed();
            ensure!(removed == GROUP as u64, "clearing {} removed {removed}", key.group());
        }
        Ok(taken)
    };
    pair(
        move |operations| {
            each(operations, &mut of_ours, &|key| {
                let pattern = CachePattern::parse(key.group())?;
                Ok(ours.runtime.block_on(ours.ours.clear_pattern(&pattern))?.removed())
            })
        },
        move |operations| each(operations, &mut of_peer, &|key| peer.peer.clear_group(key.group())),
    )
}

/// Measures the rows.
///
/// The targets follow from how often each side syncs: ours twice a commit, so that a file opens in milliseconds after a
/// crash, and redb by default once.
pub fn run(session: &mut Session) -> Outcome<()> {
    let spec =
        |name, pace, target| Spec::new(name, raw_redb::NAME, Unit::Micros, pace, Target::Ratio(target));
    session.doing("storing entries to delete");
    let stores = Stores::create(&session.runtime, DataSet::new(image_keys(0, 20_000), SMALL))?;
    let one = spec("delete, durable", Pace::Slices { most: 1 }, 2.0);
    session.measure(&one, &mut deletes(&stores, 1))?;
    let many = spec("delete, durable, 16 callers", Pace::Whole { operations: CALLERS * 8 }, 1.0)
        .note("flatters ours, which makes many callers' deletes durable at once; the peer has one caller");
    session.measure(&many, &mut deletes(&stores, CALLERS))?;
    drop(stores);

    let (name, groups) = if session.quick {
        ("clear a group of 100 among 100,000", 1000)
    } else {
        ("clear a group of 100 among 1,000,000", 10_000)
    };
    session.doing("storing groups to clear");
    let stores = Stores::create(&session.runtime, DataSet::new(listing_keys(groups, GROUP)?, 100))?;
    session.measure(&spec(name, Pace::FewSlices { most: 1 }, 2.0), &mut clears(&stores))?;
    Ok(())
}
