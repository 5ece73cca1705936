//! Hits of values in memory, in front of the disk.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Error};
use cache_core::{CacheBackend, CacheKey, Codec, Entry, NewEntry};

use super::hits::typed;
use super::{Caches, Metadata};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit, check, pair, timed, timed_async};
use crate::disk::SMALL;
use crate::session::Session;
use crate::workload::{Access, Sequence, Values, image_keys};

/// Megabytes of memory.
const MEMORY: u64 = 64;

/// Megabytes of memory for pages of the database, as by default.
const PAGES: usize = 32;

/// Keys that are hit over and over.
const HOT: usize = 1000;

/// Keys of listings.
const LISTINGS: usize = 50;

/// Rows of metadata in a listing of 50 KB.
const ROWS: usize = 46;

/// Keys of which some fit into memory.
const MANY: usize = 100_000;

/// `get_or_load` of hot values beside `at_hand` and `decode`.
fn typed_hits(caches: Caches) -> Outcome<impl Case> {
    let keys = image_keys(0, HOT);
    caches.runtime.block_on(async {
        for (number, key) in keys.iter().enumerate() {
            caches.cache.set(key, &Metadata::of(number)).await?;
        }
        caches.bare.flush().await?;
        for key in &keys {
            typed(&caches.cache, key).await?;
        }
        Outcome::Ok(())
    })?;
    let sequence = Sequence::new(keys, Access::Uniform, 9);
    let (mut of_ours, mut of_peer) = (sequence.clone(), sequence);
    let caches = Arc::new(caches);
    let peer = Arc::clone(&caches);
    Ok(pair(
        move |operations| {
            let keys = of_ours.take(operations);
            caches.runtime.block_on(timed_async(keys, async |key| typed(&caches.cache, key).await))
        },
        move |operations| {
            timed(of_peer.take(operations), |key| {
                let entry = at_hand(&*peer.bare, key)?;
                black_box(Codec::Bincode.decode::<Metadata>(&entry.payload, entry.shape)?);
                Ok(())
            })
        },
    ))
}

/// The value of `key` in the memory of `backend`.
pub(crate) fn at_hand(backend: &dyn CacheBackend, key: &CacheKey) -> Outcome<Entry> {
    backend.at_hand(key).and_then(|found| found.entry).context("a value is not in memory")
}

/// `get_or_load_shared` of listings beside `get_or_load`, which decodes each time.
fn shared_hits(caches: Caches) -> Outcome<impl Case> {
    let keys = image_keys(0, LISTINGS);
    let listing = |number| -> Vec<Metadata> { (number..number + ROWS).map(Metadata::of).collect() };
    caches.runtime.block_on(async {
        for (number, key) in keys.iter().enumerate() {
            caches.cache.set(key, &listing(number)).await?;
        }
        caches.bare.flush().await?;
        for key in &keys {
            check(caches.cache.get::<Vec<Metadata>>(key).await.map(|rows| rows.len()), ROWS)?;
        }
        Outcome::Ok(())
    })?;
    let sequence = Sequence::new(keys, Access::Uniform, 9);
    let (mut of_ours, mut of_peer) = (sequence.clone(), sequence);
    let caches = Arc::new(caches);
    let peer = Arc::clone(&caches);
    let load = async || Err::<Vec<Metadata>, _>("a hit was loaded");
    let failed = |error: cache_facade::LoadError<&str>| Error::msg(error.to_string());
    Ok(pair(
        move |operations| {
            caches.runtime.block_on(timed_async(of_ours.take(operations), async |key| {
                check(Some(caches.cache.get_or_load_shared(key, load).await.map_err(failed)?.len()), ROWS)
            }))
        },
        move |operations| {
            peer.runtime.block_on(timed_async(of_peer.take(operations), async |key| {
                check(Some(peer.cache.get_or_load(key, load).await.map_err(failed)?.len()), ROWS)
            }))
        },
    ))
}

/// A cache of many values, without the time for loading them.
fn filled(session: &Session, memory_mb: u64, entries: usize) -> Outcome<Caches> {
    let caches = Caches::with_memory(&session.runtime, memory_mb, PAGES)?;
    let values = Values::new(SMALL);
    caches.runtime.block_on(async {
        for (number, key) in image_keys(0, entries).iter().enumerate() {
            caches.bare.set(key, NewEntry::new(values.of(number))).await?;
            if number % 1000 == 999 {
                caches.bare.flush().await?;
            }
        }
        caches.bare.flush().await
    })?;
    Ok(caches)
}

/// `get` of bytes by Zipf's law, of which memory holds some, beside the same without memory.
fn zipf_hits(session: &Session) -> Outcome<impl Case + use<>> {
    let entries = if session.quick { MANY / 4 } else { MANY };
    let memory_mb = if session.quick { MEMORY / 4 } else { MEMORY };
    let sequence = Sequence::zipf(image_keys(0, entries), 0.9, 9);
    let side = |memory_mb| {
        let (caches, mut sequence) = (Arc::new(filled(session, memory_mb, entries)?), sequence.clone());
        let hits = move |operations| {
            caches.runtime.block_on(timed_async(sequence.take(operations), async |key| {
                check(caches.cache.get::<cache_facade::Bytes>(key).await.map(|value| value.len()), SMALL)
            }))
        };
        Outcome::Ok(hits)
    };
    let (mut ours, peer) = (side(memory_mb)?, side(0)?);
    // Until memory holds what is read often.
    ours(4 * entries as u64)?;
    Ok(pair(ours, peer))
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    session.doing("storing values to read from memory");
    let caches = |session: &Session| Caches::with_memory(&session.runtime, MEMORY, PAGES);
    let spec = |name, peer, target| Spec::new(name, peer, Unit::Micros, Pace::FREE, target);
    let mut hits = typed_hits(caches(session)?)?;
    session.measure(&spec("typed hit 1 KB in memory", "at_hand and decode", Target::Ours(0.6)), &mut hits)?;
    let mut hits = shared_hits(caches(session)?)?;
    session
        .measure(&spec("shared hit 50 KB in memory", "decoded each time", Target::Ours(0.6)), &mut hits)?;
    let mut hits = zipf_hits(session)?;
    let spec = spec("hit 1 KB, zipf 0.9, 64 MB of memory", "disk alone", Target::Ratio(0.7));
    session.measure(&spec.note("flatters ours by 64 MB, which the peer does not have"), &mut hits)?;
    Ok(())
}
