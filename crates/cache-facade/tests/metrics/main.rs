//! The metrics of the feature `metrics`, by name.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

mod book;
mod documents;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cache_facade::{Cache, CacheConfig, CacheKey, LoadOptions, ManualClock, backend::MemoryBackend};

use crate::book::Book;

fn recorded(test: impl AsyncFnOnce(Cache)) -> BTreeMap<String, u64> {
    let book = Book::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&book, || runtime.block_on(test(Cache::memory())));
    let mut counts = book.counts();
    counts.retain(|name, _| !name.starts_with("cache_operation_seconds"));
    counts
}

fn key(family: &str) -> CacheKey {
    CacheKey::builder(family, 5).build().unwrap()
}

async fn ask(cache: &Cache, key: &CacheKey) -> u32 {
    cache.get_or_load(key, async || Ok::<_, std::convert::Infallible>(7)).await.unwrap()
}

#[test]
fn events_are_counted_by_family_and_backend() {
    let counts = recorded(async |cache| {
        let image = key("image");
        let (one, two) = tokio::join!(ask(&cache, &image), ask(&cache, &image));
        assert_eq!((one, two), (7, 7));
        ask(&cache, &key("image")).await;
        let _ = cache.invalidate(&key("image")).await.unwrap();
        let inner = cache.clone();
        let load = async move || {
            let _ = inner.clear().await;
            Ok::<_, std::convert::Infallible>(8_u32)
        };
        assert_eq!(cache.get_or_load(&key("image"), load).await.unwrap(), 8);
    });
    let expected = [
        ("cache_coalesced_total{family=image,backend=memory}", 1),
        ("cache_fills_refused_total{family=image,backend=memory}", 1),
        ("cache_fills_total{family=image,backend=memory}", 1),
        ("cache_hits_total{family=image,backend=memory}", 1),
        ("cache_invalidated_entries_total{backend=memory}", 1),
        ("cache_invalidations_total{backend=memory}", 2),
        ("cache_load_seconds{family=image,backend=memory}", 2),
        ("cache_misses_total{family=image,backend=memory}", 3),
    ];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

#[test]
fn operations_of_the_store_are_measured() {
    let book = Book::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&book, || {
        runtime.block_on(async {
            let cache = Cache::memory();
            ask(&cache, &key("image")).await;
            cache.get::<u32>(&key("image")).await;
            let _ = cache.invalidate(&key("image")).await.unwrap();
        });
    });
    let counts = book.counts();
    for (operation, count) in [("lookup", 2), ("fill", 1), ("invalidate", 1)] {
        let name = format!("cache_operation_seconds{{operation={operation},backend=memory}}");
        assert_eq!(counts.get(&name), Some(&count), "{name}");
    }
}

#[test]
fn statistics_of_the_backend_are_shown_on_request() {
    let counts = recorded(async |cache| {
        ask(&cache, &key("image")).await;
        cache.show_stats().await;
    });
    assert_eq!(counts.get("cache_entries{family=image}"), Some(&1));
    assert_eq!(counts.get("cache_limit_bytes{}"), Some(&(64 << 20)));
    assert!(
        counts.contains_key("cache_size_bytes{}") && counts.contains_key("cache_entries_bytes{family=image}")
    );
}

