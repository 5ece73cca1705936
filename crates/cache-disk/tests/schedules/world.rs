//! [`World`]: a row of a database and a store before it, for schedules of shuttle.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::{CacheBackend, CacheKey, FillOutcome, Invalidation, ManualClock, NewEntry};
use cache_disk::{DiskBackend, DiskConfig};
use redb::StorageBackend;
use redb::backends::FileBackend;
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner, thread};
use tempfile::TempDir;
use testkit::reliability::{Tally, times};

/// Runs `test` under so many schedules: half of them random, half with few preemptions.
pub(crate) fn explore(schedules: usize, test: impl Fn() + Send + Sync + Copy + 'static) {
    let (tally, schedules) = (Tally::new("schedules", None), times(schedules));
    tally.attempts(schedules);
    let config = || {
        let mut config = Config::new();
        // Commits of redb use a deep stack.
        config.stack_size = 1 << 20;
        config.failure_persistence = FailurePersistence::Print;
        config
    };
    Runner::new(RandomScheduler::new(schedules / 2), config()).run(test);
    Runner::new(PctScheduler::new(3, schedules / 2), config()).run(test);
}

/// A row of a database with a version, and a store before it. The atomics of the row are not those of shuttle: an
/// operation of the database is one step.
pub(crate) struct World {
    /// Deleted with the world.
    _root: TempDir,
    config: DiskConfig,
    pub(crate) clock: Arc<ManualClock>,
    /// The number of next writes to the file that fail.
    pub(crate) failing: Arc<AtomicU64>,
    pub(crate) cache: DiskBackend,
    pub(crate) version: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
}

impl World {
    pub(crate) fn new(hash_mask: u64) -> Arc<Self> {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { TempDir::new_in(memory) } else { tempfile::tempdir() }.unwrap();
        let (clock, failing) = (Arc::new(ManualClock::new()), Arc::new(AtomicU64::new(0)));
        let config = config(&root, &clock, hash_mask, &failing);
        let cache = block_on(DiskBackend::open(config.clone())).unwrap();
        let (version, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { _root: root, config, clock, failing, cache, version, acknowledged })
    }

    /// A world whose row was stored by an earlier process.
    pub(crate) fn reopened() -> Arc<Self> {
        Self::reopened_with(u64::MAX)
    }

    pub(crate) fn reopened_with(hash_mask: u64) -> Arc<Self> {
        let world = Self::new(hash_mask);
        world.read(&world.cache, NewEntry::new);
        block_on(world.cache.close()).unwrap();
        let cache = world.open();
        let world = Arc::try_unwrap(world).unwrap_or_else(|_| unreachable!("there is no other reference"));
        Arc::new(Self { cache, ..world })
    }

    /// Opens the store again.
    pub(crate) fn open(&self) -> DiskBackend {
        block_on(DiskBackend::open(self.config.clone())).unwrap()
    }

    /// Reads through `cache`, and fails on a value older than the last acknowledged change.
    pub(crate) fn read(&self, cache: &DiskBackend, entry: impl Fn(Vec<u8>) -> NewEntry) {
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

    pub(crate) fn check(&self, payload: &[u8], oldest: u64) {
        let version = u64::from_le_bytes(payload.first_chunk().copied().unwrap());
        assert!(version >= oldest, "stale: {version} after {oldest}");
        assert!(version <= self.version.load(Ordering::SeqCst), "a version that never was");
    }

    /// Changes the row, invalidates it, and notes the acknowledgement.
    pub(crate) fn change(&self, what: Invalidation) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = block_on(self.cache.invalidate(&[what])).unwrap();
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }

    /// Races loading readers with `writers`; in the end, and after reopening, no old value may be there.
    pub(crate) fn race(self: Arc<Self>, readers: usize, writers: Vec<Change>) {
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
        let again = self.open();
        self.read(&again, NewEntry::new);
        block_on(again.close()).unwrap();
    }
}

fn config(root: &TempDir, clock: &Arc<ManualClock>, hash_mask: u64, failing: &Arc<AtomicU64>) -> DiskConfig {
    let failing = Arc::clone(failing);
    DiskConfig::new(root.path())
        .limit_bytes(8 << 20)
        .clock(clock.clone())
        .hash_mask(hash_mask)
        .wrap_storage(move |file| Box::new(Unsynced { file, failing: Arc::clone(&failing) }))
}

/// Skips syncs, which only cost time.
#[derive(Debug)]
struct Unsynced {
    file: FileBackend,
    failing: Arc<AtomicU64>,
}

impl StorageBackend for Unsynced {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        self.file.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

pub(crate) fn key() -> CacheKey {
    CacheKey::builder("image", 5).part("metadata").build().unwrap()
}

pub(crate) fn other_key(number: usize) -> CacheKey {
    CacheKey::builder("thumbnail", number).part("metadata").build().unwrap()
}

pub(crate) fn fill(cache: &DiskBackend, key: &CacheKey, entry: NewEntry) {
    let token = block_on(cache.lookup(key)).unwrap().token;
    let (FillOutcome::Stored | FillOutcome::Refused) = block_on(cache.fill(key, token, entry)).unwrap();
}

/// The work of one thread.
pub(crate) type Change = Box<dyn FnOnce(&World) + Send>;

pub(crate) fn changes(what: &str) -> Change {
    let what: Invalidation = what.parse().unwrap();
    Box::new(move |world| world.change(what))
}
