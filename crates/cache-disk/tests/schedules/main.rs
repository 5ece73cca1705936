//! The fences of the disk backend under the schedules that shuttle explores.
//!
//! `cargo test -p cache-disk --features shuttle --test schedules`; with the feature `cache-core/plants` and
//! `PLANTED_BUG=check-outside-lock`, the tests named `no_schedule_serves_an_old_version_after_…` expect a schedule that
//! serves an old version.
#![cfg(feature = "shuttle")]
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails its test")]

mod failed_writes;
mod index_load;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{CacheBackend, CacheGroup, ErrorKind, Invalidation, NewEntry};
use shuttle::future::block_on;
use shuttle::thread;

use cache_core::plants::{Plant, is_planted};
use testkit::stale_only_if;

use self::world::{World, changes, explore, fill, key, other_key};

/// Explores `test`, which must find a stale read exactly if tokens are checked outside the lock.
///
/// With the bug the first such read ends the exploration, so more schedules cost nothing.
fn explore_freshness(schedules: usize, test: impl Fn() + Send + Sync + Copy + 'static) {
    let planted = is_planted(Plant::CheckOutsideLock);
    stale_only_if(planted, || explore(if planted { 20 * schedules } else { schedules }, test));
}

/// History 7 for keys: a fill passes its first check, the invalidation runs to completion, the fill inserts.
#[test]
fn no_schedule_serves_an_old_version_after_its_keys_invalidation() {
    explore_freshness(1_200, || World::new(u64::MAX).race(2, vec![changes("key image:5:metadata")]));
}

/// History 7 for a group and for patterns.
#[test]
fn no_schedule_serves_an_old_version_after_a_group_or_a_pattern() {
    explore_freshness(1_200, || {
        World::new(u64::MAX).race(2, vec![changes("group image:5"), changes("pattern image:5*")]);
    });
}

#[test]
fn no_schedule_serves_an_old_version_after_a_clear() {
    explore_freshness(1_200, || {
        World::new(u64::MAX).race(2, vec![changes("everything"), changes("key image:5:metadata")]);
    });
}

/// Keys with one hash replace each other in the index while they are filled and invalidated.
#[test]
fn no_schedule_serves_an_old_version_when_hashes_collide() {
    explore(1_000, || {
        let collide = Box::new(|world: &World| {
            for number in 0..2 {
                fill(&world.cache, &other_key(number), NewEntry::new("another key's value"));
            }
        });
        World::new(0).race(2, vec![changes("group image:5"), collide]);
    });
}

/// Expired and invalidated entries leave the index in different ways.
#[test]
fn no_schedule_serves_an_old_version_when_entries_expire() {
    explore(1_000, || {
        let world = World::new(u64::MAX);
        let brief = |payload| NewEntry::new(payload).expires_in(Duration::from_secs(1));
        world.read(&world.cache, brief);
        let expire = Box::new(move |world: &World| {
            world.clock.advance(Duration::from_secs(1));
            world.read(&world.cache, brief);
            let _ = block_on(world.cache.stats()).unwrap();
        });
        world.race(1, vec![changes("pattern image"), expire]);
    });
}

/// The key is evicted while it is filled and invalidated.
#[test]
fn no_schedule_serves_an_old_version_when_entries_are_evicted() {
    explore(160, || {
        let world = World::new(u64::MAX);
        for number in 0..7 {
            fill(&world.cache, &other_key(number), NewEntry::new(vec![7; 900_000]));
        }
        // The queue must never be full: waiting for a permit needs the clock of tokio.
        block_on(world.cache.flush()).unwrap();
        let evict = Box::new(|world: &World| {
            for number in 7..10 {
                fill(&world.cache, &other_key(number), NewEntry::new(vec![7; 900_000]));
            }
        });
        world.race(1, vec![changes("group image:5"), evict]);
    });
}

/// A `set` runs between the lookup and the fill of an older load.
#[test]
fn no_schedule_lets_an_older_load_replace_a_set() {
    explore(1_000, || {
        let world = World::new(u64::MAX);
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.read(&world.cache, NewEntry::new))
        };
        let newest = NewEntry::new(9_u64.to_le_bytes().to_vec());
        world.version.store(9, Ordering::SeqCst);
        block_on(world.cache.set(&key(), newest)).unwrap();
        reader.join().unwrap();
        let entry = block_on(world.cache.get(&key())).unwrap().unwrap();
        world.check(&entry.payload, 9);
        block_on(world.cache.close()).unwrap();
    });
}

/// Every call that runs while the store is closed ends, with success or `Closed`.
#[test]
fn no_schedule_hangs_when_the_store_is_closed() {
    explore(1_000, || {
        let world = World::new(u64::MAX);
        let work = |what: &str| {
            let (world, what) = (Arc::clone(&world), what.parse::<Invalidation>().unwrap());
            thread::spawn(move || {
                let results = [
                    block_on(world.cache.set(&key(), NewEntry::new("a value"))).err(),
                    block_on(world.cache.invalidate(&[what])).err(),
                    block_on(world.cache.flush()).err(),
                ];
                for error in results.into_iter().flatten() {
                    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                }
            })
        };
        let threads = [work("key image:5:metadata"), work("everything")];
        block_on(world.cache.close()).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
        let again = world.open();
        block_on(again.close()).unwrap();
    });
}

/// One key is deleted twice and with its group, all at once.
#[test]
fn no_schedule_lets_two_deletes_leave_one_behind() {
    explore(1_000, || {
        let world = World::new(u64::MAX);
        world.read(&world.cache, NewEntry::new);
        let group = Invalidation::Group(CacheGroup::new("image", 5));
        let deletes = [Invalidation::Key(key()), Invalidation::Key(key()), group].map(|what| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.change(what);
                world.read(&world.cache, NewEntry::new);
            })
        });
        for delete in deletes {
            delete.join().unwrap();
        }
        world.race(1, Vec::new());
    });
}

/// A removal that is queued late does not remove a value that was set since. One that overtakes its own value does not
/// bring back an older one.
#[test]
fn no_schedule_lets_a_late_removal_remove_a_newer_value() {
    explore(2_000, || {
        let world = World::new(u64::MAX);
        let value = |version: u64| NewEntry::new(version.to_le_bytes().to_vec());
        world.version.store(9, Ordering::SeqCst);
        block_on(world.cache.set(&key(), value(1))).unwrap();
        let brief = value(2).expires_in(Duration::from_secs(1));
        block_on(world.cache.set(&key(), brief)).unwrap();
        world.acknowledged.store(2, Ordering::SeqCst);
        world.clock.advance(Duration::from_secs(1));
        let threads = [0, 1, 2].map(|what| {
            let world = Arc::clone(&world);
            thread::spawn(move || match what {
                0 => drop(block_on(world.cache.stats()).unwrap()),
                1 => {
                    if let Some(entry) = block_on(world.cache.get(&key())).unwrap() {
                        world.check(&entry.payload, 2);
                    }
                }
                _ => {
                    block_on(world.cache.set(&key(), value(9))).unwrap();
                    block_on(world.cache.flush()).unwrap();
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        block_on(world.cache.flush()).unwrap();
        world.check(&block_on(world.cache.get(&key())).unwrap().expect("lost").payload, 9);
        block_on(world.cache.close()).unwrap();
        let again = world.open();
        world.check(&block_on(again.get(&key())).unwrap().expect("lost in the file").payload, 9);
        block_on(again.close()).unwrap();
    });
}
