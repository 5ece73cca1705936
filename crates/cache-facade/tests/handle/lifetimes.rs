//! Lifetimes of values, fresh and stale, by a clock that the tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_facade::{
    Cache, CacheConfig, LoadError, LoadOptions, ManualClock, Source,
    backend::{CacheBackend, MemoryBackend},
    config::CacheConfigBuilder,
};
use tokio::sync::Semaphore;

use crate::support::{Faulty, Nothing, key, let_others_run};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A cache with a manual clock.
pub(crate) struct Timed {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) cache: Cache,
}

impl Timed {
    pub(crate) fn new() -> Self {
        Self::configured(|config| config)
    }

    pub(crate) fn configured(settings: impl FnOnce(CacheConfigBuilder) -> CacheConfigBuilder) -> Self {
        let clock = Arc::new(ManualClock::new());
        let store = Arc::new(MemoryBackend::new().clock(clock.clone()));
        Self::over(clock, store, settings)
    }

    pub(crate) fn over(
        clock: Arc<ManualClock>,
        store: Arc<dyn CacheBackend>,
        settings: impl FnOnce(CacheConfigBuilder) -> CacheConfigBuilder,
    ) -> Self {
        let config = settings(CacheConfig::builder()).clock(clock.clone()).build().unwrap();
        Self { clock, cache: Cache::builder(store).config(config).build() }
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Reads the value; a load gives `value`.
    pub(crate) async fn ask(&self, options: LoadOptions<u32>, value: u32) -> (u32, Source) {
        let load = async move || Ok::<_, Nothing>(value);
        let loaded = self.cache.get_or_load(&key(1), load).options(options).details().await.unwrap();
        let_others_run().await;
        (loaded.value, loaded.source)
    }

    /// Reads the value; a load fails.
    pub(crate) async fn ask_in_vain(&self, options: LoadOptions<u32>) -> Result<(u32, Source), String> {
        let load = async || Err::<u32, _>("the database is away");
        let asked = self.cache.get_or_load(&key(1), load).options(options).details().await;
        let_others_run().await;
        asked.map(|loaded| (loaded.value, loaded.source)).map_err(|error| error.to_string())
    }
}

pub(crate) fn revalidated() -> LoadOptions<u32> {
    LoadOptions::new().ttl(MINUTE).stale_while_revalidate(MINUTE)
}

pub(crate) fn tolerant() -> LoadOptions<u32> {
    LoadOptions::new().ttl(MINUTE).stale_if_error(MINUTE)
}

#[tokio::test]
async fn without_options_no_value_expires() {
    let timed = Timed::new();
    timed.ask(LoadOptions::new(), 1).await;
    timed.wait(1 << 40);
    assert_eq!(timed.ask(LoadOptions::new(), 2).await, (1, Source::Hit));
}

#[tokio::test]
async fn a_value_expires_as_its_load_says() {
    let timed = Timed::new();
    timed.ask(LoadOptions::new().ttl(MINUTE), 1).await;
    timed.wait(59);
    assert_eq!(timed.ask(LoadOptions::new(), 2).await, (1, Source::Hit));
    timed.wait(1);
    assert_eq!(timed.ask(LoadOptions::new(), 3).await, (3, Source::Loaded));
}

#[tokio::test]
async fn a_value_may_decide_its_own_expiry() {
    let timed = Timed::new();
    let by_value = || {
        LoadOptions::new()
            .ttl(MINUTE)
            .ttl_by(|n: &u32| (*n < 5).then_some(Duration::from_secs(u64::from(*n))))
    };
    timed.ask(by_value(), 3).await;
    timed.wait(3);
    assert_eq!(timed.ask(by_value(), 7).await, (7, Source::Loaded));
    timed.wait(59);
    assert_eq!(timed.ask(by_value(), 8).await, (7, Source::Hit));
    timed.wait(1);
    assert_eq!(timed.ask(by_value(), 9).await, (9, Source::Loaded));
}

#[tokio::test]
async fn a_negative_result_is_cached_for_its_own_time() {
    let Timed { clock, cache } = Timed::new();
    let ask = async |found: Option<u32>| {
        let options = LoadOptions::new().negative(Duration::from_secs(10));
        let load = async move || Ok::<_, Nothing>(found);
        let loaded = cache.get_or_load(&key(1), load).options(options).details().await.unwrap();
        (loaded.value, loaded.source)
    };
    assert_eq!(ask(None).await, (None, Source::Loaded));
    clock.advance(Duration::from_secs(9));
    assert_eq!(ask(Some(1)).await, (None, Source::Hit));
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask(Some(1)).await, (Some(1), Source::Loaded));
    clock.advance(100 * MINUTE);
    assert_eq!(ask(None).await, (Some(1), Source::Hit));
}

