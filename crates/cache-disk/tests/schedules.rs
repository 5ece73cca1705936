//! The fences of the disk engine under every order of steps that shuttle finds.
//!
//! `cargo test -p cache-disk --features shuttle --test schedules`; with `plant-check-outside-lock` besides, the tests
//! named `no_schedule_serves_an_old_version_after_…` expect that a schedule is found which serves an old version.
#![cfg(feature = "shuttle")]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{
    CacheBackend, CacheGroup, CacheKey, ErrorKind, FillOutcome, Invalidation, ManualClock, NewEntry,
};
use cache_disk::{DiskBackend, DiskConfig};
use redb::StorageBackend;
use redb::backends::FileBackend;
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner, thread};
use tempfile::TempDir;
use testkit::reliability::{Tally, times};

/// Runs `test` under `schedules` orders of steps: half of them random, half with few preemptions.
fn explore(schedules: usize, test: impl Fn() + Send + Sync + Copy + 'static) {
    let (tally, schedules) = (Tally::new("schedules", None), times(schedules));
    tally.attempts(schedules);
    let config = || {
        let mut config = Config::new();
        // redb's commits are deep.
        config.stack_size = 1 << 20;
        config.failure_persistence = FailurePersistence::Print;
        config
    };
    Runner::new(RandomScheduler::new(schedules / 2), config()).run(test);
    Runner::new(PctScheduler::new(3, schedules / 2), config()).run(test);
}

/// A row of a database with a version, and a store before it. The row's atomics are not shuttle's: a step of the
/// database is one step.
struct World {
    root: TempDir,
    clock: Arc<ManualClock>,
    hash_mask: u64,
    cache: DiskBackend,
    version: AtomicU64,
    acknowledged: AtomicU64,
}

impl World {
    fn new(hash_mask: u64) -> Arc<Self> {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { TempDir::new_in(memory) } else { tempfile::tempdir() }.unwrap();
        let clock = Arc::new(ManualClock::new());
        let cache = block_on(DiskBackend::open(config(&root, &clock, hash_mask))).unwrap();
        let (version, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { root, clock, hash_mask, cache, version, acknowledged })
    }

    /// One whose row was stored by the process before.
    fn reopened() -> Arc<Self> {
        let world = Self::new(u64::MAX);
        world.read(&world.cache, NewEntry::new);
        block_on(world.cache.close()).unwrap();
        let cache = block_on(DiskBackend::open(config(&world.root, &world.clock, u64::MAX))).unwrap();
        let Self { root, clock, hash_mask, version, acknowledged, .. } =
            Arc::try_unwrap(world).unwrap_or_else(|_| unreachable!("nobody else has it"));
        Arc::new(Self { root, clock, hash_mask, cache, version, acknowledged })
    }

    /// Reads through `cache`: an answer older than what was acknowledged before is a stale read.
    fn read(&self, cache: &DiskBackend, entry: impl Fn(Vec<u8>) -> NewEntry) {
        let oldest = self.acknowledged.load(Ordering::SeqCst);
        let lookup = block_on(cache.lookup(&key())).unwrap();
        if let Some(entry) = lookup.entry {
            self.check(&entry.payload, oldest);
            return;
        }
        let loaded = self.version.load(Ordering::SeqCst);
        let (FillOutcome::Stored | FillOutcome::Refused) =
            block_on(cache.fill(&key(), lookup.token, entry(loaded.to_le_bytes().to_vec()))).unwrap();
    }

    fn check(&self, payload: &[u8], oldest: u64) {
        let version = u64::from_le_bytes(payload.first_chunk().copied().unwrap());
        assert!(version >= oldest, "stale: {version} after {oldest}");
        assert!(version <= self.version.load(Ordering::SeqCst), "a version that never was");
    }

    /// Changes the row, invalidates, acknowledges.
    fn change(&self, what: Invalidation) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = block_on(self.cache.invalidate(&[what])).unwrap();
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }

    /// Readers that load race with `writers`; in the end, and after reopening, nothing old is there.
    fn race(self: Arc<Self>, readers: usize, writers: Vec<Change>) {
        let readers = (0..readers).map(|_| {
            let world = Arc::clone(&self);
            thread::spawn(move || {
                world.read(&world.cache, NewEntry::new);
                world.read(&world.cache, NewEntry::new);
            })
        });
        let writers = writers.into_iter().map(|writer| {
            let world = Arc::clone(&self);
            thread::spawn(move || writer(&world))
        });
        for thread in readers.chain(writers).collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        self.read(&self.cache, NewEntry::new);
        block_on(self.cache.close()).unwrap();
        let again = block_on(DiskBackend::open(config(&self.root, &self.clock, self.hash_mask))).unwrap();
        self.read(&again, NewEntry::new);
        block_on(again.close()).unwrap();
    }
}

