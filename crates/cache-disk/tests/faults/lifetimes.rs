//! The end of a cache during work: a runtime dropped in the middle of writes, no close, a close while others write.
//!
//! Nothing hangs, and the directory can be opened again at once.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, ErrorKind};
use cache_disk::DiskBackend;

use super::support::{Dice, in_memory, on_disk, open, repeat, runtime};
use super::world::World;

const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Starts tasks that read, load and invalidate until the cache is closed or the runtime is gone.
fn set_to_work(cache: &Arc<DiskBackend>, world: &Arc<World>, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
    let work = |task| {
        let (cache, world, dice) = (Arc::clone(cache), Arc::clone(world), Dice::new(seed + task));
        tokio::spawn(async move {
            loop {
                let done = if dice.one_in(10) {
                    world.change(&*cache, world.any_invalidation(&dice)).await.map(drop)
                } else {
                    world.read(&*cache, dice.below(world.rows.len()), 3_000).await.map(drop)
                };
                match done {
                    Ok(()) => tokio::task::yield_now().await,
                    Err(error) => return assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
                }
            }
        })
    };
    (0..3).map(work).collect()
}

fn must_end_soon(what: &str, start: Instant, slowest: &mut Duration) {
    let took = start.elapsed();
    assert!(took <= ENDS_WITHIN, "{what} took {took:?}");
    *slowest = (*slowest).max(took);
}

/// Opens the store again, checks its values, and that it works.
fn look(directory: &Path, world: &World) {
    runtime().block_on(async {
        let cache = open(directory).await;
        world.look_at_all(&cache).await;
        world.read(&cache, 0, 100).await.unwrap();
        assert!(world.read(&cache, 0, 100).await.unwrap());
        cache.close().await.unwrap();
    });
}

#[test]
fn a_runtime_dropped_in_the_middle_of_writes_neither_hangs_nor_harms() {
    let (dice, mut slowest) = (Dice::new(9), Duration::ZERO);
    for turn in 0..repeat("CACHE_DISK_LIVES", 200) {
        let root = if turn % 10 == 0 { on_disk() } else { in_memory() };
        let world = Arc::new(World::new());
        let runtime = runtime();
        let cache = Arc::new(runtime.block_on(open(root.path())));
        runtime.block_on(async {
            drop(set_to_work(&cache, &world, turn as u64));
            drop(cache);
            tokio::time::sleep(Duration::from_micros(dice.below(8_000) as u64)).await;
        });
        let start = Instant::now();
        drop(runtime);
        must_end_soon("dropping the runtime", start, &mut slowest);
        look(root.path(), &world);
    }
    println!("the slowest drop of a runtime took {slowest:?}");
}

#[test]
fn a_cache_dropped_without_closing_neither_hangs_nor_harms() {
    let mut slowest = Duration::ZERO;
    for turn in 0..repeat("CACHE_DISK_LIVES", 200) {
        let (root, world, dice) = (in_memory(), Arc::new(World::new()), Dice::new(turn as u64));
        runtime().block_on(async {
            let cache = open(root.path()).await;
            for _ in 0..dice.below(60) {
                world.read(&cache, dice.below(world.rows.len()), 20_000).await.unwrap();
            }
            let start = Instant::now();
            drop(cache);
            must_end_soon("dropping the cache", start, &mut slowest);
            // Its entries are on the disk, as if it had been closed.
            let again = open(root.path()).await;
            world.look_at_all(&again).await;
            again.close().await.unwrap();
        });
    }
    println!("the slowest drop of a cache took {slowest:?}");
}

#[test]
fn closing_while_others_write_ends_them_with_closed_and_harms_nothing() {
    let (dice, mut slowest) = (Dice::new(10), Duration::ZERO);
    let runtime = runtime();
    for turn in 0..repeat("CACHE_DISK_LIVES", 200) {
        let (root, world) = (in_memory(), Arc::new(World::new()));
        runtime.block_on(async {
            let cache = Arc::new(open(root.path()).await);
            let tasks = set_to_work(&cache, &world, turn as u64);
            tokio::time::sleep(Duration::from_micros(dice.below(5_000) as u64)).await;
            let start = Instant::now();
            let (one, two) = tokio::join!(cache.close(), cache.close());
            one.unwrap();
            two.unwrap();
            for task in tasks {
                task.await.unwrap();
            }
            must_end_soon("closing", start, &mut slowest);
            // The directory is free although the closed cache still exists.
            let again = open(root.path()).await;
            world.look_at_all(&again).await;
            again.close().await.unwrap();
            assert_eq!(cache.get(&world.rows[0].key).await.unwrap_err().kind(), ErrorKind::Closed);
        });
    }
    println!("the slowest close took {slowest:?}");
}

/// The caller may go away before the cache is open.
#[test]
fn a_cancelled_opening_leaves_the_directory_free() {
    let runtime = runtime();
    for turn in 0..50 {
        let (root, world) = (in_memory(), World::new());
        runtime.block_on(async {
            let opening = tokio::time::timeout(Duration::from_micros(turn * 40), open(root.path()));
            drop(opening.await);
            let start = Instant::now();
            // The thread that opens it may need a moment to see that the caller went away.
            let config = || super::support::config(root.path());
            let cache = loop {
                match DiskBackend::open(config()).await {
                    Ok(cache) => break cache,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error}"),
                }
                assert!(start.elapsed() < ENDS_WITHIN, "the directory stays locked");
                tokio::task::yield_now().await;
            };
            world.read(&cache, 0, 100).await.unwrap();
            cache.close().await.unwrap();
        });
    }
}
