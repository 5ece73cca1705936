//! Values in memory in front of the disk, beside caches that keep values in memory alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheBackend, CacheKey, NewEntry};

use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit, check, pair, timed, timed_async};
use crate::disk::SMALL;
use crate::facade::Caches;
use crate::facade::memory::at_hand;
use crate::session::Session;
use crate::workload::{Access, Sequence, Values, image_keys};

/// Bytes of memory of each.
const MEMORY: u64 = 48 << 20;

/// Keys that are read over and over.
const HOT: usize = 1000;

/// Another cache, which holds all entries.
type Gets = Box<dyn FnMut(&[String]) -> Outcome<Duration>>;

type Fill = fn(&Session, Vec<(String, Bytes)>) -> Gets;

const RIVALS: [(&str, Fill, f64); 3] = [
    ("quick_cache 0.6", quick_cache, 3.0),
    ("moka 0.12, its future::Cache", moka, 1.0),
    ("foyer 0.22, its memory alone", foyer, 1.0),
];

fn weight(key: &str, value: &Bytes) -> usize {
    key.len() + value.len()
}

fn quick_cache(_: &Session, entries: Vec<(String, Bytes)>) -> Gets {
    #[derive(Clone)]
    struct Bytewise;
    impl quick_cache::Weighter<String, Bytes> for Bytewise {
        fn weight(&self, key: &String, value: &Bytes) -> u64 {
            weight(key, value) as u64
        }
    }
    let cache = quick_cache::sync::Cache::with_weighter(2 * HOT, MEMORY, Bytewise);
    for (key, value) in entries {
        cache.insert(key, value);
    }
    Box::new(move |keys| timed(keys, |key| check(cache.get(key).map(|value| value.len()), SMALL)))
}

fn moka(session: &Session, entries: Vec<(String, Bytes)>) -> Gets {
    let cache = moka::future::Cache::builder()
        .weigher(|key: &String, value: &Bytes| weight(key, value) as u32)
        .max_capacity(MEMORY)
        .build();
    let runtime = Arc::clone(&session.runtime);
    runtime.block_on(async {
        for (key, value) in entries {
            cache.insert(key, value).await;
        }
    });
    Box::new(move |keys| {
        let get = async |key: &String| check(cache.get(key).await.map(|value| value.len()), SMALL);
        runtime.block_on(timed_async(keys, get))
    })
}

fn foyer(_: &Session, entries: Vec<(String, Bytes)>) -> Gets {
    let cache: foyer::Cache<String, Bytes> = foyer::CacheBuilder::new(MEMORY as usize)
        .with_weighter(|key: &String, value: &Bytes| weight(key, value))
        .build();
    for (key, value) in entries {
        drop(cache.insert(key, value));
    }
    Box::new(move |keys| timed(keys, |key| check(cache.get(key).map(|entry| entry.value().len()), SMALL)))
}

/// Measures the rows.
pub(super) fn run(session: &mut Session) -> Outcome<()> {
    let (keys, values) = (image_keys(0, HOT), Values::new(SMALL));
    let caches = Caches::with_memory(&session.runtime, (MEMORY * 4 / 3) >> 20, 32)?;
    caches.runtime.block_on(async {
        for (number, key) in keys.iter().enumerate() {
            caches.bare.set(key, NewEntry::new(values.of(number))).await?;
        }
        caches.bare.flush().await?;
        for key in &keys {
            caches.bare.lookup(key).await?;
        }
        Outcome::Ok(())
    })?;
    for (peer_name, fill, target) in RIVALS {
        let entries = keys.iter().enumerate().map(|(at, key)| (key.as_str().to_owned(), values.of(at)));
        let mut gets = fill(session, entries.collect());
        let sequence = Sequence::new(keys.clone(), Access::Uniform, 21);
        let (mut of_ours, mut of_peer) = (sequence.clone(), sequence);
        let backend: &dyn CacheBackend = &*caches.bare;
        let mut case = pair(
            |operations| {
                let get = |key: &CacheKey| check(Some(at_hand(backend, key)?.payload.len()), SMALL);
                timed(of_ours.take(operations), get)
            },
            |operations| {
                let keys: Vec<String> =
                    of_peer.take(operations).into_iter().map(|key| key.as_str().to_owned()).collect();
                gets(&keys)
            },
        );
        let (unit, target) = (Unit::Micros, Target::Ratio(target));
        session
            .measure(&Spec::new("get 1 KB from memory", peer_name, unit, Pace::FREE, target), &mut case)?;
    }
    Ok(())
}
