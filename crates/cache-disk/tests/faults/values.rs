//! Values files: operations on them that fail, values that leave while they are read, and file systems without holes.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use cache_core::{CacheBackend, CacheKey, Error, ErrorKind, HealthStatus, NewEntry};
use cache_disk::{DiskBackend, DiskConfig, ValuesOperation};
use testkit::reliability::Tally;

use super::sampler::{values_files, values_space_of};
use super::storage::{EIO, ENOSPC, Faulty, values_on};
use super::support::{Dice, config, eventually, in_memory, key, repeat, runtime, what};
use super::world::{World, value, version};

/// Sizes of values in a row, in blocks and a row, and in blocks alone.
const SIZES: [usize; 5] = [100, 4_000, 9_000, 60_000, 200_000];

/// After the fault ends, the cache must work again this soon.
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);

fn config_of(directory: &Path, has_holes: bool) -> DiskConfig {
    if has_holes { config(directory) } else { config(directory).without_holes() }
}

fn must_be_clear(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Io), "{error:?}");
}

/// Uses and closes a store three times, in the same way every time as far as threads allow.
async fn live(config: impl Fn() -> DiskConfig, world: &World) {
    let dice = Dice::new(4);
    for _ in 0..3 {
        let cache = DiskBackend::open(config()).await.unwrap();
        for turn in 0..20 {
            match turn % 10 {
                // The database works: nothing keeps a removal from being durable.
                3 => drop(world.change(&cache, what("group image:5")).await.unwrap()),
                6 => drop(world.change(&cache, world.any_invalidation(&dice)).await.unwrap()),
                9 => cache.flush().await.unwrap_or_else(|error| must_be_clear(&error)),
                _ => {
                    let row = dice.below(world.rows.len());
                    let read = world.read(&cache, row, *dice.pick(&SIZES)).await;
                    drop(read.inspect_err(must_be_clear));
                }
            }
        }
        world.look_at_all(&cache).await;
        cache.close().await.unwrap();
    }
}

/// Lets the operations on values files fail from number `first` on, `failures` times; then the store must work.
async fn survive(first: usize, failures: usize, errno: i32, has_holes: bool) {
    let (root, world) = (in_memory(), World::new());
    let disk = Arc::new(Faulty::new(first, failures, errno));
    live(|| values_on(config_of(root.path(), has_holes), &disk), &world).await;
    let cache = DiskBackend::open(values_on(config_of(root.path(), has_holes), &disk)).await.unwrap();
    world.look_at_all(&cache).await;
    disk.mend();
    eventually(RECOVERS_WITHIN, "a disk that works again is used", async || {
        for row in 0..world.rows.len() {
            world.read(&cache, row, SIZES[row % SIZES.len()]).await.unwrap();
        }
        cache.flush().await.is_ok() && world.look_at_all(&cache).await == world.rows.len()
    })
    .await;
    assert_eq!(cache.health().await.status, HealthStatus::Ok);
    world.change(&cache, what("group image:5")).await.unwrap();
    cache.close().await.unwrap();
    let cache = DiskBackend::open(config_of(root.path(), has_holes)).await.unwrap();
    let live = world.frees_all_other_blocks(&cache, root.path()).await;
    assert!(live > 500_000, "only {live} bytes in blocks are left of what was stored and not invalidated");
    cache.close().await.unwrap();
}

fn fail_each(failures: usize, errno: i32, has_holes: bool) {
    let (runtime, tally) = (&runtime(), Tally::new("failed n-th operations on values files", None));
    let (root, disk) = (in_memory(), Faulty::sound());
    runtime.block_on(live(|| values_on(config_of(root.path(), has_holes), &disk), &World::new()));
    let last = disk.operations();
    assert!(last > 60, "a life of a store has more than {last} operations on values files");
    let firsts: Vec<usize> = (0..last).step_by(repeat("CACHE_DISK_IO_STEP", 6)).collect();
    // Many at a time: they mostly wait.
    for firsts in firsts.chunks(20) {
        tally.attempts(firsts.len());
        thread::scope(|scope| {
            for first in firsts {
                scope.spawn(move || runtime.block_on(survive(*first, failures, errno, has_holes)));
            }
        });
    }
}

#[test]
fn an_io_error_at_any_operation_on_values_files_does_no_harm() {
    fail_each(1, EIO, true);
    fail_each(1, EIO, false);
}

#[test]
fn values_files_that_stay_broken_do_no_harm_and_are_used_once_they_work_again() {
    fail_each(usize::MAX, EIO, true);
}

#[test]
fn values_files_on_a_full_disk_do_no_harm() {
    fail_each(3, ENOSPC, true);
    fail_each(usize::MAX, ENOSPC, true);
}

