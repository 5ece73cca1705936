//! Panics of foreign code: of a log that cannot be written, and of a clock.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::{CacheBackend, Clock, ErrorKind, HealthStatus, Monotonic, SystemClock, Timestamp};
use cache_disk::{DiskBackend, DiskConfig};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::storage::{Faulty, tapped};
use super::support::{Dice, config, eventually, on_disk, runtime, what};
use super::world::World;

const RECOVERS_WITHIN: Duration = Duration::from_secs(5);
/// The environment variable with the directory of a child's store.
const CHILD: &str = "CACHE_DISK_PANICS_DIRECTORY";

/// A clock that can panic in the writer thread only.
#[derive(Debug, Default)]
struct Breaks(AtomicBool);

impl Breaks {
    fn check(&self) {
        let is_writer = std::thread::current().name() == Some("cache-disk");
        assert!(!(is_writer && self.0.load(Ordering::SeqCst)), "a broken clock");
    }
}

impl Clock for Breaks {
    fn now(&self) -> Timestamp {
        self.check();
        SystemClock.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.check();
        SystemClock.monotonic()
    }
}

async fn is_used_again(cache: &DiskBackend, world: &World) {
    eventually(RECOVERS_WITHIN, "loaded values are found again", async || {
        let _ = world.read(cache, 0, 3_000).await;
        cache.flush().await.is_ok() && world.read(cache, 0, 3_000).await.unwrap_or(false)
    })
    .await;
    assert_eq!(cache.health().await.status, HealthStatus::Ok);
}

#[test]
fn a_panic_in_the_writer_thread_loses_no_invalidation_and_the_work_goes_on() {
    let (root, world, dice) = (on_disk(), World::new(), Dice::new(11));
    let (disk, clock) = (Faulty::sound(), Arc::new(Breaks::default()));
    runtime().block_on(async {
        let config = || -> DiskConfig { tapped(config(root.path()), &disk).clock(clock.clone()) };
        let cache = DiskBackend::open(config()).await.unwrap();
        for round in 0..10 {
            for row in 0..world.rows.len() {
                world.read(&cache, row, 3_000).await.unwrap();
            }
            cache.flush().await.unwrap();
            let before = cache.health().await.panics;
            // The time of a failed write is noted, which panics in the middle of an invalidation.
            clock.0.store(true, Ordering::SeqCst);
            disk.fail_next(1);
            let begun = world.begin(&what("group image:5"));
            match cache.invalidate(&[what("group image:5")]).await {
                Ok(_) => world.acknowledge(&begun),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
            eventually(RECOVERS_WITHIN, "health reports the panic", async || {
                let health = cache.health().await;
                health.panics > before
                    && health.last_panic.is_some_and(|text| text.contains("a broken clock"))
            })
            .await;
            clock.0.store(false, Ordering::SeqCst);
            eventually(RECOVERS_WITHIN, "it can be invalidated again", async || {
                world.change(&cache, what("group image:5")).await.is_ok()
            })
            .await;
            world.look_at_all(&cache).await;
            is_used_again(&cache, &world).await;
            if round % 3 == 0 {
                let _ = world.change(&cache, world.any_invalidation(&dice)).await;
            }
        }
        cache.close().await.unwrap();
        let cache = DiskBackend::open(config()).await.unwrap();
        world.look_at_all(&cache).await;
        cache.close().await.unwrap();
    });
}

/// A subscriber that always panics, as tracing-subscriber does on a closed pipe.
struct Unwritable;

impl Subscriber for Unwritable {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("failed printing to stderr")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("failed printing to stderr")
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_writer() {
    let Ok(directory) = std::env::var(CHILD) else {
        let root = on_disk();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["panics::a_log_that_cannot_be_written_does_not_stop_the_writer", "--exact"]);
        let output = child.args(["--nocapture"]).env(CHILD, root.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        return assert!(output.status.success(), "{}: {said}", output.status);
    };
    tracing::subscriber::set_global_default(Unwritable).unwrap();
    let (world, dice, disk) = (World::new(), Dice::new(12), Faulty::sound());
    runtime().block_on(async {
        let config = tapped(config(directory.as_ref()), &disk);
        let cache = DiskBackend::open(config).await.unwrap();
        for failures in 1..30 {
            disk.fail_next(failures);
            for _ in 0..5 {
                let _ = world.change(&cache, world.any_invalidation(&dice)).await;
                let _ = world.read(&cache, dice.below(world.rows.len()), 3_000).await;
            }
            disk.mend();
            world.look_at_all(&cache).await;
            is_used_again(&cache, &world).await;
        }
        let health = cache.health().await;
        assert!(health.panics > 0 && health.last_panic.unwrap().contains("stderr"));
        cache.close().await.unwrap();
    });
}

#[test]
fn a_panic_in_the_middle_of_an_invalidation_ends_what_is_served_from_memory() {
    let root = on_disk();
    let (disk, clock) = (Faulty::sound(), Arc::new(Breaks::default()));
    runtime().block_on(async {
        let near = cache_core::NearConfig::new(4 << 20);
        let config = tapped(config(root.path()), &disk).clock(clock.clone()).near(near);
        let cache = DiskBackend::open(config).await.unwrap();
        let key = cache_core::CacheKey::parse("image:5:metadata").unwrap();
        cache.set(&key, cache_core::NewEntry::new("old")).await.unwrap();
        cache.flush().await.unwrap();
        let _ = cache.lookup(&key).await.unwrap();
        clock.0.store(true, Ordering::SeqCst);
        disk.fail_next(1);
        assert!(cache.invalidate(&[what("group image:5")]).await.is_err());
        clock.0.store(false, Ordering::SeqCst);
        tokio::time::sleep(RECOVERS_WITHIN).await;
        assert!(cache.at_hand(&key).is_none() && cache.lookup(&key).await.unwrap().entry.is_none());
        cache.close().await.unwrap();
    });
}
