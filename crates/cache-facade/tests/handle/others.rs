//! Loads that wait for a load of another instance: two caches over one store that says which tokens are shared.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_facade::backend::{CacheBackend, FillOutcome, FillToken, Lookup, MemoryBackend, NewEntry};
use cache_facade::{
    BackendKind, Cache, CacheConfig, Invalidated, Invalidation, LoadError, LoadOptions, Loaded, Result,
    Source,
};
use tokio::time::{Instant, sleep};

use crate::support::*;

/// The wait of all loads here.
const WAIT: Duration = Duration::from_secs(2);

/// How late a wait may end.
const LATE: Duration = Duration::from_millis(60);

/// A memory backend that knows which tokens an earlier lookup returned.
#[derive(Debug, Default)]
struct Leases {
    inner: MemoryBackend,
    returned: Mutex<Vec<FillToken>>,
    /// The lookup that is the first to return a token answers later than those behind it.
    first_is_late: AtomicBool,
}

#[async_trait]
impl CacheBackend for Leases {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("leases")
    }

    async fn lookup(&self, key: &cache_facade::CacheKey) -> Result<Lookup> {
        let found = self.inner.lookup(key).await?;
        if found.entry.is_some() {
            return Ok(found);
        }
        let is_shared = {
            let mut returned = self.returned.lock().unwrap();
            let is_shared = returned.contains(&found.token);
            returned.push(found.token);
            is_shared
        };
        if !is_shared && self.first_is_late.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Lookup { token: if is_shared { found.token.shared() } else { found.token }, ..found })
    }

    async fn fill(
        &self,
        key: &cache_facade::CacheKey,
        token: FillToken,
        entry: NewEntry,
    ) -> Result<FillOutcome> {
        self.inner.fill(key, token, entry).await
    }

    async fn set(&self, key: &cache_facade::CacheKey, entry: NewEntry) -> Result<()> {
        self.inner.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.inner.invalidate(what).await
    }
}

/// Two instances, and the number of their loads.
struct Site {
    store: Arc<Leases>,
    one: Cache,
    other: Cache,
    loads: Arc<AtomicU64>,
}

impl Site {
    fn new() -> Self {
        let store = Arc::new(Leases::default());
        let (one, other) = (Cache::new(store.clone()), Cache::new(store.clone()));
        Self { store, one, other, loads: Arc::default() }
    }

    /// Begins a call of `cache`, whose load takes `time` and then gives its number, or fails.
    fn call(
        &self,
        cache: &Cache,
        wait: Duration,
        time: Duration,
        fails: bool,
    ) -> tokio::task::JoinHandle<std::result::Result<Loaded<u64>, LoadError<&'static str>>> {
        let (cache, loads) = (cache.clone(), Arc::clone(&self.loads));
        let load = async move || {
            let number = loads.fetch_add(1, Ordering::SeqCst) + 1;
            sleep(time).await;
            if fails { Err("the database is away") } else { Ok(number) }
        };
        let options = LoadOptions::new().wait_for_others(wait);
        tokio::spawn(async move { cache.get_or_load(&key(1), load).options(options).details().await })
    }

    /// Begins a call of `one`, which creates the lease, and whose load takes `time`.
    async fn begin(&self, time: Duration) {
        self.call(&self.one, WAIT, time, false);
        let_others_run().await;
        assert_eq!(self.loads.load(Ordering::SeqCst), 1);
    }

    /// Calls `other`, and returns value, source and time.
    async fn ask(&self, wait: Duration) -> (u64, Source, Duration) {
        let asked = Instant::now();
        let loaded = self.call(&self.other, wait, Duration::ZERO, false).await.unwrap().unwrap();
        (loaded.value, loaded.source, asked.elapsed())
    }
}

fn is_about(time: Duration, expected: Duration) -> bool {
    (expected..expected + LATE).contains(&time)
}

