//! A process that opens a cache: how long that takes, and how much memory.

use std::path::Path;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheBackendExt, NewEntry};

use super::{about_this_process, wait_for_the_parent};
use crate::Outcome;
use crate::stores::open_ours;
use crate::workload::{Values, image_keys};

/// Time after which memory counts as steady.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);

/// Opens the cache in `directory`, which holds `entries` images' metadata, prints figures, and changes some entries.
pub(super) fn work(directory: &Path, entries: u64, page_cache_bytes: usize) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("before {}", about_this_process("status", "VmRSS:")?);
    let started = Instant::now();
    let cache = open_ours(&runtime, directory.to_owned(), 1000, page_cache_bytes)?;
    println!("opened {}", started.elapsed().as_secs_f64() * 1e3);
    // A killed process has lost some.
    let expected = entries - entries / 1000;
    while runtime.block_on(cache.stats())?.count < expected {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("complete {}", started.elapsed().as_secs_f64() * 1e3);
    std::thread::sleep(SETTLES_WITHIN);
    println!("peak {}", about_this_process("status", "VmHWM:")?);
    println!("steady {}", about_this_process("status", "VmRSS:")?);
    // A file that is killed is one that was written to.
    let values = Values::new(100);
    let deleted = runtime.block_on(async {
        for (number, key) in image_keys(0, 500).iter().enumerate() {
            cache.set(key, NewEntry::new(values.of(number))).await?;
        }
        cache.delete(&image_keys(0, 1).remove(0)).await
    })?;
    println!("changed {}", deleted.removed());
    wait_for_the_parent();
    Ok(())
}
