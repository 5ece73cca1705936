//! Helpers of all fault tests: dice, temporary directories, a runtime, stores.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{CacheBackend, CacheKey, Invalidation};
use cache_disk::{DiskBackend, DiskConfig};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// The smallest limit: the backend evicts, syncs and reopens most often.
pub(crate) const SMALL_LIMIT: u64 = 8 << 20;

/// Where files are in memory.
pub(crate) const MEMORY: &str = "/dev/shm";

/// Repeatable random numbers, which threads may share.
///
/// splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A number in `from..to`.
    pub(crate) fn between(&self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }

    pub(crate) fn one_in(&self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The number of repetitions: `default`, or the value of the environment variable.
pub(crate) fn repeat(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// A directory on the disk, for tests of disk space.
pub(crate) fn on_disk() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A directory in memory if possible, for tests that open hundreds of stores.
pub(crate) fn in_memory() -> TempDir {
    let memory = Path::new(MEMORY);
    if memory.is_dir()
        && let Ok(directory) = TempDir::new_in(memory)
    {
        return directory;
    }
    on_disk()
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn config(directory: &Path) -> DiskConfig {
    DiskConfig::new(directory).limit_bytes(SMALL_LIMIT).page_cache_bytes(4 << 20)
}

pub(crate) async fn open(directory: &Path) -> DiskBackend {
    DiskBackend::open(config(directory)).await.unwrap()
}

pub(crate) fn key(text: &str) -> CacheKey {
    CacheKey::parse(text).unwrap()
}

/// `key image:5:a`, `group image:5`, `pattern image:*`, `everything`.
pub(crate) fn what(text: &str) -> Invalidation {
    text.parse().unwrap()
}

/// Waits until the index is complete.
pub(crate) async fn until_complete(cache: &DiskBackend) {
    eventually(Duration::from_secs(5), "the index is complete", async || {
        !cache.stats().await.unwrap().approximate
    })
    .await;
}

/// Copies the files of a directory as a process leaves them that is killed now.
pub(crate) fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "cache.lock") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// Polls `is_so` until it is true.
///
/// # Panics
/// When it takes longer than `within`.
pub(crate) async fn eventually(
    within: Duration,
    law: &str,
    mut is_so: impl AsyncFnMut() -> bool,
) -> Duration {
    let start = std::time::Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < within, "{law}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}
