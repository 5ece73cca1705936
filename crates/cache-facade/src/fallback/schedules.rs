//! Routing and recovery under the orders of steps that shuttle finds.
//!
//! `cargo test -p cache-facade --no-default-features --features redis,shuttle --lib schedules`; with the feature
//! `cache-core/plants` and `PLANTED_BUG=late-append`, the same tests must find the bug (history 24), and with
//! `PLANTED_BUG=old-outage` the last one (history 40).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a helper fails its test")]

use cache_core::plants::{Plant, is_planted};
use cache_core::sync::atomic::{AtomicU64, Ordering};
use cache_core::{ManualClock, SystemClock};
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

fn key(id: usize) -> CacheKey {
    CacheKey::builder("image", id).part("metadata").build().unwrap()
}

/// One instance of an application over a shared store, and its database of one row for each of two keys.
#[derive(Debug)]
struct Instance {
    shared: Arc<SharedStore>,
    backend: FallbackBackend,
    rows: [AtomicU64; 2],
    /// The versions that the last completed invalidations have made visible in this instance.
    acknowledged: [AtomicU64; 2],
}

impl Instance {
    async fn new(shared: Arc<SharedStore>) -> Arc<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let router = Router::new(Parts {
            connector: Arc::new(TestConnector(Arc::clone(&shared))),
            fallback: Arc::new(InMemory(Arc::clone(&clock))),
            journal: Arc::new(Journal::in_memory()),
            clock,
            max_age: Duration::MAX,
            on_recovery: Box::new(|| {}),
        });
        assert!(router.recover().await.retired.is_some());
        let backend = FallbackBackend { router: Arc::new(router), recovery: None };
        Arc::new(Self { shared, backend, rows: Default::default(), acknowledged: Default::default() })
    }

    async fn read(&self, id: usize) {
        let known = self.acknowledged[id].load(Ordering::SeqCst);
        let Ok(found) = self.backend.lookup(&key(id)).await else { return };
        if let Some(entry) = found.entry {
            let read = u64::from_le_bytes(entry.payload[..].try_into().unwrap());
            assert!(read >= known, "stale: version {read} after {known} was acknowledged");
            return;
        }
        let read = self.rows[id].load(Ordering::SeqCst);
        yield_now().await;
        // It may be refused, or fail.
        let _ = self.backend.fill(&key(id), found.token, NewEntry::new(read.to_le_bytes().to_vec())).await;
    }

    /// Changes the rows `ids`, which `what` invalidates.
    async fn write(&self, ids: &[usize], what: &[Invalidation]) {
        let bump = |id: &usize| (*id, self.rows[*id].fetch_add(1, Ordering::SeqCst) + 1);
        let versions: Vec<_> = ids.iter().map(bump).collect();
        yield_now().await;
        let _ = self.backend.invalidate(what).await.unwrap();
        for (id, version) in versions {
            self.acknowledged[id].fetch_max(version, Ordering::SeqCst);
        }
    }

    fn is_in_use(&self) -> bool {
        self.backend.router.state.lock().breaker.away().is_empty()
    }

    /// Does what the recovery task does, without its pauses.
    async fn recover(&self) {
        let router = &self.backend.router;
        if self.is_in_use() {
            return;
        }
        let period = router.state.lock().period;
        router.open_store(period).await;
        yield_now().await;
        if let Some(period) = router.recover().await.retired {
            router.retire_store(period).await;
        }
    }

    /// Mends the shared store, and checks what this instance and another read then.
    async fn ends(&self) {
        self.shared.set(Behaviour::Up);
        while !self.is_in_use() {
            self.recover().await;
        }
        for id in 0..2 {
            self.read(id).await;
            let there = Connection::new(&self.shared).lookup(&key(id)).await.unwrap().entry;
            let known = self.acknowledged[id].load(Ordering::SeqCst);
            if let Some(entry) = there {
                let read = u64::from_le_bytes(entry.payload[..].try_into().unwrap());
                assert!(read >= known, "stale: the shared store holds version {read} after {known}");
            }
        }
    }
}

