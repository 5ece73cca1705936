//! Memory, descriptors and tasks of a process do not grow under a mixed load of ever new keys.
//!
//! `RELIABILITY_TIMES=20 cargo test -p cache-facade --test memory` runs for a minute.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_facade::{Cache, CacheConfig, CacheKey};
use testkit::memory::{growth, resident_bytes};
use testkit::reliability::{Tally, times};

/// Allowed growth during the measurement: allocators and pages of the database vary by themselves.
const NOISE_BYTES: f64 = 2e6;
/// Operations until everything bounded has reached its bound; a short run begins to measure sooner.
const WARM_UP: usize = 500_000;
const SHORT_WARM_UP: usize = 40_000;
/// Measurements of which one must show no growth.
const WINDOWS: usize = 4;
/// First key that no earlier call has used.
static FIRST: AtomicU64 = AtomicU64::new(64);
/// Concurrent tasks.
const CALLERS: u64 = 4;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Hits, misses of ever new keys, failing loads, invalidations of keys and groups; `leak` imitates a bug.
async fn turn(cache: &Cache, caller: u64, number: u64, leak: &mut Vec<[u8; 256]>, leaks: bool) {
    let key = |id: u64| CacheKey::builder("image", id).part("metadata").build().unwrap();
    let new = caller << 48 | number;
    let load = async || Ok::<_, &str>("a value of some bytes".repeat(150));
    match number % 64 {
        0..40 => drop(cache.get_or_load(&key(new), load).await.unwrap()),
        40..48 => drop(cache.get_or_load(&key(new), async || Err::<String, _>("broken")).await.unwrap_err()),
        // Durable, and therefore the slowest.
        48 => drop(cache.invalidate(&key(new - 48)).await.unwrap()),
        _ => drop(cache.get_or_load(&key(number % 100), load).await.unwrap()),
    }
    if leaks {
        leak.push([7; 256]);
    }
}

/// Runs the load for `span`, of which the first third is a warm-up; returns the samples of the rest and the number of
/// operations.
async fn watch(cache: &Cache, span: Duration, leaks: bool) -> (Vec<(f64, f64)>, u64) {
    let start = Instant::now();
    let first = FIRST.fetch_add(1 << 32, Ordering::Relaxed);
    let callers: Vec<_> = (1..=CALLERS)
        .map(|caller| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let (mut leak, mut number) = (Vec::new(), first);
                while start.elapsed() < span {
                    turn(&cache, caller, number, &mut leak, leaks).await;
                    number += 1;
                }
                number - first
            })
        })
        .collect();
    let mut samples = Vec::new();
    while start.elapsed() < span {
        tokio::time::sleep(span / 200).await;
        if start.elapsed() > span / 3 {
            samples.push((start.elapsed().as_secs_f64(), resident_bytes(std::process::id())));
        }
    }
    let mut operations = 0;
    for caller in callers {
        operations += caller.await.unwrap();
    }
    (samples, operations)
}

/// One test, because two at a time would see each other's memory.
#[tokio::test(flavor = "multi_thread")]
async fn memory_descriptors_and_tasks_do_not_grow_and_a_leak_would_be_seen() {
    let tally = Tally::new("operations while memory is watched", None);
    let span = Duration::from_secs(times(3) as u64);
    let directory = tempfile::tempdir().unwrap();
    let open = || async {
        let config =
            CacheConfig::builder().directory(directory.path()).size_mb(8).page_cache_mb(1).memory_mb(1);
        Cache::connect(config.build().unwrap()).await.unwrap()
    };
    // A first use allocates for good: thread-locals, pages of the allocator.
    open().await.close().await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = (descriptors(), tasks());

    let cache = open().await;
    // The database and the miss log grow until they are full.
    let (until, mut warmed) = (Instant::now() + Duration::from_secs(5 * 60), 0);
    let warm_up = times(SHORT_WARM_UP).min(WARM_UP) as u64;
    while warmed < warm_up || cache.stats().await.unwrap().evictions == 0 {
        assert!(Instant::now() < until, "only {warmed} operations to warm up");
        warmed += watch(&cache, Duration::from_secs(1), false).await.1;
    }
    // A slow disk delays the bounds; a leak grows in each window.
    let (mut grown, mut operations) = (f64::MAX, 0);
    for _ in 0..WINDOWS {
        let (samples, more) = watch(&cache, span, false).await;
        operations += more;
        grown = grown.min(growth(&samples));
        println!("{more} operations, {:.2} MB more", growth(&samples) / 1e6);
        if grown < NOISE_BYTES {
            break;
        }
    }
    tally.attempts(usize::try_from(operations).unwrap());
    tally.note(format!("{:.1} MB more in {:.0} s", grown / 1e6, span.as_secs_f64() * 2.0 / 3.0));
    assert!(grown < NOISE_BYTES, "{:.1} MB more after {operations} operations", grown / 1e6);
    cache.close().await.unwrap();
    drop(cache);

    let until = Instant::now() + Duration::from_secs(5);
    while (descriptors(), tasks()) > before {
        assert!(
            Instant::now() < until,
            "{:?} descriptors and tasks were {before:?}",
            (descriptors(), tasks())
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let cache = Cache::memory();
    let (samples, operations) = watch(&cache, Duration::from_secs(3), true).await;
    let leaked = growth(&samples);
    assert!(
        leaked > NOISE_BYTES,
        "a leak of 256 bytes in each of {operations} operations was not seen: {leaked}"
    );
}
