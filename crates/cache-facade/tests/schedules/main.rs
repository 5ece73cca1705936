//! Single flight and fill tokens under every order of steps that shuttle finds.
//!
//! `cargo test -p cache-facade --no-default-features --features shuttle --test schedules`; with the feature
//! `cache-core/plants` and `PLANTED_BUG=join-by-key`, tests of freshness must find the bug.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

mod circles;
mod many;
mod old_values;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use cache_core::plants::{Plant, is_planted};
use cache_facade::{
    BackendKind, Cache, CacheKey, Invalidated, Invalidation, LoadError, Result,
    backend::{CacheBackend, FillOutcome, FillToken, Lookup, MemoryBackend, NewEntry},
    stats::{CacheStats, Explanation, Health},
};
use futures_util::future::join_all;
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};
use testkit::reliability::{Tally, times};
use testkit::stale_only_if;

const SCHEDULES: usize = 2_000;

type Nothing = std::convert::Infallible;

/// Runs `test` under many schedules: half of them random, half with few preemptions at random places.
fn explore<F: Future<Output = ()> + 'static>(test: impl Fn() -> F + Send + Sync + Copy + 'static) {
    let (tally, schedules) = (Tally::new("schedules", None), times(SCHEDULES));
    tally.attempts(schedules);
    let config = || {
        let mut config = Config::new();
        config.stack_size = 256 * 1024;
        config.failure_persistence = FailurePersistence::Print;
        config
    };
    Runner::new(RandomScheduler::new(schedules / 2), config()).run(move || block_on(test()));
    Runner::new(PctScheduler::new(3, schedules / 2), config()).run(move || block_on(test()));
}

/// Explores a test of freshness, which must find a stale read if the bug is planted.
fn explore_freshness<F: Future<Output = ()> + 'static>(test: impl Fn() -> F + Send + Sync + Copy + 'static) {
    stale_only_if(is_planted(Plant::JoinByKey), || explore(test));
}

fn key() -> CacheKey {
    CacheKey::builder("image", 5).part("metadata").build().unwrap()
}

/// A row with a version that every write raises. Its atomics are not shuttle's: a step of the database is one step.
#[derive(Debug, Default)]
struct Database {
    version: AtomicU64,
    /// The version of the last completed invalidation.
    acknowledged: AtomicU64,
    loads: AtomicU64,
}

impl Database {
    /// Reads the row, in several steps.
    async fn load(self: Arc<Self>) -> std::result::Result<u64, Nothing> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let version = self.version.load(Ordering::SeqCst);
        for _ in 0..3 {
            yield_now().await;
        }
        Ok(version)
    }

    async fn write(self: Arc<Self>, cache: Cache) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        yield_now().await;
        let _ = cache.invalidate(&key()).await.unwrap();
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }

    /// Reads through the cache, and checks that the value was not stale when the read began.
    async fn read(self: Arc<Self>, cache: Cache) {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let load = {
            let database = Arc::clone(&self);
            move || database.load()
        };
        let version = cache.get_or_load(&key(), load).await.unwrap();
        assert!(version >= acknowledged, "stale: version {version} after {acknowledged} was acknowledged");
    }

    async fn read_twice(self: Arc<Self>, cache: Cache) {
        Arc::clone(&self).read(cache.clone()).await;
        self.read(cache).await;
    }
}