/// Invalidations fail for a while, during writes, reads and recoveries.
async fn outages_and_returns() {
    let instance = Instance::new(SharedStore::new(&Arc::default())).await;
    instance.read(0).await;
    let spawned = |steps: usize, step: u8| {
        let instance = Arc::clone(&instance);
        spawn(async move {
            for _ in 0..steps {
                match step {
                    0 => instance.read(0).await,
                    1 => instance.write(&[0], &[key(0).into()]).await,
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
    instance.ends().await;
}

/// Each of two shards fails for a while, during reads, recoveries, and writes of the keys of one shard or of both.
async fn outages_and_returns_of_shards() {
    let shared = SharedStore::sharded(2, true, &Arc::new(ManualClock::new()));
    let instance = Instance::new(shared).await;
    instance.read(0).await;
    instance.read(1).await;
    let spawned = |steps: usize, step: usize| {
        let instance = Arc::clone(&instance);
        spawn(async move {
            for count in 0..steps {
                match step {
                    0 | 1 => instance.read(step).await,
                    2 if count == 0 => instance.write(&[0, 1], &["pattern image:*".parse().unwrap()]).await,
                    2 => instance.write(&[0, 1], &[key(0).into(), key(1).into()]).await,
                    3 => instance.write(&[1], &[key(1).into()]).await,
                    4 => instance.recover().await,
                    5 => instance.backend.router.check().await,
                    _ => {
                        let faults = [Behaviour::Refuses, Behaviour::RefusesInvalidations];
                        instance.shared.set_shard(step % 2, faults[count % 2]);
                        yield_now().await;
                        yield_now().await;
                        instance.shared.set_shard(step % 2, Behaviour::Up);
                    }
                }
                yield_now().await;
            }
        })
    };
    let steps = [3, 3, 2, 2, 5, 2, 1, 2];
    let tasks: Vec<_> = steps.into_iter().enumerate().map(|(step, steps)| spawned(steps, step)).collect();
    for task in tasks {
        task.await.unwrap();
    }
    instance.ends().await;
}

/// One shard is away all the time, so that the fallback store stays in use while the other one comes and goes.
async fn outages_of_one_shard_during_one_of_another() {
    let shared = SharedStore::sharded(2, true, &Arc::new(ManualClock::new()));
    let instance = Instance::new(shared).await;
    instance.shared.set_shard(0, Behaviour::Refuses);
    instance.read(0).await;
    let spawned = |steps: usize, step: usize| {
        let instance = Arc::clone(&instance);
        spawn(async move {
            for _ in 0..steps {
                if step == 0 {
                    instance.shared.set_shard(1, Behaviour::Refuses);
                    instance.read(1).await;
                    instance.read(1).await;
                    instance.shared.set_shard(1, Behaviour::Up);
                    // Long enough for a recovery and a write.
                    for _ in 0..100 {
                        yield_now().await;
                    }
                } else {
                    instance.recover().await;
                    instance.write(&[1], &[key(1).into()]).await;
                }
            }
        })
    };
    for task in [spawned(3, 0), spawned(3, 1)] {
        task.await.unwrap();
    }
    instance.ends().await;
}

#[test]
fn nothing_stale_is_read_through_outages_and_returns() {
    stale_only_if(is_planted(Plant::LateAppend), || explore(outages_and_returns));
}

#[test]
fn nothing_stale_is_read_through_outages_and_returns_of_shards() {
    stale_only_if(is_planted(Plant::LateAppend), || explore(outages_and_returns_of_shards));
}

#[test]
fn nothing_stale_is_read_through_outages_of_one_shard_during_one_of_another() {
    stale_only_if(is_planted(Plant::OldOutage), || {
        explore(outages_of_one_shard_during_one_of_another);
    });
}
