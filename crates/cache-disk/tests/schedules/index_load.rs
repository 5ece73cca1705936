//! The store is used while the index is loaded from the file.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{CacheBackend, NewEntry};
use shuttle::future::block_on;
use shuttle::thread;

use super::world::{World, changes, explore, key};

#[test]
fn no_schedule_serves_an_old_version_while_the_index_is_loaded() {
    explore(2_000, || {
        World::reopened().race(2, vec![changes("group image:5"), changes("key image:5:metadata")]);
    });
}

/// The load may end between two steps of a reader.
#[test]
fn no_schedule_misses_a_stored_value_while_the_index_is_loaded() {
    explore(2_000, || {
        let world = World::reopened();
        let readers = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let entry = block_on(world.cache.get(&key())).unwrap();
                assert!(entry.is_some(), "a stored value was not found");
            })
        });
        for reader in readers {
            reader.join().unwrap();
        }
        block_on(world.cache.close()).unwrap();
    });
}

/// A replaced value does not come back when the newer one leaves the index before the writer has written either.
#[test]
fn no_schedule_brings_back_a_replaced_value_while_the_index_is_loaded() {
    explore(2_000, || {
        let world = World::reopened();
        let brief = NewEntry::new(9_u64.to_le_bytes().to_vec()).expires_in(Duration::from_secs(1));
        world.version.store(9, Ordering::SeqCst);
        block_on(world.cache.set(&key(), brief)).unwrap();
        world.acknowledged.store(9, Ordering::SeqCst);
        world.clock.advance(Duration::from_secs(1));
        let readers = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for _ in 0..2 {
                    let entry = block_on(world.cache.get(&key())).unwrap();
                    if let Some(entry) = entry {
                        world.check(&entry.payload, 9);
                    }
                }
            })
        });
        for reader in readers {
            reader.join().unwrap();
        }
        block_on(world.cache.close()).unwrap();
    });
}