#[tokio::test]
async fn a_negative_result_is_gone_right_after_its_row_was_created() {
    let Timed { cache, .. } = Timed::new();
    let options = || LoadOptions::new().negative(MINUTE);
    let absent = cache
        .get_or_load(&key(1), async || Ok::<Option<u32>, Nothing>(None))
        .options(options())
        .details()
        .await;
    assert_eq!(absent.unwrap().value, None);
    cache.change(&key(1), async || Ok::<_, Nothing>(())).await.unwrap();
    let present =
        cache.get_or_load(&key(1), async || Ok::<_, Nothing>(Some(1_u32))).options(options()).details().await;
    assert_eq!(present.unwrap().value, Some(1));
}

#[tokio::test]
async fn a_stale_value_is_served_during_its_refresh_and_no_longer_than_its_window() {
    let timed = Timed::new();
    assert_eq!(timed.ask(revalidated(), 1).await, (1, Source::Loaded));
    timed.wait(59);
    assert_eq!(timed.ask(revalidated(), 2).await, (1, Source::Hit));
    timed.wait(60);
    assert_eq!(timed.ask(revalidated(), 3).await, (1, Source::Stale));
    assert_eq!(timed.ask(revalidated(), 4).await, (3, Source::Hit), "the load in the background stored it");
    timed.wait(120);
    assert_eq!(timed.ask(revalidated(), 5).await, (5, Source::Loaded), "too old for anybody");
}

#[tokio::test]
async fn a_caller_that_does_not_allow_stale_values_gets_none() {
    let timed = Timed::new();
    timed.ask(revalidated(), 1).await;
    timed.wait(60);
    assert_eq!(timed.cache.get::<u32>(&key(1)).await, None);
    assert_eq!(timed.cache.get_many::<u32>(&[key(1)]).await, [None]);
    assert!(!timed.cache.contains(&key(1)).await);
    assert_eq!(timed.ask(LoadOptions::new(), 2).await, (2, Source::Loaded));
}

/// A background load that has read `value`, and waits for a permit.
async fn slow_refresh(cache: &Cache, options: LoadOptions<u32>, value: u32) -> (u32, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let load = {
        let gate = Arc::clone(&gate);
        async move || {
            gate.acquire().await.unwrap().forget();
            Ok::<_, Nothing>(value)
        }
    };
    let served = cache.get_or_load(&key(1), load).options(options).details().await.unwrap();
    let_others_run().await;
    (served.value, gate)
}

#[tokio::test]
async fn a_refresh_that_an_invalidation_overtakes_is_not_stored_and_the_stale_value_is_gone() {
    for options in [revalidated, || LoadOptions::new().ttl(100 * MINUTE).refresh_ahead(1.0)] {
        let timed = Timed::new();
        timed.ask(options(), 1).await;
        timed.wait(60);
        let (served, gate) = slow_refresh(&timed.cache, options(), 2).await;
        assert_eq!(served, 1);
        let _ = timed.cache.delete(&key(1)).await.unwrap();
        assert_eq!(timed.cache.get::<u32>(&key(1)).await, None);
        gate.add_permits(1);
        let_others_run().await;
        assert_eq!(timed.cache.get::<u32>(&key(1)).await, None);
        assert_eq!(timed.ask(options(), 3).await, (3, Source::Loaded));
    }
}

#[tokio::test]
async fn many_callers_of_a_stale_value_cause_one_load_and_do_not_wait_for_it() {
    let timed = Timed::new();
    timed.ask(revalidated(), 1).await;
    timed.wait(60);
    let loads = Arc::new(AtomicU64::new(0));
    let gate = Arc::new(Semaphore::new(0));
    for _ in 0..100 {
        let (loads, gate) = (Arc::clone(&loads), Arc::clone(&gate));
        let load = async move || {
            loads.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            Ok::<_, Nothing>(2)
        };
        let served = timed.cache.get_or_load(&key(1), load).options(revalidated()).details().await.unwrap();
        assert_eq!((served.value, served.source), (1, Source::Stale));
    }
    let_others_run().await;
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    gate.add_permits(1);
    let_others_run().await;
    assert_eq!(timed.ask(revalidated(), 3).await, (2, Source::Hit));
}

