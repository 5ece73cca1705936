//! Opening: how long until every entry is known, and the memory that this takes; in a process of its own.

use std::path::Path;

use super::{ENTRIES, PAGES, argument};
use crate::Outcome;
use crate::case::{Target, Unit};
use crate::child::Child;
use crate::interleave::median;
use crate::row::Row;
use crate::session::Session;
use crate::stores::INDEX_BYTES;

/// What a process that opened the cache says of itself: milliseconds, and kilobytes.
struct Opened {
    before: f64,
    complete: f64,
    peak: f64,
    steady: f64,
    child: Child,
}

fn open(directory: &Path, page_cache_bytes: usize) -> Outcome<Opened> {
    let (entries, pages) = (ENTRIES.to_string(), page_cache_bytes.to_string());
    let mut child = Child::start(&["open", &argument(directory), &entries, &pages])?;
    let before = child.figure("before")?;
    child.figure("opened")?;
    let (complete, peak) = (child.figure("complete")?, child.figure("peak")?);
    let steady = child.figure("steady")?;
    child.figure("changed")?;
    Ok(Opened { before, complete, peak, steady, child })
}

/// Measures the rows.
pub(super) fn run(session: &mut Session, directory: &Path) -> Outcome<()> {
    let times = if session.quick { 2 } else { 5 };
    let (mut clean, mut killed, mut peaks, mut steadies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        session.doing("opening a million entries");
        let mut after_close = open(directory, PAGES)?;
        after_close.child.kill()?;
        let after_kill = open(directory, PAGES)?;
        after_kill.child.finish()?;
        clean.push(after_close.complete);
        killed.push(after_kill.complete);
        for (peak, steady) in [(after_close.peak, after_close.steady), (after_kill.peak, after_kill.steady)] {
            peaks.push(peak / 1024.0);
            steadies.push(steady / 1024.0);
        }
    }
    let note = "until the index knows every entry; lookups are answered meanwhile";
    for (name, taken) in [("open 1,000,000 entries", clean), ("open 1,000,000 entries after kill -9", killed)]
    {
        session.keep(Row::counted(name, Unit::MILLIS, median(&taken), 1200.0).note(note));
    }
    let (name, steady) = ("most memory while 1,000,000 entries open", ("2 s later", median(&steadies)));
    let note = "resident memory of the process, which the allocator may keep: that flatters the ratio";
    let row = Row::beside(name, Unit::MEGABYTES, Target::Ratio(1.2), median(&peaks), steady);
    session.keep(row.note(note));

    // Without memory for pages the index is all that grows.
    let few_pages = 1 << 20;
    let opened = open(directory, few_pages)?;
    let index = (opened.steady - opened.before) * 1024.0 - few_pages as f64;
    opened.child.finish()?;
    let name = "memory of the index, an entry";
    let note = "equal budgets count so much for each entry of ours";
    let row = Row::counted(name, Unit::BYTES, index / ENTRIES as f64, INDEX_BYTES as f64);
    session.keep(row.note(note));
    Ok(())
}
