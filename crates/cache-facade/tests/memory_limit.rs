//! Values in memory take no more of the allocator than `CACHE_MEMORY_MB` allows.
//!
//! `RELIABILITY_TIMES=100 cargo test -p cache-facade --test memory_limit` makes millions of reads.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::alloc::System;
use std::path::Path;
use std::time::Duration;

use cache_facade::{Cache, CacheConfig, CacheKey};
use cap::Cap;
use serde::{Deserialize, Serialize};
use testkit::reliability::times;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MEMORY_MB: u64 = 8;
/// How far the figures of the allocator may be above the limit.
const TOLERANCE: f64 = 1.1;
/// The least share of the limit that has to be in use, so that the test measures something.
const USED: f64 = 0.7;
/// Values of a few kilobytes, and listings: more than fits into memory.
const TEXTS: u64 = 6000;
const LISTINGS: u64 = 600;
/// Reads of one run; each is of a random key.
const READS: usize = 20_000;

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
    width: u32,
    created: i64,
    tag: Option<String>,
}

fn text(number: u64) -> String {
    "x".repeat(200 + usize::try_from(number % 4000).unwrap())
}

fn listing(number: u64) -> Vec<Row> {
    let row = |id| Row {
        id,
        name: format!("a picture of the bridge {id}.jpeg"),
        width: 6000,
        created: 1_700_000_000,
        tag: (id % 2 == 0).then(|| "bridge".to_owned()),
    };
    (number..number + 100).map(row).collect()
}

fn key(family: &str, number: u64) -> CacheKey {
    CacheKey::builder(family, number).build().unwrap()
}

async fn open(directory: &Path, memory_mb: u64) -> Cache {
    let config =
        CacheConfig::builder().directory(directory).size_mb(64).page_cache_mb(1).memory_mb(memory_mb);
    Cache::connect(config.build().unwrap()).await.unwrap()
}

/// One read of a random value, or, of some, a change and a load.
async fn turn(cache: &Cache, dice: u64) {
    let (text_key, listing_key) = (key("text", dice % TEXTS), key("listing", dice % LISTINGS));
    let load_listing = async move || Ok::<_, &str>(listing(dice % LISTINGS));
    match dice >> 40 & 0x3ff {
        0 => {
            let _ = cache.invalidate(&listing_key).await.unwrap();
            drop(cache.get_or_load_shared(&listing_key, load_listing).await.unwrap());
        }
        1..512 => drop(cache.get_or_load_shared(&listing_key, load_listing).await.unwrap()),
        _ => drop(cache.get::<String>(&text_key).await),
    }
}

/// Returns how many bytes the allocator gave during the reads and did not get back.
async fn grown(directory: &Path, memory_mb: u64, reads: usize) -> f64 {
    let cache = open(directory, memory_mb).await;
    // Until the index is loaded.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = ALLOCATOR.allocated();
    let mut dice: u64 = 1;
    for _ in 0..reads {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        turn(&cache, dice >> 8).await;
    }
    // Until nothing waits for the disk.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = ALLOCATOR.allocated() as f64 - before as f64;
    println!("{:?}", cache.stats().await.unwrap().near);
    cache.close().await.unwrap();
    grown
}

#[tokio::test]
async fn encoded_and_decoded_values_stay_within_the_limit_by_the_figures_of_the_allocator() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), 0).await;
    for number in 0..TEXTS {
        cache.set(&key("text", number), &text(number)).await.unwrap();
    }
    for number in 0..LISTINGS {
        cache.set(&key("listing", number), &listing(number)).await.unwrap();
    }
    cache.close().await.unwrap();
    drop(cache);

    let reads = times(READS);
    let without = grown(directory.path(), 0, reads).await;
    let with = grown(directory.path(), MEMORY_MB, reads).await;
    let (taken, limit) = (with - without, (MEMORY_MB << 20) as f64);
    println!("{:.2} MB of {MEMORY_MB}; {:.2} MB without memory", taken / 1e6, without / 1e6);
    assert!((limit * USED..limit * TOLERANCE).contains(&taken), "{taken} bytes of {limit}");
}
