//! Space on disk over time, as `du` counts it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use cache_core::MEGABYTE;

use crate::Outcome;
use crate::plot::Points;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(2);

/// Runs `work` and returns the space of `directory` meanwhile, in seconds and MiB, beside what it returns.
pub fn during<T>(directory: &Path, work: impl FnOnce() -> Outcome<T>) -> Outcome<(Points, T)> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(directory, &is_over));
        let done = work();
        is_over.store(true, Ordering::SeqCst);
        let samples = watching.join().map_err(|_| anyhow!("the watcher panicked"))?;
        Ok((samples, done?))
    })
}

/// The most MiB of `samples`.
pub fn peak(samples: &Points) -> f64 {
    samples.iter().map(|(_, megabytes)| *megabytes).fold(0.0, f64::max)
}

fn watch(directory: &Path, is_over: &AtomicBool) -> Points {
    let started = Instant::now();
    let mut samples = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        samples.push((started.elapsed().as_secs_f64(), space_of(directory) as f64 / MEGABYTE as f64));
        std::thread::sleep(EVERY);
    }
    samples
}

/// Space that `directory` and its files take.
fn space_of(directory: &Path) -> u64 {
    let blocks = |path: &Path| std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks());
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    (files.map(|file| blocks(&file.path())).sum::<u64>() + blocks(directory)) * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_at_the_end_was_seen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x");
        let (samples, ()) = during(directory.path(), || {
            std::fs::write(&file, vec![1; 3 << 20])?;
            std::thread::sleep(EVERY * 20);
            Ok(std::fs::remove_file(&file)?)
        })
        .unwrap();
        assert!(peak(&samples) >= 3.0, "{samples:?}");
    }
}
