//! Sets without end: what the writer keeps up with, everything on the disk before the clock stops.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use cache_core::CacheKey;
use redb::Durability;

use super::{LARGE, SMALL};
use crate::case::{Case, Pace, Spec, Target, Unit, pair};
use crate::raw_redb::Change;
use crate::row::Row;
use crate::session::Session;
use crate::stores::{DataSet, Stores, set};
use crate::tasks::{self, Figure};
use crate::workload::image_keys;
use crate::{Outcome, space};

/// How many callers set at the same time.
const CALLERS: u64 = 16;
/// Bytes that either side commits at a time: ours drains its queue in as much.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes after which either side makes its commits durable.
const DURABLE_EVERY: usize = 4 << 20;
/// Memory of either store: for pages, and of ours for its index too.
const MEMORY: usize = 64 << 20;
/// How often as many operations are run as a round has, where nothing is evicted.
const MOST_ROUNDS: usize = 16;

/// Sixteen callers of ours beside one thread that writes the same values to redb in batches.
///
/// The peer keeps `kept` entries; then it removes the first for each new one, as a cache does. Both begin as full as that.
fn sustained(stores: &Arc<Stores>, kept: Option<usize>) -> Outcome<impl Case + use<>> {
    let (ours, peer) = (Arc::clone(stores), Arc::clone(stores));
    let (mut next_ours, mut next_peer) = (0, 0);
    let mut case = pair(
        move |operations| {
            let keys: Arc<[CacheKey]> = image_keys(next_ours, operations as usize).into();
            next_ours += keys.len();
            let stores = Arc::clone(&ours);
            ours.runtime.block_on(async {
                let started = Instant::now();
                tasks::run(CALLERS, operations, Figure::Throughput, move |number| {
                    let (stores, keys) = (Arc::clone(&stores), Arc::clone(&keys));
                    async move {
                        let key = keys.get(number as usize).context("too few keys")?;
                        Ok(set(&stores.ours, key, stores.values.of(number as usize)).await?)
                    }
                })
                .await?;
                ours.ours.flush().await?;
                Ok(started.elapsed())
            })
        },
        move |operations| {
            let keys = image_keys(next_peer, operations as usize);
            let first_kept = |next: usize| kept.map_or(0, |kept| next.saturating_sub(kept));
            let oldest = first_kept(next_peer);
            next_peer += keys.len();
            let gone = image_keys(oldest, first_kept(next_peer) - oldest);
            let values: Vec<_> = (0..keys.len()).map(|number| peer.values.of(number)).collect();
            let a_batch = BATCH_BYTES / peer.value_bytes;
            let mut gone = gone.chunks(a_batch);
            let mut written = 0;
            let started = Instant::now();
            for (keys, values) in keys.chunks(a_batch).zip(values.chunks(a_batch)) {
                let removes = gone.next().unwrap_or_default().iter().map(Change::Remove);
                let puts = keys.iter().zip(values).map(|(key, value)| Change::Put(key, value));
                written += keys.len() * peer.value_bytes;
                let is_due = written >= DURABLE_EVERY;
                let durability = if is_due { Durability::Immediate } else { Durability::None };
                peer.peer.apply(&removes.chain(puts).collect::<Vec<_>>(), durability)?;
                if is_due {
                    written = 0;
                }
            }
            peer.peer.apply(&[], Durability::Immediate)?;
            Ok(started.elapsed())
        },
    );
    if let Some(kept) = kept {
        case.ours(kept as u64)?;
        case.peer(kept as u64)?;
    }
    Ok(case)
}

/// Measures the rows, and the space that ours takes meanwhile.
pub fn run(session: &mut Session) -> Outcome<()> {
    let megabytes = Unit::MegabytesPerSecond { value_bytes: LARGE as u64 };
    let times = if session.quick { 1 } else { 4 };
    let (ours, ratio) = (Target::Ours(50_000.0), Target::Ratio(1.5));
    // From a limit of 256 MiB on, ours makes its commits durable as rarely as by default.
    let rows = [
        ("sustained sets 1 KB, 16 callers", SMALL, 1000, None, 20_000, Unit::PerSecond, ours),
        ("sustained sets 1 KB, evicting", SMALL, 256, Some(170_000), 20_000, Unit::PerSecond, ours),
        ("sustained sets 50 KB, evicting", LARGE, 256, Some(4700), 1000, megabytes, ratio),
    ];
    for (name, value_bytes, limit_mb, kept, operations, unit, target) in rows {
        session.doing(name);
        let entries = kept.unwrap_or(operations * MOST_ROUNDS);
        let data = DataSet { keys: Vec::new(), value_bytes, limit_mb, memory_bytes: MEMORY, entries };
        let stores = Stores::create(&session.runtime, data)?;
        let pace = Pace::Whole { operations: (operations * times) as u64 };
        let spec = Spec::new(name, "raw redb, batches", unit, pace, target)
            .note(
                "flatters the peer, which gets a batch at a time, and neither has checksums nor a limit. kill -9: either loses \
                 what follows its last durable commit, a few MB before",
            );
        let (samples, _) =
            space::during(&stores.directory(), || session.measure(&spec, &mut sustained(&stores, kept)?))?;
        if kept.is_some() {
            let (name, percent) =
                (format!("{name}: most space"), space::peak(&samples) * 100.0 / limit_mb as f64);
            let looks = format!("looked at {} times", samples.len());
            session.keep(Row::counted(&name, Unit::SPACE_PERCENT, percent, 100.0).note(looks));
        }
    }
    Ok(())
}
