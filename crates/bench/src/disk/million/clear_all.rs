//! Clearing everything or a family, and what a delete that comes meanwhile has to wait for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use cache_core::{CacheBackend, CacheBackendExt, CacheKey, Invalidated, Invalidation, NewEntry};
use cache_disk::DiskBackend;

use super::{ENTRIES, PAGES, fill};
use crate::Outcome;
use crate::case::{Target, Unit};
use crate::interleave::median;
use crate::row::Row;
use crate::session::Session;
use crate::stores::open_ours;
use crate::workload::{Values, image_keys};

/// Durable deletes before each clear.
const DELETES: usize = 200;
/// Values that are written to the disk before each of them is deleted.
const AT_ONCE: usize = 20;
/// How long deletes go on after the clear has returned: what it removes behind itself may hold them up.
const BEHIND: Duration = Duration::from_secs(3);

/// Durable deletes of values that are on the disk, one after the other, each in microseconds.
async fn delete(cache: &DiskBackend, keys: &[CacheKey], values: &Values) -> Outcome<Vec<f64>> {
    for key in keys {
        cache.set(key, NewEntry::new(values.of(0))).await?;
    }
    // A value that is still queued is gone without a write.
    cache.flush().await?;
    let mut taken = Vec::new();
    for key in keys {
        let started = Instant::now();
        let done = cache.delete(key).await?;
        taken.push(started.elapsed().as_secs_f64() * 1e6);
        ensure!(matches!(done, Invalidated::Applied { .. }), "a delete was not applied");
    }
    Ok(taken)
}

/// Deletes keys until `is_over`, and returns the longest in microseconds.
async fn slowest_delete(
    cache: Arc<DiskBackend>,
    keys: Vec<CacheKey>,
    is_over: Arc<AtomicBool>,
) -> Outcome<f64> {
    let values = Values::new(super::BYTES);
    let mut slowest = 0.0_f64;
    while !is_over.load(Ordering::SeqCst) {
        slowest = delete(&cache, &keys, &values).await?.into_iter().fold(slowest, f64::max);
    }
    Ok(slowest)
}

/// Measures the rows.
pub(super) fn run(session: &mut Session, directory: &Path) -> Outcome<()> {
    let times = if session.quick { 1 } else { 3 };
    let cache = open_ours(&session.runtime, directory.to_owned(), 1000, PAGES)?;
    let family = Invalidation::Pattern("image:*".parse()?);
    // As it was opened.
    let mut is_full = true;
    for (name, what) in [("everything", Invalidation::Everything), ("a family", family)] {
        let (mut one, mut clears, mut slowest, mut slowest_before) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            if !is_full {
                fill(session, &cache)?;
            }
            is_full = false;
            session.doing("clearing a million entries");
            let Times { mut deletes, clear, longest } = session.runtime.block_on(clear(&cache, &what))?;
            slowest_before.push(deletes.iter().copied().fold(0.0, f64::max));
            one.append(&mut deletes);
            clears.push(clear);
            slowest.push(longest);
        }
        let peer = ("one durable delete", median(&one));
        let row =
            |name: String, target, ours| Row::beside(&name, Unit::Micros, Target::Ratio(target), ours, peer);
        if what == Invalidation::Everything {
            session.keep(row(format!("clear {name}, 1,000,000 entries"), 5.0, median(&clears)));
        } else {
            let clear = median(&clears) / 1000.0;
            let row =
                Row::counted(&format!("clear {name}, 1,000,000 entries"), Unit::MILLIS, clear, 10_000.0);
            session.keep(
                row.note(
                    "each of them is removed; in parts, so that others need not wait for all".to_owned(),
                ),
            );
        }
        let note = format!(
            "two callers delete until {} s after the clear; before it the longest delete of {DELETES} took {:.0} us",
            BEHIND.as_secs(),
            median(&slowest_before)
        );
        // As long as one, and later by at most five times that.
        let name = format!("longest delete during a clear of {name}");
        session.keep(row(name, 6.0, median(&slowest)).note(note));
    }
    Ok(())
}

/// What one round took, in microseconds.
struct Times {
    deletes: Vec<f64>,
    clear: f64,
    longest: f64,
}

/// Deletes some entries, and then more of them while `what` is removed.
async fn clear(cache: &Arc<DiskBackend>, what: &Invalidation) -> Outcome<Times> {
    while cache.stats().await?.count < (ENTRIES - ENTRIES / 1000) as u64 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let values = Values::new(super::BYTES);
    let mut deletes = Vec::new();
    for some in image_keys(ENTRIES, DELETES).chunks(AT_ONCE) {
        deletes.append(&mut delete(cache, some, &values).await?);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    // While one of them writes values, the other deletes.
    let [one, other] = [2, 3].map(|part| {
        let keys = image_keys(part * ENTRIES, AT_ONCE);
        tokio::spawn(slowest_delete(Arc::clone(cache), keys, Arc::clone(&is_over)))
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    let removed = cache.invalidate(std::slice::from_ref(what)).await?.removed();
    let clear = started.elapsed().as_secs_f64() * 1e6;
    ensure!(removed > 0, "a clear removed nothing");
    tokio::time::sleep(BEHIND).await;
    is_over.store(true, Ordering::SeqCst);
    Ok(Times { deletes, clear, longest: one.await??.max(other.await??) })
}
