//! A write to the file fails: the file is reopened, and the index loaded again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{CacheBackend, NewEntry};
use shuttle::future::block_on;
use shuttle::thread;

use super::world::{World, changes, explore, key, other_key};

#[test]
fn no_schedule_serves_a_replaced_or_removed_value_when_a_write_fails() {
    replace_while_a_write_fails(u64::MAX);
}

#[test]
fn no_schedule_serves_a_replaced_value_when_a_write_fails_and_hashes_collide() {
    replace_while_a_write_fails(0);
}

fn replace_while_a_write_fails(hash_mask: u64) {
    explore(2_000, move || {
        let world = World::reopened_with(hash_mask);
        let value = |version: u64| NewEntry::new(version.to_le_bytes().to_vec());
        let set = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for version in [1, 2] {
                    let version = world.version.fetch_max(version, Ordering::SeqCst).max(version);
                    let brief = value(version).expires_in(Duration::from_secs(1));
                    block_on(world.cache.set(&key(), brief)).unwrap();
                    world.acknowledged.fetch_max(version, Ordering::SeqCst);
                    world.clock.advance(Duration::from_secs(1));
                    let oldest = world.acknowledged.load(Ordering::SeqCst);
                    if let Some(entry) = block_on(world.cache.get(&key())).unwrap() {
                        world.check(&entry.payload, oldest);
                    }
                }
            })
        };
        let fail = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.failing.store(1, Ordering::SeqCst))
        };
        let look = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for _ in 0..3 {
                    let oldest = world.acknowledged.load(Ordering::SeqCst);
                    if let Some(entry) = block_on(world.cache.get(&key())).unwrap() {
                        world.check(&entry.payload, oldest);
                    }
                    let _ = block_on(world.cache.stats()).unwrap();
                }
            })
        };
        let push = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for number in 0..2 {
                    block_on(world.cache.set(&other_key(number), NewEntry::new("another"))).unwrap();
                    drop(block_on(world.cache.flush()));
                }
            })
        };
        for thread in [set, fail, look, push] {
            thread.join().unwrap();
        }
        world.failing.store(0, Ordering::SeqCst);
        if let Some(entry) = block_on(world.cache.get(&key())).unwrap() {
            assert_ne!(entry.payload.first(), Some(&0), "stale before it was closed");
        }
        block_on(world.cache.close()).unwrap();
        let again = world.open();
        if let Some(entry) = block_on(again.get(&key())).unwrap() {
            assert_ne!(entry.payload.first(), Some(&0), "stale after it was closed and opened again");
        }
        block_on(again.close()).unwrap();
    });
}

/// Invalidations and fills race while a write to the file fails.
#[test]
fn no_schedule_serves_an_old_version_when_a_write_fails() {
    explore(2_000, || {
        let fail = Box::new(|world: &World| world.failing.store(1, Ordering::SeqCst));
        World::reopened().race(2, vec![changes("group image:5"), changes("key image:5:metadata"), fail]);
    });
}