#[test]
fn stale_values_and_verifications_are_counted() {
    let book = Book::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&book, || {
        runtime.block_on(async {
            let clock = Arc::new(ManualClock::new());
            let store = Arc::new(MemoryBackend::new().clock(clock.clone()));
            let config = CacheConfig::builder().clock(clock.clone()).verify(1.0).build().unwrap();
            let cache = Cache::builder(store).config(config).build();
            let rows = Arc::new(AtomicU32::new(0));
            let changing = || {
                let rows = Arc::clone(&rows);
                async move || Ok::<_, std::convert::Infallible>(rows.fetch_add(1, Ordering::SeqCst))
            };
            for _ in 0..2 {
                cache.get_or_load(&key("image"), changing()).await.unwrap();
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            let old = || {
                LoadOptions::new().ttl(Duration::from_secs(1)).stale_while_revalidate(Duration::from_secs(9))
            };
            cache.get_or_load(&key("rate"), changing()).options(old()).details().await.unwrap();
            for fails in [true, false] {
                clock.advance(Duration::from_secs(2));
                let load = async move || if fails { Err("away") } else { Ok(1) };
                cache.get_or_load(&key("rate"), load).options(old()).details().await.unwrap();
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        });
    });
    let counts = book.counts();
    for (name, family, count) in [
        ("cache_verified_total", "image", 1),
        ("cache_verify_mismatches_total", "image", 1),
        ("cache_stale_total", "rate", 2),
        ("cache_refreshes_total", "rate", 2),
        ("cache_refreshes_failed_total", "rate", 1),
    ] {
        assert_eq!(counts.get(&format!("{name}{{family={family},backend=memory}}")), Some(&count), "{name}");
    }
}

#[test]
fn families_past_the_thirty_second_are_counted_together() {
    let counts = recorded(async |cache| {
        for number in 0..40 {
            ask(&cache, &key(&format!("family-{number}"))).await;
        }
    });
    assert_eq!(counts.get("cache_misses_total{family=family-31,backend=memory}"), Some(&1));
    assert_eq!(counts.get("cache_misses_total{family=other,backend=memory}"), Some(&8));
    assert_eq!(counts.keys().filter(|name| name.starts_with("cache_misses_total")).count(), 33);
}

#[cfg(feature = "disk")]
#[test]
fn reads_from_memory_and_its_space_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let config = CacheConfig::builder().directory(directory.path()).size_mb(8).memory_mb(8).build().unwrap();
    let counts = recorded(async |_| {
        let cache = Cache::connect(config).await.unwrap();
        for _ in 0..4 {
            ask(&cache, &key("image")).await;
        }
        cache.show_stats().await;
    });
    let shown = |name: &str| counts.get(name).copied();
    assert_eq!(
        shown("cache_near_hits_total{backend=disk}"),
        Some(2),
        "a load, a hit on disk, and then memory"
    );
    assert_eq!(shown("cache_near_sessions{}"), Some(1));
    assert!(shown("cache_near_bytes{}").is_some_and(|bytes| bytes > 300), "{counts:?}");
    assert_eq!(shown("cache_hits_total{family=image,backend=disk}"), Some(3));
}

#[cfg(all(feature = "disk", feature = "redis"))]
#[test]
fn an_outage_of_redis_and_its_pending_invalidations_are_shown() {
    let book = Book::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shown = |name: &str| book.counts().get(name).copied().unwrap_or_default();
    metrics::with_local_recorder(&book, || {
        runtime.block_on(async {
            let mut server = testkit::RedisServer::start().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let redis = cache_facade::RedisConfig::at("127.0.0.1").port(server.port());
            let config = cache_facade::CacheConfig::builder().directory(directory.path()).size_mb(8);
            let cache = Cache::connect(config.redis(redis).build().unwrap()).await.unwrap();
            assert_eq!(shown("cache_breaker_state{}"), 0);
            server.kill().unwrap();
            let _ = cache.invalidate(&key("image")).await.unwrap();
            assert_eq!((shown("cache_breaker_state{}"), shown("cache_journal_depth{}")), (2, 1));
            server.restart(testkit::Restart::Empty).unwrap();
            for _ in 0..3_000 {
                if shown("cache_breaker_state{}") == 0 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert_eq!((shown("cache_breaker_state{}"), shown("cache_journal_depth{}")), (0, 0));
            let node = format!("cache_redis_node_up{{node=127.0.0.1:{}}}", server.port());
            for _ in 0..3_000 {
                if shown(&node) == 1 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert_eq!(shown(&node), 1, "{:?}", book.counts());
        });
    });
}

#[test]
fn errors_are_counted_by_operation() {
    let counts = recorded(async |cache| {
        cache.close().await.unwrap();
        ask(&cache, &key("image")).await;
    });
    assert_eq!(counts.get("cache_errors_total{operation=lookup,backend=memory}"), Some(&1));
}
