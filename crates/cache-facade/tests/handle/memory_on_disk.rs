//! Values in memory in front of the disk are as fresh as the disk, and expire as they do there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_facade::{Cache, LoadOptions, ManualClock, Source, stats::NearState};

use crate::lifetimes::{MINUTE, Timed, revalidated, tolerant};
use crate::support::{Nothing, Stored, key, on_disk};

/// A cache on disk behind memory, by a clock of its own.
async fn timed() -> (Timed, Stored) {
    let clock = Arc::new(ManualClock::new());
    let stored = on_disk("disk behind memory", |config| config.memory_mb(8).clock(clock.clone())).await;
    (Timed { clock, cache: stored.cache.clone() }, stored)
}

/// Reads until the value is in memory, and then once more.
async fn warm(timed: &Timed, options: fn() -> LoadOptions<u32>) {
    assert_eq!(timed.ask(options(), 1).await, (1, Source::Loaded));
    for _ in 0..2 {
        assert_eq!(timed.ask(options(), 0).await, (1, Source::Hit));
    }
    assert_eq!(from_memory(&timed.cache).await, 1);
}

/// How many reads were answered from memory.
async fn from_memory(cache: &Cache) -> u64 {
    cache.stats().await.unwrap().near.map_or(0, |near| near.hits)
}

#[tokio::test]
async fn a_value_in_memory_expires() {
    let (timed, _stored) = timed().await;
    let options = || LoadOptions::new().ttl(MINUTE);
    warm(&timed, options).await;
    timed.wait(60);
    assert_eq!(timed.ask(options(), 2).await, (2, Source::Loaded));
    assert_eq!(from_memory(&timed.cache).await, 1);
}

#[tokio::test]
async fn a_value_in_memory_is_served_stale_while_it_is_loaded_anew() {
    let (timed, _stored) = timed().await;
    warm(&timed, revalidated).await;
    timed.wait(60);
    assert_eq!(timed.ask(revalidated(), 2).await, (1, Source::Stale));
    for _ in 0..3 {
        assert_eq!(timed.ask(revalidated(), 3).await, (2, Source::Hit));
    }
    assert!(from_memory(&timed.cache).await > 1);
}

#[tokio::test]
async fn a_value_in_memory_is_served_stale_where_its_load_failed() {
    let (timed, _stored) = timed().await;
    warm(&timed, tolerant).await;
    timed.wait(60);
    assert_eq!(timed.ask_in_vain(tolerant()).await, Ok((1, Source::Stale)));
    timed.wait(60);
    assert!(timed.ask_in_vain(tolerant()).await.is_err());
}

#[tokio::test]
async fn a_value_in_memory_is_explained_counted_and_in_health() {
    let stored = on_disk("disk behind memory", |config| config.memory_mb(8)).await;
    let cache = stored.cache.clone();
    assert_eq!(cache.health().await.near.map(|near| near.state), Some(NearState::Serving));
    cache.set(&key(1), &7_u32).await.unwrap();
    assert_eq!(cache.explain(&key(1)).await.unwrap().in_memory, Some(false));
    for _ in 0..3 {
        cache.get::<u32>(&key(1)).await;
    }
    assert_eq!(cache.explain(&key(1)).await.unwrap().in_memory, Some(true));
    let stats = cache.stats().await.unwrap();
    let near = stats.near.unwrap();
    assert_eq!((near.hits, near.entries, stats.hits), (2, 1, 3));
    assert_eq!(near.limit_bytes, 6 << 20, "three quarters");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_that_begins_after_a_change_returns_an_older_row() {
    let stored = on_disk("disk behind memory", |config| config.memory_mb(8)).await;
    let cache = stored.cache.clone();
    let (row, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let until = Instant::now() + Duration::from_millis(500);
    let readers: Vec<_> = (0..4)
        .map(|number| {
            let (cache, row, acknowledged) = (cache.clone(), Arc::clone(&row), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                while Instant::now() < until {
                    let least = acknowledged.load(Ordering::SeqCst);
                    let row = Arc::clone(&row);
                    let load = async move || Ok::<_, Nothing>(row.load(Ordering::SeqCst));
                    let found = if number % 2 == 0 {
                        cache.get_or_load(&key(1), load).await.unwrap()
                    } else {
                        *cache.get_or_load_shared(&key(1), load).await.unwrap()
                    };
                    assert!(found >= least, "{found} after {least} was acknowledged");
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    while Instant::now() < until {
        let row = Arc::clone(&row);
        let commit = async move || Ok::<_, Nothing>(row.fetch_add(1, Ordering::SeqCst) + 1);
        let number = cache.change(&key(1), commit).await.unwrap().into_value();
        acknowledged.store(number, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(acknowledged.load(Ordering::SeqCst) > 10 && from_memory(&cache).await > 100);
}
