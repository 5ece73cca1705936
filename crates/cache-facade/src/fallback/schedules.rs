//! Routing and coming back under every order of steps that shuttle finds.
//!
//! `cargo test -p cache-facade --no-default-features --features redis,shuttle --lib schedules`; with the feature
//! `cache-core/plants` and `PLANTED_BUG=late-append`, the same test must find the bug (history 24).

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use cache_core::plants::{Plant, is_planted};
use cache_core::sync::atomic::{AtomicU64, Ordering};
use cache_core::{BreakerState, MemoryBackend, SystemClock};
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use testkit::reliability::{Tally, times};
use testkit::stale_only_if;

use super::testing::{Customer, InMemory, Mood, Shop, Way};
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
struct World {
    shop: Arc<Shop>,
    backend: FallbackBackend,
    row: AtomicU64,
    /// The version that the last invalidation which returned has made visible in this instance.
    acknowledged: AtomicU64,
}

impl World {
    async fn new() -> Arc<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let shop = Shop::new(MemoryBackend::new());
        let backend = FallbackBackend::new(Parts {
            connector: Arc::new(Way(Arc::clone(&shop))),
            standin: Arc::new(InMemory(Arc::clone(&clock))),
            journal: Arc::new(Journal::in_memory()),
            clock,
            max_age: Duration::MAX,
            first_return: FirstReturn::new(|| {}),
        });
        assert!(backend.shared.come_back().await.is_some());
        Arc::new(Self { shop, backend, row: AtomicU64::new(0), acknowledged: AtomicU64::new(0) })
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
        // That it is refused or fails is as good.
        let _ = self.backend.fill(&key(), found.token, NewEntry::new(read.to_le_bytes().to_vec())).await;
    }

    async fn write(&self) {
        let version = self.row.fetch_add(1, Ordering::SeqCst) + 1;
        yield_now().await;
        let _ = self.backend.invalidate(&[Invalidation::Key(key())]).await.unwrap();
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }

    /// What the task in the background does, without its pauses.
    async fn keep(&self) {
        let shared = &self.backend.shared;
        if shared.switch.health().breaker == Some(BreakerState::Closed) {
            return;
        }
        shared.shelf.open(&shared.switch.generation()).await;
        yield_now().await;
        if let Some(stood_in) = shared.come_back().await {
            shared.shelf.retire(stood_in.number()).await;
        }
    }
}

/// The store goes deaf and recovers while one writes, others read and the way back is looked for.
async fn outages_and_returns() {
    let world = World::new().await;
    world.read().await;
    let spawned = |steps: usize, step: u8| {
        let world = Arc::clone(&world);
        spawn(async move {
            for _ in 0..steps {
                match step {
                    0 => world.read().await,
                    1 => world.write().await,
                    2 => world.keep().await,
                    _ => {
                        world.shop.set(Mood::Deaf);
                        yield_now().await;
                        world.shop.set(Mood::Up);
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
    world.shop.set(Mood::Up);
    while world.backend.shared.switch.health().breaker != Some(BreakerState::Closed) {
        world.keep().await;
    }
    world.read().await;
    // What another instance would read.
    let there = Customer(Arc::clone(&world.shop)).lookup(&key()).await.unwrap().entry;
    let known = world.acknowledged.load(Ordering::SeqCst);
    if let Some(entry) = there {
        let read = u64::from_le_bytes(entry.payload[..].try_into().unwrap());
        assert!(read >= known, "stale: the shared store holds version {read} after {known}");
    }
}

#[test]
fn nothing_stale_is_read_through_outages_and_returns() {
    stale_only_if(is_planted(Plant::LateAppend), || explore(outages_and_returns));
}
