//! A cache of a million entries: opening it, and clearing it while others delete.

mod clear_all;
mod opening;

use std::path::Path;

use cache_disk::DiskBackend;

use crate::Outcome;
use crate::session::Session;
use crate::stores::{directory, open_ours, set};
use crate::workload::{Values, image_keys};

/// Entries.
const ENTRIES: usize = 1_000_000;
/// Bytes of a value.
const BYTES: usize = 100;
/// Memory of a default configuration for pages, in bytes.
const PAGES: usize = 32 << 20;

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    session.doing("storing a million entries");
    let root = directory()?;
    let path = root.path().join("ours");
    let cache = open_ours(&session.runtime, path.clone(), 1000, PAGES)?;
    fill(session, &cache)?;
    drop(cache);
    opening::run(session, &path)?;
    clear_all::run(session, &path)
}

/// Stores the entries.
fn fill(session: &Session, cache: &DiskBackend) -> Outcome<()> {
    let values = Values::new(BYTES);
    let stored = session.runtime.block_on(async {
        for (number, key) in image_keys(0, ENTRIES).iter().enumerate() {
            set(cache, key, values.of(number)).await?;
            if number % 20_000 == 19_999 {
                cache.flush().await?;
            }
        }
        cache.flush().await
    });
    Ok(stored?)
}

/// The directory as an argument of a child.
fn argument(directory: &Path) -> String {
    directory.display().to_string()
}
