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
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.map(|file| file_space(&file.path())).sum::<u64>() + file_space(directory)
}

/// Space that the values files in `directory` take, in bytes.
pub(crate) fn values_space_of(directory: &Path) -> u64 {
    values_files(directory).iter().map(|path| file_space(path)).sum()
}

/// The paths of the values files in `directory`, in the order of their names.
pub(crate) fn values_files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_values =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("values-"));
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).filter(is_values).collect();
    paths.sort();
    paths
}

/// A file that is removed while it is looked at counts as zero.
fn file_space(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}
