//! A disk whose n-th operation fails, for n = 1, 2, 3 ...: once, or until the disk works again.
//!
//! One run tries every tenth n; `CACHE_DISK_IO_STEP=1` tries all.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cache_core::{CacheBackend, HealthStatus};
use cache_disk::{DiskBackend, DiskConfig};
use testkit::reliability::Tally;

use super::storage::{EIO, ENOSPC, Faulty, tapped};
use super::support::{Dice, config, eventually, in_memory, open, repeat, runtime, what};
use super::world::World;

/// After the fault ends, the cache must work again this soon.
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);

/// Uses a store in the same way every time, as far as threads allow. Its calls may fail.
async fn live(cache: &DiskBackend, world: &World, dice: &Dice) {
    for turn in 0..60 {
        match turn % 10 {
            3 => drop(world.change(cache, what("group image:5")).await),
            6 => drop(world.change(cache, world.any_invalidation(dice)).await),
            9 => drop(cache.flush().await),
            _ => {
                let size = *dice.pick(&[100, 4_000, 9_000, 60_000]);
                let _ = world.read(cache, dice.below(world.rows.len()), size).await;
            }
        }
    }
}

/// Waits until loaded values are found after the disk works again; returns how long that took.
async fn recovers(cache: &DiskBackend, world: &World) -> Duration {
    let row = 0;
    let took = eventually(RECOVERS_WITHIN, "a disk that works again is used", async || {
        world.read(cache, row, 3_000).await.unwrap();
        cache.flush().await.is_ok() && world.read(cache, row, 3_000).await.unwrap()
    })
    .await;
    assert_eq!(cache.health().await.status, HealthStatus::Ok);
    took
}

/// Lets the disk fail `failures` times from its operation `first` on; returns how long the cache took to recover.
async fn survive(first: usize, failures: usize, errno: i32) -> Duration {
    let (root, world, dice) = (in_memory(), World::new(), Dice::new(4));
    let disk = Arc::new(Faulty::new(first, failures, errno));
    let config = || -> DiskConfig { tapped(config(root.path()), &disk) };
    let mut recovered = Duration::ZERO;
    if let Ok(cache) = DiskBackend::open(config()).await {
        live(&cache, &world, &dice).await;
        world.look_at_all(&cache).await;
        disk.mend();
        recovered = recovers(&cache, &world).await;
        live(&cache, &world, &dice).await;
        cache.close().await.unwrap();
    }
    disk.mend();
    let cache = open(root.path()).await;
    world.look_at_all(&cache).await;
    cache.close().await.unwrap();
    recovered
}

fn fail_each(row: &'static str, failures: usize, errno: i32) {
    let (runtime, tally) = (runtime(), Tally::new(row, None));
    let last = runtime.block_on(async {
        let (root, world) = (in_memory(), World::new());
        let disk = Arc::new(Faulty::new(0, 0, errno));
        let cache = DiskBackend::open(tapped(config(root.path()), &disk)).await.unwrap();
        live(&cache, &world, &Dice::new(4)).await;
        cache.close().await.unwrap();
        disk.operations()
    });
    let step = repeat("CACHE_DISK_IO_STEP", 10);
    let firsts: Vec<usize> = (0..last).step_by(step).collect();
    let mut recoveries = Vec::new();
    // Many at a time: they mostly wait.
    for firsts in firsts.chunks(40) {
        tally.attempts(firsts.len());
        thread::scope(|scope| {
            let runtime = &runtime;
            let survive = |first| scope.spawn(move || runtime.block_on(survive(first, failures, errno)));
            let lives: Vec<_> = firsts.iter().copied().map(survive).collect();
            recoveries.extend(lives.into_iter().map(|life| life.join().unwrap()));
        });
    }
    for took in &recoveries {
        tally.healed(*took);
    }
    println!(
        "errno {errno}, {failures} failures: {} runs, recovered in {:?}",
        recoveries.len(),
        recoveries.iter().max()
    );
    assert!(recoveries.len() > 10, "a life of a store has more than {last} operations");
}

#[test]
fn an_io_error_at_any_operation_does_no_harm() {
    fail_each("failed n-th operations", 1, EIO);
}

#[test]
fn a_disk_that_stays_broken_does_no_harm_and_is_used_once_it_works_again() {
    fail_each("failed n-th operations", usize::MAX, EIO);
}

#[test]
fn a_full_disk_does_no_harm() {
    fail_each("full disk and foreign permissions", 3, ENOSPC);
}