fn config(root: &TempDir, clock: &Arc<ManualClock>, hash_mask: u64) -> DiskConfig {
    DiskConfig::new(root.path())
        .limit_bytes(8 << 20)
        .clock(clock.clone())
        .hash_mask(hash_mask)
        .wrap_storage(|file| Box::new(Unsynced(file)))
}

/// Leaves syncs out: they only cost time.
#[derive(Debug)]
struct Unsynced(FileBackend);

impl StorageBackend for Unsynced {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.0.close()
    }
}

fn key() -> CacheKey {
    CacheKey::builder("image", 5).part("metadata").build().unwrap()
}

fn other_key(number: usize) -> CacheKey {
    CacheKey::builder("thumbnail", number).part("metadata").build().unwrap()
}

fn fill(cache: &DiskBackend, key: &CacheKey, entry: NewEntry) {
    let token = block_on(cache.lookup(key)).unwrap().token;
    let (FillOutcome::Stored | FillOutcome::Refused) = block_on(cache.fill(key, token, entry)).unwrap();
}

/// What one thread does to the world.
type Change = Box<dyn FnOnce(&World) + Send>;

fn changes(what: &str) -> Change {
    let what: Invalidation = what.parse().unwrap();
    Box::new(move |world| world.change(what))
}

/// History 7 for keys: a fill passes its first check, the invalidation runs to its end, the fill inserts.
#[test]
#[cfg_attr(feature = "plant-check-outside-lock", should_panic(expected = "stale"))]
fn no_schedule_serves_an_old_version_after_its_keys_invalidation() {
    explore(1_200, || World::new(u64::MAX).race(2, vec![changes("key image:5:metadata")]));
}

/// History 7: the same for a group and for patterns.
#[test]
#[cfg_attr(feature = "plant-check-outside-lock", should_panic(expected = "stale"))]
fn no_schedule_serves_an_old_version_after_a_group_or_a_pattern() {
    explore(1_200, || {
        World::new(u64::MAX).race(2, vec![changes("group image:5"), changes("pattern image:5*")]);
    });
}

#[test]
#[cfg_attr(feature = "plant-check-outside-lock", should_panic(expected = "stale"))]
fn no_schedule_serves_an_old_version_after_a_clear() {
    explore(1_200, || {
        World::new(u64::MAX).race(2, vec![changes("everything"), changes("key image:5:metadata")]);
    });
}

/// Keys that share one place in the index push each other out of it while they are filled and invalidated.
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

/// A value that expires leaves the index by another way than one that is invalidated.
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

/// A full store: the key is evicted while it is filled and invalidated.
#[test]
fn no_schedule_serves_an_old_version_when_entries_are_evicted() {
    explore(160, || {
        let world = World::new(u64::MAX);
        for number in 0..7 {
            fill(&world.cache, &other_key(number), NewEntry::new(vec![7; 900_000]));
        }
        // The queue must never be full: waiting for room takes tokio's clock.
        block_on(world.cache.flush()).unwrap();
        let evict = Box::new(|world: &World| {
            for number in 7..10 {
                fill(&world.cache, &other_key(number), NewEntry::new(vec![7; 900_000]));
            }
        });
        world.race(1, vec![changes("group image:5"), evict]);
    });
}

/// A `set` between lookup and fill: the older load never replaces it.
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

/// The index is being filled from the file while the store is used.
#[test]
fn no_schedule_serves_an_old_version_while_the_index_is_being_filled() {
    explore(2_000, || {
        World::reopened().race(2, vec![changes("group image:5"), changes("key image:5:metadata")]);
    });
}

/// What is in the file is found at any moment of that: the filling ends between two steps of a reader, too.
#[test]
fn no_schedule_misses_a_stored_value_while_the_index_is_being_filled() {
    explore(2_000, || {
        let world = World::reopened();
        let readers = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let entry = block_on(world.cache.get(&key())).unwrap();
                assert!(entry.is_some(), "it is in the file and was not found");
            })
        });
        for reader in readers {
            reader.join().unwrap();
        }
        block_on(world.cache.close()).unwrap();
    });
}

/// What a `set` replaced does not come back when the newer value leaves the index before the writer has come to either.
#[test]
fn no_schedule_brings_back_what_was_replaced_while_the_index_is_being_filled() {
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

/// Whatever is under way when the store is closed ends, and with nothing but success or `Closed`.
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
        let again = block_on(DiskBackend::open(config(&world.root, &world.clock, u64::MAX))).unwrap();
        block_on(again.close()).unwrap();
    });
}

/// Several keys of one group, deleted one by one and together.
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