#[test]
fn a_stampede_causes_one_load() {
    explore(|| async {
        let (cache, database) = (Cache::memory(), Arc::new(Database::default()));
        join_all((0..4).map(|_| spawn(Arc::clone(&database).read(cache.clone())))).await;
        assert_eq!(database.loads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn no_read_returns_a_value_loaded_before_a_completed_invalidation() {
    explore_freshness(|| async {
        let (store, database) = (Arc::new(MemoryBackend::new()), Arc::new(Database::default()));
        let (here, there) = (Cache::new(store.clone()), Cache::new(store));
        let mut tasks = vec![spawn(Arc::clone(&database).write(there.clone()))];
        tasks.extend(
            [&here, &here, &there].map(|cache| spawn(Arc::clone(&database).read_twice(cache.clone()))),
        );
        for task in tasks {
            task.await.unwrap();
        }
        database.read(here).await;
    });
}

/// A backend that never gives a token, like one that is unreachable.
#[derive(Debug, Default)]
struct Tokenless(MemoryBackend);

#[async_trait]
impl CacheBackend for Tokenless {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("tokenless")
    }

    async fn lookup(&self, _key: &CacheKey) -> Result<Lookup> {
        Ok(Lookup { entry: None, token: FillToken::never(), backend: self.kind() })
    }

    async fn fill(&self, _key: &CacheKey, _token: FillToken, _entry: NewEntry) -> Result<FillOutcome> {
        unreachable!("no fill without a token")
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.0.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.0.invalidate(what).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.0.stats().await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.0.explain(key).await
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

#[test]
fn callers_without_a_token_get_nothing_stale_either() {
    explore_freshness(|| async {
        let store = Arc::new(Tokenless(MemoryBackend::new()));
        let (cache, database) = (Cache::new(store), Arc::new(Database::default()));
        let mut tasks = vec![spawn(Arc::clone(&database).write(cache.clone()))];
        tasks.extend((0..3).map(|_| spawn(Arc::clone(&database).read_twice(cache.clone()))));
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Polls its future a number of times and then drops it.
struct DroppedAfter<F> {
    polls: u32,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for DroppedAfter<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        if future.as_mut().poll(context).is_ready() || self.polls <= 1 {
            self.future = None;
            return Poll::Ready(());
        }
        self.polls -= 1;
        // Polled again without being woken, because a caller may be cancelled at any time.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn cancelled_callers_neither_stop_nor_stall_the_others() {
    for polls in 1..4 {
        explore_dropping(polls);
    }
}

fn explore_dropping(polls: u32) {
    static POLLS: AtomicU64 = AtomicU64::new(1);
    POLLS.store(polls.into(), Ordering::SeqCst);
    explore(|| async {
        let polls = u32::try_from(POLLS.load(Ordering::SeqCst)).unwrap();
        let (cache, database) = (Cache::memory(), Arc::new(Database::default()));
        let goes = DroppedAfter { polls, future: Some(Box::pin(Arc::clone(&database).read(cache.clone()))) };
        let goes = spawn(goes);
        let stays = [(); 2].map(|()| spawn(Arc::clone(&database).read(cache.clone())));
        goes.await.unwrap();
        for stays in stays {
            stays.await.unwrap();
        }
        assert_eq!(database.loads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_error_reaches_the_callers_that_waited_and_the_next_call_loads_anew() {
    explore(|| {
        a_load_that_fails_once(
            || Err("broken"),
            |error| matches!(error, LoadError::Failed(why) if **why == "broken"),
        )
    });
}

#[test]
fn a_panic_reaches_the_callers_that_waited_and_the_next_call_loads_anew() {
    // Without the panic hook, which ends the schedule.
    let panics = || std::panic::resume_unwind(Box::new("broken"));
    explore(move || {
        a_load_that_fails_once(
            panics,
            |error| matches!(error, LoadError::Panicked(why) if &**why == "broken"),
        )
    });
}

type Answer = std::result::Result<u64, &'static str>;

async fn a_load_that_fails_once(fail: fn() -> Answer, is_expected: fn(&LoadError<&'static str>) -> bool) {
    let (cache, fails) = (Cache::memory(), Arc::new(AtomicBool::new(true)));
    let ask = |cache: Cache, fails: Arc<AtomicBool>| async move {
        let load = async move || {
            yield_now().await;
            if fails.swap(false, Ordering::SeqCst) { fail() } else { Ok(7) }
        };
        cache.get_or_load(&key(), load).await
    };
    let asked = join_all((0..3).map(|_| spawn(ask(cache.clone(), Arc::clone(&fails))))).await;
    let mut failed = 0;
    for answer in asked {
        match answer.unwrap() {
            Ok(value) => assert_eq!(value, 7),
            Err(error) => {
                assert!(is_expected(&error), "{error:?}");
                failed += 1;
            }
        }
    }
    assert!(failed >= 1, "one load failed");
    assert_eq!(ask(cache, fails).await.unwrap(), 7);
}
