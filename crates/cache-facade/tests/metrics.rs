//! What the feature `metrics` counts, by name.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cache_facade::{Cache, CacheKey};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// Keeps every counter under its name and labels; a histogram counts its records.
#[derive(Debug, Default)]
struct Book(Mutex<BTreeMap<String, Arc<Figure>>>);

#[derive(Debug, Default)]
struct Figure(AtomicU64);

impl CounterFn for Figure {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }
}

impl GaugeFn for Figure {
    fn increment(&self, value: f64) {
        self.set(value);
    }

    fn decrement(&self, value: f64) {
        self.set(value);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "gauges here are small counts"
    )]
    fn set(&self, value: f64) {
        self.0.store(value as u64, Ordering::SeqCst);
    }
}

impl HistogramFn for Figure {
    fn record(&self, _value: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Book {
    fn figure(&self, key: &Key) -> Arc<Figure> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let figures = self.0.lock().unwrap();
        let counts = figures.iter().map(|(name, figure)| (name.clone(), figure.0.load(Ordering::SeqCst)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.figure(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.figure(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.figure(key))
    }
}

fn recorded(test: impl AsyncFnOnce(Cache)) -> BTreeMap<String, u64> {
    let book = Book::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&book, || runtime.block_on(test(Cache::memory())));
    book.counts()
}

fn key(family: &str) -> CacheKey {
    CacheKey::builder(family, 5).build().unwrap()
}

async fn ask(cache: &Cache, key: &CacheKey) -> u32 {
    cache.get_or_load(key, async || Ok::<_, std::convert::Infallible>(7)).await.unwrap()
}

#[test]
fn what_a_cache_does_is_counted_by_family_and_backend() {
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

#[cfg(all(feature = "disk", feature = "redis"))]
#[test]
fn an_outage_of_redis_and_what_waits_for_it_are_shown() {
    let book = Book::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shown = |name: &str| book.counts().get(name).copied().unwrap_or_default();
    metrics::with_local_recorder(&book, || {
        runtime.block_on(async {
            let mut server = testkit::RedisServer::start().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let redis = cache_facade::RedisConfig::at("127.0.0.1").with_port(server.port());
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
        });
    });
}

#[test]
fn trouble_is_counted_by_operation() {
    let counts = recorded(async |cache| {
        cache.close().await.unwrap();
        ask(&cache, &key("image")).await;
    });
    assert_eq!(counts.get("cache_errors_total{operation=lookup,backend=memory}"), Some(&1));
}
