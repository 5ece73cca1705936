//! docs/benchmarks.md: the last full run of each group of rows.
//!
//! A run of one group (`--only`) writes that group's section and leaves the others as they are: each says when and where it
//! was measured.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

use crate::Outcome;
use crate::row::Row;
use crate::table::cells;

/// The groups, as `--only` knows them, each with its heading and what its rows mean.
const GROUPS: [(&str, &str, &str); 5] = [
    (
        "disk",
        "The disk backend beside raw redb",
        "The same keys and values, the same memory for pages, one run.",
    ),
    (
        "facade",
        "The typed handle beside the same done by hand",
        "What keys, codec, single flight and fences cost.",
    ),
    (
        "redis",
        "The Redis backend beside redis-rs and bb8-redis",
        "redis-rs over one connection that all tasks share, with the same socket settings; bb8-redis as its documentation \
         shows it.",
    ),
    (
        "peers",
        "Other caches",
        "Each as its documentation shows it, on the same disk: foyer with so little memory that it reads its disk, SQLite with \
         a write-ahead log and `synchronous=NORMAL`, cached without a sync for each write, Python's diskcache with its LRU \
         policy. moka and quick_cache keep values in memory alone: there is nothing to compare.",
    ),
    (
        "workloads",
        "Workloads",
        "Hit ratios beside an exact LRU that holds as many bytes; the most space that was seen; clearing by keyspace.",
    ),
];

const INTRODUCTION: &str = "# Benchmarks

`cargo xtask bench` measures ours beside its peers in one run, in turns of about two milliseconds, over many rounds: on a
shared machine the ratio of what stood side by side says something, absolute times little. **Ratio** is ours / the peer's median,
with the lowest and the highest ratio of a round. `--quick` takes minutes, `--only GROUP` one group, `--trace FILE` repeats
your lookups (`time,key,size`); the plots are in `target/bench-report/index.html`. A full run writes this page. A missed target
is printed as missed. How the rows are measured stands in the documentation of the crate `bench`.
";

/// Writes the sections of the groups that have rows; `about` names the day, the commit and the machine.
pub fn write(file: &Path, rows: &[Row], about: &str) -> Outcome<()> {
    // The first time there is no page.
    let old = std::fs::read_to_string(file).unwrap_or_default();
    std::fs::write(file, text(&old, rows, about))
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}

fn text(old: &str, rows: &[Row], about: &str) -> String {
    let mut page = INTRODUCTION.to_owned();
    for (group, heading, meaning) in GROUPS {
        let new: Vec<&Row> = rows.iter().filter(|row| row.group == group).collect();
        if new.is_empty() {
            page.push_str(&section(old, heading));
            continue;
        }
        let met = new.iter().filter(|row| row.met).count();
        let _ = write!(
            page,
            "\n## {heading}\n{meaning}\n\n{about}: {met} of {} targets met; `cargo xtask bench --only {group}`.\n\n\
             | what | ours | peer | | ratio | spread | target | |\n\
             | --- | ---: | ---: | --- | ---: | --- | --- | --- |\n",
            new.len()
        );
        for row in new {
            let _ = writeln!(page, "| {} |", cells(row).join(" | ").replace("MISSED", "**missed**"));
        }
    }
    page
}

/// The section of this heading as it was; empty if there is none.
fn section(page: &str, heading: &str) -> String {
    let start = format!("\n## {heading}\n");
    let Some((_, rest)) = page.split_once(&start) else { return String::new() };
    let body = rest.split_once("\n## ").map_or(rest, |(body, _)| body);
    format!("{start}{}\n", body.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Target, Unit};

    fn row(group: &'static str, ours: f64) -> Row {
        let row = Row::beside("get", Unit::Micros, Target::Ratio(1.0), ours, ("raw redb", 4000.0));
        Row { group, spread: Some([0.4, 0.6]), ..row }
    }

    #[test]
    fn a_run_of_one_group_leaves_the_others_as_they_were() {
        let first = text("", &[row("disk", 2.0), row("peers", 5000.0)], "monday");
        assert!(first.contains("monday: 1 of 1 targets met") && first.contains("**missed**"), "{first}");
        let second = text(&first, &[row("disk", 2.0)], "tuesday");
        assert!(second.contains("tuesday: 1 of 1") && second.contains("monday: 0 of 1"), "{second}");
        assert_eq!(second.matches("monday").count(), 1);
        assert_eq!(text(&second, &[row("disk", 2.0)], "tuesday"), second, "writing it again changes nothing");
    }

    #[test]
    fn a_line_says_what_was_measured_and_wanted() {
        let line = "\n| get | 2.00 us | 4,000 us | raw redb | 0.0005 | 0.40-0.60 | at most 1.00 x | met |\n";
        assert!(text("", &[row("disk", 2.0)], "").contains(line));
    }
}
