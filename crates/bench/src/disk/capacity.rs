//! How much of the limit values can use: their bytes, without keys, headers and pages, when the cache is full.

use anyhow::ensure;
use cache_core::{CacheBackend, MEGABYTE};
use cache_disk::DiskBackend;
use fastrand::Rng;

use crate::case::Unit;
use crate::row::Row;
use crate::session::Session;
use crate::stores::{directory, open_ours, set};
use crate::workload::{Values, image_keys};
use crate::{Outcome, space};

/// What sizes the values have, and which share of the limit they have to reach in percent.
const ROWS: [(&str, usize, usize, f64); 4] = [
    ("200 B", 200, 200, 40.0),
    ("1 KB", 1024, 1024, 65.0),
    ("4.1 KB", 4200, 4200, 80.0),
    ("10-200 KB", 10_000, 200_000, 95.0),
];

/// Stores twice what the limit allows; returns the bytes of those that are still there.
async fn fill(cache: &DiskBackend, limit: u64, smallest: usize, largest: usize) -> Outcome<u64> {
    let (mut random, noise) = (Rng::with_seed(51), Values::new(largest));
    let mut sizes = Vec::new();
    let mut stored = 0;
    while stored < 2 * limit {
        let size = random.usize(smallest..=largest);
        sizes.push(size);
        stored += size as u64;
    }
    let keys = image_keys(0, sizes.len());
    let mut unflushed = 0;
    for (number, (key, size)) in keys.iter().zip(&sizes).enumerate() {
        set(cache, key, noise.of(number).slice(..*size)).await?;
        unflushed += size;
        if unflushed > 4 << 20 {
            cache.flush().await?;
            unflushed = 0;
        }
    }
    cache.flush().await?;
    let mut live = 0;
    for key in &keys {
        // Unlike a lookup this leaves the order of eviction alone.
        live += cache.explain(key).await?.size_bytes.unwrap_or(0);
    }
    ensure!(live > 0, "nothing is stored");
    Ok(live)
}

/// Measures the rows.
pub fn run(session: &mut Session) -> Outcome<()> {
    let limit_mb = if session.quick { 64 } else { 256 };
    let mut most = 0.0_f64;
    let mut looks = 0;
    for (size, smallest, largest, target) in ROWS {
        let name = format!("bytes of values of {size} in a full cache");
        session.doing(&name);
        let (root, limit) = (directory()?, limit_mb * MEGABYTE);
        let path = root.path().join("ours");
        let cache = open_ours(&session.runtime, path.clone(), limit_mb, 32 << 20)?;
        let (samples, live) =
            space::during(&path, || session.runtime.block_on(fill(&cache, limit, smallest, largest)))?;
        most = most.max(space::peak(&samples) * 100.0 / limit_mb as f64);
        looks += samples.len();
        let share = live as f64 * 100.0 / limit as f64;
        let note = format!("of a limit of {limit_mb} MB; {:.0} % of it is taken on the disk", {
            samples.last().map_or(0.0, |(_, megabytes)| megabytes * 100.0 / limit_mb as f64)
        });
        session.keep(Row::counted(&name, Unit::PERCENT, share, target).note(note));
    }
    let row = Row::counted("most space while those were stored", Unit::SPACE_PERCENT, most, 100.0);
    session.keep(row.note(format!("looked at {looks} times")));
    Ok(())
}