#[tokio::test(start_paused = true)]
async fn a_value_that_another_instance_loads_is_waited_for_and_only_with_the_option() {
    let site = Site::new();
    site.begin(Duration::from_millis(300)).await;
    let (value, source, time) = site.ask(WAIT).await;
    assert_eq!((value, source), (1, Source::Waited));
    assert!(is_about(time, Duration::from_millis(300)), "{time:?}");
    assert_eq!(site.ask(WAIT).await, (1, Source::Hit, Duration::ZERO));

    let site = Site::new();
    site.begin(Duration::from_millis(300)).await;
    assert_eq!(site.ask(Duration::ZERO).await, (2, Source::Loaded, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_set_by_family_and_an_option_wins() {
    let config = [("CACHE_LOAD_WAIT_MS_IMAGE", "2000")];
    for (options, source) in [
        (LoadOptions::new(), Source::Waited),
        (LoadOptions::new().wait_for_others(Duration::ZERO), Source::Loaded),
    ] {
        let site = Site::new();
        site.begin(Duration::from_millis(300)).await;
        let config = CacheConfig::from_pairs(config).unwrap();
        let other = Cache::builder(site.store.clone()).config(config).build();
        let load = async || Ok::<_, Nothing>(7_u64);
        assert_eq!(other.get_or_load(&key(1), load).options(options).details().await.unwrap().source, source);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_does_not_end_costs_the_wait() {
    let site = Site::new();
    site.begin(Duration::MAX).await;
    let (value, source, time) = site.ask(WAIT).await;
    assert_eq!((value, source), (2, Source::Loaded));
    assert!(is_about(time, WAIT), "{time:?}");
    assert_eq!(site.ask(WAIT).await.1, Source::Hit, "its own token was good");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_failed_is_waited_for_once_by_another_instance_and_never_by_its_own() {
    let site = Site::new();
    let fails = async |cache: &Cache| {
        let asked = Instant::now();
        assert!(site.call(cache, WAIT, Duration::ZERO, true).await.unwrap().is_err());
        asked.elapsed()
    };
    assert_eq!(fails(&site.one).await, Duration::ZERO);
    assert_eq!(fails(&site.one).await, Duration::ZERO);
    assert!(is_about(fails(&site.other).await, WAIT));
    assert_eq!(fails(&site.other).await, Duration::ZERO);
}

/// The caller that created the lease joins a load that waits for it: see `OwnTokens`.
#[tokio::test(start_paused = true)]
async fn a_cache_does_not_wait_for_a_lease_of_its_own() {
    let site = Site::new();
    site.store.first_is_late.store(true, Ordering::SeqCst);
    let first = site.call(&site.other, WAIT, Duration::ZERO, false);
    let_others_run().await;
    let (value, source, time) = site.ask(WAIT).await;
    assert_eq!((value, source), (1, Source::Loaded));
    assert!(is_about(time, Duration::from_millis(20)), "{time:?}");
    assert_eq!(first.await.unwrap().unwrap().source, Source::Waited);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_ends_the_wait_with_a_load_of_its_own() {
    let site = Site::new();
    site.begin(Duration::from_secs(1)).await;
    let asked = Instant::now();
    let waits = site.call(&site.other, WAIT, Duration::ZERO, false);
    sleep(Duration::from_millis(300)).await;
    let _ = site.one.invalidate(&key(1)).await.unwrap();
    let loaded = waits.await.unwrap().unwrap();
    assert_eq!((loaded.value, loaded.source), (2, Source::Loaded));
    assert!(is_about(asked.elapsed(), Duration::from_millis(300)), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn callers_that_joined_a_load_that_waits_get_its_value_though_its_caller_is_cancelled() {
    let site = Site::new();
    site.begin(Duration::from_millis(300)).await;
    let first = site.call(&site.other, WAIT, Duration::ZERO, false);
    let_others_run().await;
    let second = site.call(&site.other, WAIT, Duration::ZERO, false);
    let_others_run().await;
    first.abort();
    let loaded = second.await.unwrap().unwrap();
    assert_eq!((loaded.value, loaded.source), (1, Source::Waited));
}

#[tokio::test(start_paused = true)]
async fn the_load_timeout_starts_after_the_wait() {
    let site = Site::new();
    let config = CacheConfig::builder().load_timeout(Duration::from_millis(100)).build().unwrap();
    let other = Cache::builder(site.store.clone()).config(config).build();
    site.begin(Duration::MAX).await;
    let time = Duration::from_millis(90);
    let first = site.call(&other, WAIT, time, false);
    sleep(WAIT / 2).await;
    let second = site.call(&other, WAIT, time, false);
    for caller in [first, second] {
        assert_eq!(caller.await.unwrap().unwrap().value, 2, "one load for both");
    }
}