#[tokio::test]
async fn refreshes_in_the_background_are_bounded() {
    let Timed { clock, cache } = Timed::new();
    let running = Arc::new(AtomicU64::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let ask = async |id: u64| {
        let (running, gate) = (Arc::clone(&running), Arc::clone(&gate));
        let load = async move || {
            running.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            Ok::<_, Nothing>(2)
        };
        cache.get_or_load(&key(id), load).options(revalidated()).details().await.unwrap().source
    };
    for id in 0..100 {
        let options = revalidated();
        cache.get_or_load(&key(id), async || Ok::<_, Nothing>(1)).options(options).details().await.unwrap();
    }
    clock.advance(MINUTE);
    for id in 0..100 {
        assert_eq!(ask(id).await, Source::Stale);
    }
    let_others_run().await;
    assert_eq!(running.load(Ordering::SeqCst), 64);
    gate.add_permits(100);
    let_others_run().await;
    assert_eq!(ask(99).await, Source::Stale);
    let_others_run().await;
    assert_eq!(
        (running.load(Ordering::SeqCst), ask(99).await),
        (65, Source::Hit),
        "the places are free again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_background_load_that_hangs_takes_one_permit() {
    let Timed { clock, cache } = Timed::new();
    let options = || LoadOptions::new().ttl(MINUTE).stale_while_revalidate(Duration::MAX);
    for id in [1, 2] {
        cache.get_or_load(&key(id), async || Ok::<_, Nothing>(1)).options(options()).details().await.unwrap();
    }
    clock.advance(MINUTE);
    for _ in 0..100 {
        let hangs = async || std::future::pending::<Result<u32, Nothing>>().await;
        let served = cache.get_or_load(&key(1), hangs).options(options()).details().await.unwrap();
        assert_eq!((served.value, served.source), (1, Source::Stale));
        // Its deadline is over.
        tokio::time::sleep(Duration::from_secs(31)).await;
    }
    cache.get_or_load(&key(2), async || Ok::<_, Nothing>(2)).options(options()).details().await.unwrap();
    let_others_run().await;
    let refreshed =
        cache.get_or_load(&key(2), async || Ok::<_, Nothing>(3)).options(options()).details().await.unwrap();
    assert_eq!((refreshed.value, refreshed.source), (2, Source::Hit));
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_stale_value_to_the_end_of_its_window() {
    let timed = Timed::new();
    timed.ask(revalidated(), 1).await;
    timed.wait(60);
    assert_eq!(timed.ask_in_vain(revalidated()).await, Ok((1, Source::Stale)));
    timed.wait(1);
    let panics = async || -> Result<u32, Nothing> { panic!("broken") };
    let served = timed.cache.get_or_load(&key(1), panics).options(revalidated()).details().await.unwrap();
    assert_eq!((served.value, served.source), (1, Source::Stale));
    let_others_run().await;
    timed.wait(1);
    assert_eq!(timed.ask(revalidated(), 2).await, (1, Source::Stale));
    assert_eq!(timed.ask(revalidated(), 3).await, (2, Source::Hit));
}

#[tokio::test]
async fn after_a_background_load_failed_none_begins_for_its_key_within_a_second() {
    let options = [revalidated, || LoadOptions::new().ttl(100 * MINUTE).refresh_ahead(1.0)];
    for options in options {
        let Timed { clock, cache } = Timed::new();
        let loads = Arc::new(AtomicU64::new(0));
        let ask = async |id| {
            let loads = Arc::clone(&loads);
            let load = async move || {
                loads.fetch_add(1, Ordering::SeqCst);
                Err::<u32, _>("the database is away")
            };
            cache.get_or_load(&key(id), load).options(options()).details().await.unwrap();
            let_others_run().await;
        };
        for id in [1, 2] {
            cache
                .get_or_load(&key(id), async || Ok::<_, &str>(1))
                .options(options())
                .details()
                .await
                .unwrap();
        }
        clock.advance(MINUTE);
        for (millis, loaded) in [(0, 1), (0, 1), (999, 1), (1, 2), (0, 2), (1000, 3)] {
            clock.advance(Duration::from_millis(millis));
            ask(1).await;
            assert_eq!(loads.load(Ordering::SeqCst), loaded, "{millis} ms later");
        }
        ask(2).await;
        assert_eq!(loads.load(Ordering::SeqCst), 4, "another key has no part in it");
    }
}

#[tokio::test]
async fn a_value_that_is_read_late_in_its_time_to_live_is_refreshed_before_it_expires() {
    let timed = Timed::new();
    let options = || LoadOptions::new().ttl(MINUTE).refresh_ahead(0.5);
    timed.ask(options(), 1).await;
    timed.wait(29);
    assert_eq!(timed.ask(options(), 2).await, (1, Source::Hit));
    assert_eq!(timed.ask(options(), 3).await, (1, Source::Hit), "it was not loaded anew before its time");
    timed.wait(1);
    assert_eq!(timed.ask(options(), 4).await, (1, Source::Hit));
    timed.wait(29);
    assert_eq!(timed.ask(options(), 5).await, (4, Source::Hit));
    timed.wait(60);
    assert_eq!(timed.ask(options(), 6).await, (6, Source::Loaded));
}

#[tokio::test]
async fn a_stale_value_is_served_after_a_failed_load_and_no_longer_than_its_window() {
    let timed = Timed::new();
    timed.ask(tolerant(), 1).await;
    timed.wait(60);
    assert_eq!(timed.ask_in_vain(tolerant()).await, Ok((1, Source::Stale)));
    assert_eq!(timed.ask_in_vain(LoadOptions::new()).await, Err("the database is away".to_owned()));
    let panics = async || -> Result<u32, Nothing> { panic!("broken") };
    let served = timed.cache.get_or_load(&key(1), panics).options(tolerant()).details().await.unwrap();
    assert_eq!((served.value, served.source), (1, Source::Stale));
    timed.wait(60);
    assert!(timed.ask_in_vain(tolerant()).await.is_err());
    assert_eq!(timed.ask(tolerant(), 2).await, (2, Source::Loaded));
}

#[tokio::test]
async fn a_stale_value_that_was_invalidated_is_not_served_after_a_failed_load() {
    let timed = Timed::new();
    timed.ask(tolerant(), 1).await;
    timed.wait(60);
    let gate = Arc::new(Semaphore::new(0));
    let asking = tokio::spawn({
        let (cache, gate) = (timed.cache.clone(), Arc::clone(&gate));
        async move {
            let load = async move || {
                gate.acquire().await.unwrap().forget();
                Err::<u32, _>("away")
            };
            cache.get_or_load(&key(1), load).options(tolerant()).details().await
        }
    });
    let_others_run().await;
    let _ = timed.cache.delete(&key(1)).await.unwrap();
    gate.add_permits(1);
    assert!(matches!(asking.await.unwrap(), Err(LoadError::Failed(_))));
}

#[tokio::test]
async fn a_fresh_value_served_after_a_failed_load_is_a_hit() {
    let timed = Timed::new();
    timed.ask(tolerant(), 1).await;
    timed.wait(60);
    let cache = timed.cache.clone();
    let load = async move || {
        cache.set(&key(1), &2_u32).await.unwrap();
        Err::<u32, _>("away")
    };
    let served = timed.cache.get_or_load(&key(1), load).options(tolerant()).details().await.unwrap();
    assert_eq!((served.value, served.source), (2, Source::Hit));
}

#[tokio::test]
async fn all_callers_that_waited_for_a_failed_load_get_the_stale_value() {
    let timed = Timed::new();
    timed.ask(tolerant(), 1).await;
    timed.wait(60);
    let gate = Arc::new(Semaphore::new(0));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (cache, gate) = (timed.cache.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let load = async move || {
                    gate.acquire().await.unwrap().forget();
                    Err::<u32, _>("away")
                };
                cache.get_or_load(&key(1), load).options(tolerant()).details().await.unwrap().source
            })
        })
        .collect();
    let_others_run().await;
    gate.add_permits(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Source::Stale);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_delays_a_failed_load_once() {
    let store = Faulty::new();
    let timed = Timed::over(Arc::new(ManualClock::new()), store.clone(), |config| config);
    store.lookups_hang.store(true, Ordering::SeqCst);
    let asked = tokio::time::Instant::now();
    assert!(timed.ask_in_vain(tolerant()).await.is_err());
    assert!(asked.elapsed() <= Duration::from_millis(250), "{:?}", asked.elapsed());
}
