//! Cancellation at every await of every read and write: nothing is lost, stale or leaked.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use cache_facade::{
    BackendKind, Cache, CacheConfig, CacheKey, Invalidated, Invalidation, LoadOptions, ManualClock, Result,
    backend::{CacheBackend, FillOutcome, FillToken, Lookup, MemoryBackend, NewEntry},
    images::ImageChange,
    stats::{CacheStats, Explanation, Health},
};

use crate::support::{Nothing, every_store, key, let_others_run};

const CHANGE: ImageChange<u32> = ImageChange::ImageUpdated { project: 1, image: 5 };

/// A backend whose every operation waits before and after it.
#[derive(Debug, Default)]
struct Slow(MemoryBackend);

async fn slowly<T>(operation: impl Future<Output = T>) -> T {
    tokio::task::yield_now().await;
    let output = operation.await;
    tokio::task::yield_now().await;
    output
}

#[async_trait]
impl CacheBackend for Slow {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("slow")
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        slowly(self.0.lookup(key)).await
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        slowly(self.0.fill(key, token, entry)).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        slowly(self.0.set(key, entry)).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        slowly(self.0.invalidate(what)).await
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

fn slow() -> Cache {
    Cache::new(Arc::new(Slow::default()))
}

/// Polls `future` `times` times, with one step of the other tasks in between, and drops it; returns whether it completed.
async fn cut_off(call: impl IntoFuture, times: usize) -> bool {
    let mut future = pin!(call.into_future());
    for _ in 0..times {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Runs `test` with 1, 2, 3... polls until the future that it cancels completes, which must take a few.
async fn at_every_poll(test: impl AsyncFn(usize) -> bool) {
    for polls in 1.. {
        if test(polls).await {
            assert!(polls > 1, "it was never cut off in the middle");
            return;
        }
        assert!(polls < 500, "it never comes to its end");
    }
}

/// A row, and the number of loads of it that are alive.
#[derive(Default)]
struct Row {
    version: AtomicU64,
}

impl Row {
    /// A load that reads and then waits.
    async fn load(self: Arc<Self>) -> std::result::Result<u64, Nothing> {
        let version = self.version.load(Ordering::SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Ok(version)
    }

    fn write(&self) -> u64 {
        self.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Whether no load is alive.
    fn is_free(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }
}

/// Reads without waiting for a deadline: the runtime's clock is paused.
async fn read(cache: &Cache, row: &Arc<Row>) -> u64 {
    let asked = tokio::time::Instant::now();
    let row = Arc::clone(row);
    let version = cache.get_or_load(&key(5), move || row.load()).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "a caller waited for a load without a leader");
    version
}

#[tokio::test(start_paused = true)]
async fn a_load_whose_caller_is_cancelled_is_neither_stale_nor_stuck() {
    at_every_poll(async |polls| {
        let (cache, row) = (slow(), Arc::new(Row::default()));
        let load = {
            let row = Arc::clone(&row);
            move || row.load()
        };
        let ended = cut_off(cache.get_or_load(&key(5), load), polls).await;
        // The cancelled caller's load may still run.
        let written = row.write();
        let _ = cache.delete(&key(5)).await.unwrap();
        assert_eq!(read(&cache, &row).await, written, "after {polls} polls");
        let_others_run().await;
        assert_eq!(cache.get::<u64>(&key(5)).await, Some(written), "after {polls} polls");
        assert!(row.is_free(), "after {polls} polls");
        ended
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_is_stored_though_its_caller_was_cancelled() {
    at_every_poll(async |polls| {
        let (cache, row) = (slow(), Arc::new(Row::default()));
        row.write();
        let began = Arc::new(AtomicU64::new(0));
        let load = {
            let (row, began) = (Arc::clone(&row), Arc::clone(&began));
            move || {
                began.store(1, Ordering::SeqCst);
                row.load()
            }
        };
        let ended = cut_off(cache.get_or_load(&key(5), load), polls).await;
        let_others_run().await;
        let stored = cache.get::<u64>(&key(5)).await;
        assert_eq!(stored.is_some(), began.load(Ordering::SeqCst) == 1, "after {polls} polls");
        assert!(row.is_free() && read(&cache, &row).await == 1, "after {polls} polls");
        ended
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_of_many_whose_caller_is_cancelled_is_neither_stale_nor_stuck() {
    at_every_poll(async |polls| {
        let (cache, row) = (slow(), Arc::new(Row::default()));
        let load = {
            let row = Arc::clone(&row);
            async move |ids: Vec<u64>| {
                let version = row.load().await?;
                Ok::<_, Nothing>(ids.into_iter().map(|id| (id, version)).collect::<Vec<_>>())
            }
        };
        let items = [4, 5, 6].map(|id| (id, key(id)));
        let ended = cut_off(cache.get_or_load_many(items, load), polls).await;
        let written = row.write();
        let _ = cache.delete(&key(5)).await.unwrap();
        assert_eq!(read(&cache, &row).await, written, "after {polls} polls");
        let_others_run().await;
        assert_eq!(cache.get::<u64>(&key(5)).await, Some(written), "after {polls} polls");
        assert!(row.is_free(), "after {polls} polls");
        ended
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cancelled_callers_leave_no_background_permit_taken() {
    let clock = Arc::new(ManualClock::new());
    let store = Arc::new(Slow(MemoryBackend::new().clock(clock.clone())));
    let config = CacheConfig::builder().clock(clock.clone()).verify(1.0).build().unwrap();
    let (cache, row) = (Cache::builder(store).config(config).build(), Arc::new(Row::default()));
    let minute = Duration::from_secs(60);
    let options = || LoadOptions::new().ttl(minute).stale_while_revalidate(minute);
    let ask = async || {
        let row = Arc::clone(&row);
        cache.get_or_load(&key(5), move || row.load()).options(options()).details().await
    };
    // More often than there are permits.
    for polls in 1..200 {
        clock.advance(minute);
        ask().await.unwrap();
        row.write();
        cut_off(ask(), polls % 12 + 1).await;
        let_others_run().await;
    }
    tokio::time::sleep(minute).await;
    clock.advance(minute);
    ask().await.unwrap();
    let_others_run().await;
    assert_eq!(ask().await.unwrap().value, row.version.load(Ordering::SeqCst));
    let_others_run().await;
    assert!(row.is_free());
}

/// A change whose caller is cancelled after so many polls; returns whether it completed before.
async fn change_cut_off(cache: &Cache, polls: usize) -> bool {
    cache.set(&key(5), "old").await.unwrap();
    let committed = Arc::new(AtomicU64::new(0));
    let commit = {
        let committed = Arc::clone(&committed);
        async move || {
            tokio::task::yield_now().await;
            committed.store(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, Nothing>(())
        }
    };
    let ended = cut_off(cache.change(&CHANGE, commit), polls).await;
    for _ in 0..1000 {
        if !cache.contains(&key(5)).await && Arc::strong_count(&committed) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(committed.load(Ordering::SeqCst), 1, "after {polls} polls");
    assert!(!cache.contains(&key(5)).await, "after {polls} polls");
    assert_eq!(Arc::strong_count(&committed), 1, "after {polls} polls");
    ended
}

#[tokio::test]
async fn a_change_completes_wherever_its_caller_is_cancelled_over_every_backend() {
    let cache = slow();
    at_every_poll(async |polls| change_cut_off(&cache, polls).await).await;
    for stored in every_store().await {
        // The number of polls of a write to disk depends on the machine.
        for polls in 1..12 {
            change_cut_off(&stored.cache, polls).await;
        }
    }
}

#[tokio::test]
async fn every_way_to_invalidate_completes_once_polled() {
    for way in 0..4 {
        at_every_poll(async |polls| {
            let cache = slow();
            cache.set(&key(5), "old").await.unwrap();
            let ended = match way {
                0 => cut_off(cache.invalidate(&CHANGE), polls).await,
                1 => cut_off(cache.delete(&key(5)), polls).await,
                2 => cut_off(cache.clear_pattern("image:5"), polls).await,
                _ => cut_off(cache.clear(), polls).await,
            };
            let_others_run().await;
            assert!(!cache.contains(&key(5)).await, "way {way} after {polls} polls");
            ended
        })
        .await;
    }
}

#[tokio::test]
async fn a_cancelled_set_is_stored_whole_or_not_at_all_and_not_later() {
    for many in [false, true] {
        at_every_poll(async |polls| {
            let cache = slow();
            cache.set(&key(5), "old").await.unwrap();
            let ended = if many {
                cut_off(cache.set_many([(&key(5), &"new"), (&key(6), &"new")]), polls).await
            } else {
                cut_off(cache.set(&key(5), "new"), polls).await
            };
            let found = cache.get::<String>(&key(5)).await;
            assert!(matches!(found.as_deref(), Some("old" | "new")), "{found:?} after {polls} polls");
            assert!(!ended || found.as_deref() == Some("new"));
            let _ = cache.clear().await.unwrap();
            let_others_run().await;
            assert!(!cache.contains(&key(5)).await && !cache.contains(&key(6)).await);
            ended
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn warming_that_is_cancelled_begins_no_further_load_and_leaves_none_behind() {
    at_every_poll(async |polls| {
        let (cache, row) = (slow(), Arc::new(Row::default()));
        let begun = Arc::new(AtomicU64::new(0));
        let load = async |cache: &Cache, id: u64| {
            let (row, begun) = (Arc::clone(&row), Arc::clone(&begun));
            let load = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                row.load()
            };
            cache.get_or_load(&key(id), load).await
        };
        let ended = cut_off(cache.warm(0..6, 2, load, |_| {}), polls).await;
        let_others_run().await;
        let stored = cache.get_many::<u64>(&[0, 1, 2, 3, 4, 5].map(key)).await.iter().flatten().count();
        assert_eq!(stored as u64, begun.load(Ordering::SeqCst), "after {polls} polls");
        assert!(row.is_free(), "after {polls} polls");
        ended
    })
    .await;
}

#[test]
fn a_future_dropped_without_a_poll_does_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cache = slow();
        drop(
            cache.change(&CHANGE, async || -> std::result::Result<(), Nothing> { panic!("it never began") }),
        );
        drop(cache.get_or_load(&key(5), async || -> std::result::Result<u32, Nothing> {
            panic!("it never began")
        }));
        let_others_run().await;
        let mut closing = pin!(cache.close());
        let closed = closing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(closed, Poll::Ready(Ok(()))), "no change is under way");
    });
}
