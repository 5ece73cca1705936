//! [`Sampler`]: samples the space that a directory takes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Samples every few milliseconds, on its own thread.
pub(crate) struct Sampler {
    most: Arc<AtomicU64>,
    samples: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    pub(crate) fn start(directory: &Path) -> Self {
        let (most, samples, is_over) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let looking =
            (PathBuf::from(directory), Arc::clone(&most), Arc::clone(&samples), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let (directory, most, samples, is_over) = looking;
            while !is_over.load(Ordering::SeqCst) {
                most.fetch_max(space_of(&directory), Ordering::SeqCst);
                samples.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self { most, samples, is_over, thread: Some(thread) }
    }

    /// The largest sample since the last call.
    pub(crate) fn most(&self) -> u64 {
        self.most.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::SeqCst)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Space that `directory` and its files take, in bytes, as `du` counts it.
pub(crate) fn space_of(directory: &Path) -> u64 {
    let blocks = |path: &Path| fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks());
    // A file that is removed while the directory is read counts as zero.
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let sum: u64 = files.map(|file| blocks(&file.path())).sum();
    (sum + blocks(directory)) * 512
}
