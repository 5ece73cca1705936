//! A process that stores or removes values at a pace, and says which it has done.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{about_this_process, wait_for_the_parent};
use crate::Outcome;
use crate::peers::store::{Place, named};
use crate::workload::{Values, image_keys};

/// Opens the store of this name in `directory` and stores `count` values, one in so many microseconds, or removes so many that were stored
/// before. Prints the number of each as soon as it is done.
///
/// Once it has stored all, it closes the store and prints how many bytes it has written.
pub(super) fn work(
    what: &str,
    store: &str,
    directory: &Path,
    value_bytes: usize,
    pause_micros: u64,
    count: usize,
) -> Outcome<()> {
    let pause = Duration::from_micros(pause_micros);
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?);
    let named = named(store).with_context(|| format!("no store {store}"))?;
    let mut store = (named.open)(Place { runtime: &runtime, directory, entries: count })?;
    let (keys, values) = (image_keys(0, count), Values::new(value_bytes));
    let entries: Vec<_> = keys.iter().enumerate().map(|(number, key)| (key, values.of(number))).collect();
    match what {
        "set" => {
            for (entry, number) in entries.chunks(1).zip(at_pace(pause)) {
                store.writes(entry)?;
                println!("{number}");
            }
        }
        "remove" => {
            for some in entries.chunks(100) {
                store.writes(some)?;
                store.settle()?;
            }
            for (key, number) in keys.iter().zip(at_pace(pause)) {
                store.remove(key)?;
                println!("{number}");
            }
        }
        _ => bail!("no work {what}"),
    }
    store.settle()?;
    drop(store);
    // What was cut off before it reached the disk does not count.
    let written =
        about_this_process("io", "write_bytes:")? - about_this_process("io", "cancelled_write_bytes:")?;
    println!("written {written}");
    wait_for_the_parent();
    Ok(())
}

/// Numbers, each when it is due.
fn at_pace(pause: Duration) -> impl Iterator<Item = u64> {
    let started = Instant::now();
    (0_u64..).inspect(move |number| {
        let due = started + pause * (*number as u32);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    })
}
