//! Reads: what is there, uniformly and by Zipf's law, and what is not.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::CacheBackend;

use super::{LARGE, SMALL};
use crate::Outcome;
use crate::case::{Case, Pace, Spec, Target, Unit};
use crate::raw_redb;
use crate::row::Row;
use crate::session::Session;
use crate::stores::{DataSet, Stores};
use crate::workload::{Access, Sequence, image_keys};

/// Entries with small values.
pub const SMALL_ENTRIES: usize = 100_000;
/// Entries with large values.
pub const LARGE_ENTRIES: usize = 2000;

/// What a default configuration gives to pages.
const DEFAULT_PAGE_CACHE: usize = 32 << 20;

/// Lookups through the trait beside a `get` in a transaction of its own, copied out.
#[derive(Debug)]
pub struct Reads {
    stores: Arc<Stores>,
    sequence: Sequence,
    /// Bytes of what must be found; `None` where nothing may be.
    expected: Option<usize>,
}

impl Reads {
    /// Lookups of what is stored.
    pub fn hits(stores: &Arc<Stores>, access: Access) -> Self {
        let sequence = Sequence::new(stores.keys.clone(), access, 5);
        Self { stores: Arc::clone(stores), sequence, expected: Some(stores.value_bytes) }
    }

    /// Lookups of what is not.
    pub fn misses(stores: &Arc<Stores>) -> Self {
        let absent = image_keys(stores.keys.len(), stores.keys.len());
        let sequence = Sequence::new(absent, Access::Uniform, 6);
        Self { stores: Arc::clone(stores), sequence, expected: None }
    }
}

impl Case for Reads {
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        let Self { stores, sequence, expected } = self;
        let backend: &dyn CacheBackend = &*stores.ours;
        let keys = sequence.take(operations);
        stores.runtime.block_on(async {
            let started = Instant::now();
            for key in keys {
                let found = black_box(backend.lookup(key).await?);
                if found.entry.map(|entry| entry.payload.len()) != *expected {
                    return Err(format!("ours gave something else for {key}").into());
                }
            }
            Ok(started.elapsed())
        })
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        let Self { stores, sequence, expected } = self;
        let keys = sequence.take(operations);
        let started = Instant::now();
        for key in keys {
            let found = black_box(stores.peer.get(key)?);
            if found.map(|value| value.len()) != *expected {
                return Err(format!("the peer gave something else for {key}").into());
            }
        }
        Ok(started.elapsed())
    }
}

const fn spec(name: &'static str, target: Target) -> Spec {
    Spec { name, peer_name: raw_redb::NAME, unit: Unit::Micros, pace: Pace::Slices { most: 1 << 20 }, target }
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    session.doing("storing small values");
    let data = DataSet::new(image_keys(0, SMALL_ENTRIES), SMALL);
    let stores = Arc::new(Stores::create(&session.runtime, data.clone())?);
    let uniform = spec("get 1 KB, uniform", Target::Ratio(1.0));
    session.measure(&uniform, &mut Reads::hits(&stores, Access::Uniform))?;
    let zipf = spec("get 1 KB, zipf", Target::Ratio(1.0));
    session.measure(&zipf, &mut Reads::hits(&stores, Access::Zipf))?;
    let absent = spec("get an absent key", Target::Ours(0.3));
    session.measure(&absent, &mut Reads::misses(&stores))?;
    drop(stores);

    session.doing("storing small values");
    let data = DataSet { page_cache_bytes: DEFAULT_PAGE_CACHE, ..data };
    let stores = Arc::new(Stores::create(&session.runtime, data)?);
    let uncached = spec("get 1 KB, uniform, 32 MB page cache", Target::Ratio(1.0));
    session.measure(&uncached, &mut Reads::hits(&stores, Access::Uniform))?;
    drop(stores);

    session.doing("storing large values");
    let data = DataSet::new(image_keys(0, LARGE_ENTRIES), LARGE);
    let stores = Arc::new(Stores::create(&session.runtime, data)?);
    let uniform = spec("get 50 KB, uniform", Target::Ratio(3.2));
    let measured = session.measure(&uniform, &mut Reads::hits(&stores, Access::Uniform))?;
    session.keep(Row::new(&spec("get 50 KB, uniform, alone", Target::Ours(20.0)), &measured));
    let zipf = spec("get 50 KB, zipf", Target::Ratio(3.2));
    session.measure(&zipf, &mut Reads::hits(&stores, Access::Zipf))?;
    Ok(())
}
