//! Reads: what is there, uniformly and by Zipf's law, and what is not.
//!
//! Ours verifies a checksum at each read, and the peers do not. All return a copy.

use std::hint::black_box;
use std::sync::Arc;

use cache_core::CacheBackend;

use super::{LARGE, SMALL};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, check, pair, timed, timed_async};
use crate::raw_redb::{EACH, KEPT};
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::{Access, Sequence, image_keys};

/// Entries with small values.
pub const SMALL_ENTRIES: usize = 100_000;
/// Entries with large values.
pub const LARGE_ENTRIES: usize = 4000;

/// Entries with small values, most of which memory does not hold.
const MANY: usize = 150_000;
/// Entries with large values that memory holds, too.
const FEW: usize = 500;
/// Memory of a default configuration in bytes.
const MEMORY: usize = 32 << 20;

/// How the peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// In a transaction of its own, each time.
    Each,
    /// All in one transaction.
    Kept,
}

/// Lookups of stored keys; see [`lookups`].
pub fn hits(stores: &Arc<Stores>, access: Access, reading: Reading) -> Outcome<impl Case + use<>> {
    lookups(stores, Sequence::new(stores.keys.clone(), access, 5), reading, Some(stores.value_bytes))
}

/// Lookups of absent keys; see [`lookups`].
pub fn misses(stores: &Arc<Stores>) -> Outcome<impl Case + use<>> {
    let absent = image_keys(stores.keys.len(), stores.keys.len());
    lookups(stores, Sequence::new(absent, Access::Uniform, 6), Reading::Each, None)
}

/// Lookups through the trait beside a `get`, copied out. Both must find `expected` bytes.
fn lookups(
    stores: &Arc<Stores>,
    sequence: Sequence,
    reading: Reading,
    expected: Option<usize>,
) -> Outcome<impl Case + use<>> {
    let (ours, peer) = (Arc::clone(stores), Arc::clone(stores));
    let (mut of_ours, mut of_peer) = (sequence.clone(), sequence);
    let snapshot = (reading == Reading::Kept).then(|| stores.peer.snapshot()).transpose()?;
    Ok(pair(
        move |operations| {
            let backend: &dyn CacheBackend = &*ours.ours;
            ours.runtime.block_on(timed_async(of_ours.take(operations), async |key| {
                let found = black_box(backend.lookup(key).await?);
                check(found.entry.map(|entry| entry.payload.len()), expected)
            }))
        },
        move |operations| {
            timed(of_peer.take(operations), |key| {
                let found = match &snapshot {
                    Some(snapshot) => snapshot.get(key)?,
                    None => peer.peer.get(key)?,
                };
                check(black_box(found).map(|value| value.len()), expected)
            })
        },
    ))
}

const fn spec(name: &'static str, reading: Reading, target: f64) -> Spec {
    let peer = match reading {
        Reading::Each => EACH,
        Reading::Kept => KEPT,
    };
    Spec::new(name, peer, Unit::Micros, Pace::FREE, Target::Ratio(target))
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let (uniform, zipf, each, kept) = (Access::Uniform, Access::Zipf, Reading::Each, Reading::Kept);
    let (small, many, large, few) = (
        DataSet::new(image_keys(0, SMALL_ENTRIES), SMALL),
        DataSet { memory_bytes: MEMORY, ..DataSet::new(image_keys(0, MANY), SMALL) },
        DataSet { memory_bytes: MEMORY, ..DataSet::new(image_keys(0, LARGE_ENTRIES), LARGE) },
        DataSet { memory_bytes: MEMORY, ..DataSet::new(image_keys(0, FEW), LARGE) },
    );

    session.doing("storing small values");
    let stores = Stores::create(&session.runtime, small)?;
    for (name, access, reading, target) in [
        ("get 1 KB, fits", uniform, each, 0.85),
        ("get 1 KB, fits", uniform, kept, 1.6),
        ("get 1 KB, fits, zipf", zipf, each, 0.85),
    ] {
        session.measure(&spec(name, reading, target), &mut hits(&stores, access, reading)?)?;
    }
    let absent = Spec { target: Target::Ours(0.3), ..spec("get an absent key", each, 1.0) };
    let absent = absent.note("flatters ours, whose index in memory knows every key");
    session.measure(&absent, &mut misses(&stores)?)?;
    drop(stores);

    for (name, data, rows) in [
        ("get 1 KB, 150,000 keys, 32 MB", many, &[(uniform, each, 0.95), (uniform, kept, 1.6)][..]),
        ("get 50 KB, zipf, 4,000 keys, 32 MB", large, &[(zipf, each, 0.9)]),
        ("get 50 KB, zipf, 500 keys, 32 MB", few, &[(zipf, each, 1.5)]),
    ] {
        session.doing(&format!("storing for {name}"));
        let stores = Stores::create(&session.runtime, data)?;
        for (access, reading, target) in rows {
            let spec = spec(name, *reading, *target);
            session.measure(&spec, &mut hits(&stores, *access, *reading)?)?;
        }
    }
    Ok(())
}
