//! Routing and recovery under the orders of steps that shuttle finds.
//!
//! `cargo test -p cache-facade --no-default-features --features redis,shuttle --lib schedules`; with the feature
//! `cache-core/plants` and `PLANTED_BUG=late-append`, the same test must find the bug (history 24).

#![expect(clippy::unwrap_used, reason = "a panic in a helper fails its test")]

use cache_core::plants::{Plant, is_planted};
use cache_core::sync::atomic::{AtomicU64, Ordering};
use cache_core::{MemoryBackend, SystemClock};
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use testkit::reliability::{Tally, times};
use testkit::stale_only_if;

use super::testing::{Behaviour, Connection, InMemory, SharedStore, TestConnector};
use super::*;

const SCHEDULES: usize = 10_000;

fn explore<F: Future<Output = ()> + 'static>(test: impl Fn() -> F + Send + Sync + Copy + 'static) {
    let (tally, schedules) = (Tally::new("schedules", None), times(SCHEDULES));
    tally.attempts(schedules);
    let config = || {
        let mut config = Config::new();
        config.stack_size = 256 * 1024;
        config
    };
    Runner::new(RandomScheduler::new(schedules / 2), config()).run(move || block_on(test()));
    Runner::new(PctScheduler::new(3, schedules / 2), config()).run(move || block_on(test()));
}

fn key() -> CacheKey {
    CacheKey::builder("image", 5).part("metadata").build().unwrap()
}

/// One instance of an application over a shared store, and its database of one row.
#[derive(Debug)]
struct Instance {
    shared: Arc<SharedStore>,
    backend: FallbackBackend,
    row: AtomicU64,
    /// The version that the last completed invalidation has made visible in this instance.
    acknowledged: AtomicU64,
}

impl Instance {
    async fn new() -> Arc<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let shared = SharedStore::new(MemoryBackend::new());
        let router = Router::new(Parts {
            connector: Arc::new(TestConnector(Arc::clone(&shared))),
            fallback: Arc::new(InMemory(Arc::clone(&clock))),
            journal: Arc::new(Journal::in_memory()),
            clock,
            max_age: Duration::MAX,
            on_recovery: Box::new(|| {}),
        });
        assert!(router.recover().await.is_some());
        let backend = FallbackBackend { router: Arc::new(router), recovery: None };
        Arc::new(Self { shared, backend, row: AtomicU64::new(0), acknowledged: AtomicU64::new(0) })
    }

    async fn read(&self) {
        let known = self.acknowledged.load(Ordering::SeqCst);
        let Ok(found) = self.backend.lookup(&key()).await else { return };
        if let Some(entry) = found.entry {
            let read = u64::from_le_bytes(entry.payload[..].try_into().unwrap());
            assert!(read >= known, "stale: version {read} after {known} was acknowledged");
            return;
        }
        let read = self.row.load(Ordering::SeqCst);
        yield_now().await;
        // It may be refused, or fail.
        let _ = self.backend.fill(&key(), found.token, NewEntry::new(read.to_le_bytes().to_vec())).await;
    }

    async fn write(&self) {
        let version = self.row.fetch_add(1, Ordering::SeqCst) + 1;
        yield_now().await;
        let _ = self.backend.invalidate(&[Invalidation::Key(key())]).await.unwrap();
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }

    /// Does what the recovery task does, without its pauses.
    async fn recover(&self) {
        let router = &self.backend.router;
        if router.state.lock().is_up() {
            return;
        }
        let period = router.state.lock().period;
        router.open_store(period).await;
        yield_now().await;
        if let Some(period) = router.recover().await {
            router.retire_store(period).await;
        }
    }
}

/// Invalidations fail for a while, during writes, reads and recoveries.
async fn outages_and_returns() {
    let instance = Instance::new().await;
    instance.read().await;
    let spawned = |steps: usize, step: u8| {
        let instance = Arc::clone(&instance);
        spawn(async move {
            for _ in 0..steps {
                match step {
                    0 => instance.read().await,
                    1 => instance.write().await,
                    2 => instance.recover().await,
                    _ => {
                        instance.shared.set(Behaviour::RefusesInvalidations);
                        yield_now().await;
                        instance.shared.set(Behaviour::Up);
                    }
                }
                yield_now().await;
            }
        })
    };
    let tasks = [spawned(3, 0), spawned(3, 0), spawned(2, 1), spawned(4, 2), spawned(2, 3)];
    for task in tasks {
        task.await.unwrap();
    }
    instance.shared.set(Behaviour::Up);
    while !instance.backend.router.state.lock().is_up() {
        instance.recover().await;
    }
    instance.read().await;
    // The value that another instance would read.
    let there = Connection(Arc::clone(&instance.shared)).lookup(&key()).await.unwrap().entry;
    let known = instance.acknowledged.load(Ordering::SeqCst);
    if let Some(entry) = there {
        let read = u64::from_le_bytes(entry.payload[..].try_into().unwrap());
        assert!(read >= known, "stale: the shared store holds version {read} after {known}");
    }
}

#[test]
fn nothing_stale_is_read_through_outages_and_returns() {
    stale_only_if(is_planted(Plant::LateAppend), || explore(outages_and_returns));
}