/// A file system may refuse to punch holes for good.
#[test]
fn blocks_that_cannot_be_freed_do_not_keep_the_writer_busy() {
    runtime().block_on(async {
        let (root, frees) = (in_memory(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&frees);
        let config = config(root.path()).before_values(move |operation| match operation {
            ValuesOperation::Free { .. } => {
                counted.fetch_add(1, Ordering::SeqCst);
                Err(std::io::Error::from_raw_os_error(EIO))
            }
            _ => Ok(true),
        });
        let cache = DiskBackend::open(config).await.unwrap();
        for version in 0..3 {
            let key = key("image:5:a");
            cache.set(&key, NewEntry::new(value(&key, version, 60_000))).await.unwrap();
            cache.flush().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let frees = frees.load(Ordering::SeqCst);
        assert!((1..100).contains(&frees), "it tried {frees} times");
        cache.close().await.unwrap();
    });
}

/// Holds a read of a value until its blocks are about to be freed, and tears the blocks before it goes on.
#[derive(Debug)]
struct Gate {
    /// The directory of the store.
    directory: PathBuf,
    state: Mutex<GateState>,
    changed: Condvar,
    /// The block that is read first.
    id: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum GateState {
    Open,
    /// The next read waits.
    Armed,
    Reading,
    /// The reader may go on; freeing waits for it.
    Torn,
    Read,
}

impl Gate {
    fn set(&self, state: GateState) {
        *self.state.lock().unwrap() = state;
        self.changed.notify_all();
    }

    fn wait_for(&self, state: GateState) {
        let reached = self.state.lock().unwrap();
        let within = Duration::from_secs(5);
        let waited = self.changed.wait_timeout_while(reached, within, |now| *now < state).unwrap();
        assert!(!waited.1.timed_out(), "{state:?} is never reached");
    }

    fn before(&self, operation: &ValuesOperation<'_>) {
        let state = *self.state.lock().unwrap();
        match operation {
            ValuesOperation::Read { id } if state == GateState::Armed => {
                self.id.store(*id, Ordering::SeqCst);
                self.set(GateState::Reading);
                self.wait_for(GateState::Torn);
            }
            ValuesOperation::Free { ids }
                if state == GateState::Reading && ids.contains(&self.id.load(Ordering::SeqCst)) =>
            {
                // Some of the blocks are freed.
                let file = values_files(&self.directory).pop().unwrap();
                let file = OpenOptions::new().write(true).open(file).unwrap();
                file.write_all_at(&vec![0; 40_960], (self.id.load(Ordering::SeqCst) + 20) * 4096).unwrap();
                self.set(GateState::Torn);
                self.wait_for(GateState::Read);
            }
            _ => {}
        }
    }
}

/// Reads version 1 of `image:5:a` while `leave` has it go; returns the version that the reader got.
async fn read_while(leave: impl AsyncFn(&DiskBackend, &Path)) -> Option<u64> {
    let (root, read) = (in_memory(), key("image:5:a"));
    let gate = Arc::new(Gate {
        directory: root.path().to_owned(),
        state: Mutex::new(GateState::Open),
        changed: Condvar::new(),
        id: AtomicU64::new(0),
    });
    let watched = Arc::clone(&gate);
    let config = config(root.path()).before_values(move |operation| {
        watched.before(&operation);
        Ok(true)
    });
    let cache = Arc::new(DiskBackend::open(config).await.unwrap());
    cache.set(&read, NewEntry::new(value(&read, 1, 200_000))).await.unwrap();
    cache.flush().await.unwrap();
    gate.set(GateState::Armed);
    let reader = {
        let (cache, key) = (Arc::clone(&cache), read.clone());
        tokio::spawn(async move { cache.get(&key).await.unwrap() })
    };
    let watched = Arc::clone(&gate);
    tokio::task::spawn_blocking(move || watched.wait_for(GateState::Reading)).await.unwrap();
    let left = async {
        leave(&cache, root.path()).await;
        // A clear removes the file as a whole, before which nothing is freed.
        if values_space_of(root.path()) == 0 {
            gate.set(GateState::Torn);
        }
    };
    let (found, ()) = tokio::join!(
        async {
            let found = reader.await.unwrap();
            gate.set(GateState::Read);
            found
        },
        left
    );
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.corrupt, stats.errors), (0, 0), "a value that left was taken for damaged");
    cache.close().await.unwrap();
    found.map(|entry| version(&read, &entry.payload))
}

#[test]
fn a_value_that_leaves_while_it_is_read_is_no_damage() {
    let set = async |cache: &DiskBackend, key: &CacheKey, version| {
        cache.set(key, NewEntry::new(value(key, version, 200_000))).await.unwrap();
    };
    runtime().block_on(async {
        for text in ["key image:5:a", "group image:5", "pattern image", "everything"] {
            let found = read_while(async |cache, directory| {
                let _ = cache.invalidate(&[what(text)]).await.unwrap();
                if text == "everything" {
                    let is_removed = async || values_space_of(directory) == 0;
                    eventually(RECOVERS_WITHIN, "old values are removed", is_removed).await;
                }
            });
            assert_eq!(found.await, None, "{text}");
        }
        let replaced = read_while(async |cache, _| set(cache, &key("image:5:a"), 2).await);
        assert_eq!(replaced.await, Some(2));
        let evicted = read_while(async |cache, _| {
            for id in 0..60 {
                set(cache, &key(&format!("image:7:{id}")), 1).await;
            }
        });
        assert_eq!(evicted.await, None);
    });
}

/// A directory moves between file systems, or a newer system can make holes.
#[test]
fn a_directory_from_a_file_system_without_holes_is_used_on_one_with_them_and_the_other_way_round() {
    runtime().block_on(async {
        for begins_with_holes in [false, true] {
            let (root, world, dice) = (in_memory(), World::new(), Dice::new(7));
            for turn in 0..6 {
                let has_holes = (turn % 2 == 0) == begins_with_holes;
                let cache = DiskBackend::open(config_of(root.path(), has_holes)).await.unwrap();
                let hits = world.look_at_all(&cache).await;
                assert!(turn == 0 || hits > 10, "{hits} values were found by opening number {turn}");
                world.change(&cache, world.any_invalidation(&dice)).await.unwrap();
                world.frees_all_other_blocks(&cache, root.path()).await;
                for row in 0..world.rows.len() {
                    world.read(&cache, row, SIZES[(row + turn) % SIZES.len()]).await.unwrap();
                }
                cache.flush().await.unwrap();
                assert_eq!(world.look_at_all(&cache).await, world.rows.len());
                world.change(&cache, what("group image:5")).await.unwrap();
                let live = world.frees_all_other_blocks(&cache, root.path()).await;
                assert!(live > 500_000, "only {live} bytes in blocks");
                cache.close().await.unwrap();
            }
        }
    });
}
