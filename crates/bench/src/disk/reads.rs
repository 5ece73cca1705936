//! Reads: what is there, uniformly and by Zipf's law, and what is not.

use std::hint::black_box;
use std::sync::Arc;

use cache_core::CacheBackend;

use super::{LARGE, SMALL};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, check, pair, timed, timed_async};
use crate::raw_redb;
use crate::row::Row;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::{Access, Sequence, image_keys};

/// Entries with small values.
pub const SMALL_ENTRIES: usize = 100_000;
/// Entries with large values.
pub const LARGE_ENTRIES: usize = 2000;

/// Page cache of a default configuration in bytes.
const DEFAULT_PAGE_CACHE: usize = 32 << 20;

/// Lookups of stored keys; see [`lookups`].
pub fn hits(stores: &Arc<Stores>, access: Access) -> impl Case + use<> {
    lookups(stores, Sequence::new(stores.keys.clone(), access, 5), Some(stores.value_bytes))
}

/// Lookups of absent keys; see [`lookups`].
pub fn misses(stores: &Arc<Stores>) -> impl Case + use<> {
    let absent = image_keys(stores.keys.len(), stores.keys.len());
    lookups(stores, Sequence::new(absent, Access::Uniform, 6), None)
}

/// Lookups through the trait beside a `get` in a transaction of its own, copied out. Both must find `expected` bytes.
fn lookups(stores: &Arc<Stores>, sequence: Sequence, expected: Option<usize>) -> impl Case + use<> {
    let (ours, peer) = (Arc::clone(stores), Arc::clone(stores));
    let (mut of_ours, mut of_peer) = (sequence.clone(), sequence);
    pair(
        move |operations| {
            let backend: &dyn CacheBackend = &*ours.ours;
            ours.runtime.block_on(timed_async(of_ours.take(operations), async |key| {
                let found = black_box(backend.lookup(key).await?);
                check(found.entry.map(|entry| entry.payload.len()), expected)
            }))
        },
        move |operations| {
            timed(of_peer.take(operations), |key| {
                let found = black_box(peer.peer.get(key)?);
                check(found.map(|value| value.len()), expected)
            })
        },
    )
}

const fn spec(name: &'static str, target: Target) -> Spec {
    Spec::new(name, raw_redb::NAME, Unit::Micros, Pace::FREE, target)
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    session.doing("storing small values");
    let data = DataSet::new(image_keys(0, SMALL_ENTRIES), SMALL);
    let stores = Stores::create(&session.runtime, data.clone())?;
    let uniform = spec("get 1 KB, uniform", Target::Ratio(1.0));
    session.measure(&uniform, &mut hits(&stores, Access::Uniform))?;
    session.measure(&spec("get 1 KB, zipf", Target::Ratio(1.0)), &mut hits(&stores, Access::Zipf))?;
    session.measure(&spec("get an absent key", Target::Ours(0.3)), &mut misses(&stores))?;
    drop(stores);

    session.doing("storing small values");
    let data = DataSet { page_cache_bytes: DEFAULT_PAGE_CACHE, ..data };
    let stores = Stores::create(&session.runtime, data)?;
    let uncached = spec("get 1 KB, uniform, 32 MB page cache", Target::Ratio(1.0));
    session.measure(&uncached, &mut hits(&stores, Access::Uniform))?;
    drop(stores);

    session.doing("storing large values");
    let data = DataSet::new(image_keys(0, LARGE_ENTRIES), LARGE);
    let stores = Stores::create(&session.runtime, data)?;
    let uniform = spec("get 50 KB, uniform", Target::Ratio(3.2));
    let measured = session.measure(&uniform, &mut hits(&stores, Access::Uniform))?;
    session.keep(Row::new(&spec("get 50 KB, uniform, alone", Target::Ours(20.0)), &measured));
    session.measure(&spec("get 50 KB, zipf", Target::Ratio(3.2)), &mut hits(&stores, Access::Zipf))?;
    Ok(())
}
