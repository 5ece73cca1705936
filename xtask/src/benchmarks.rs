//! docs/benchmarks.md: the last full run of each group of rows.
//!
//! A run of one group (`--only`) writes that group's section and leaves the others as they are: each says when and where it
//! was measured.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::json::{field, list};
use crate::machine;

const PAGE: &str = "docs/benchmarks.md";

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

/// Writes the sections of the groups that `rows` are of.
pub(crate) fn write(root: &Path, rows: &Value) -> Result<(), String> {
    let file = root.join(PAGE);
    // The first time there is no page.
    let old = fs::read_to_string(&file).unwrap_or_default();
    let text = text(&old, list(rows), &machine::describe());
    fs::write(&file, text).map_err(|error| format!("cannot write {PAGE}: {error}"))?;
    println!("written: {PAGE}");
    Ok(())
}

fn text(old: &str, rows: &[Value], about: &str) -> String {
    let mut page = INTRODUCTION.to_owned();
    for (group, heading, meaning) in GROUPS {
        let of_group = |row: &&Value| field(row, "group").as_str() == Some(group);
        let new: Vec<&Value> = rows.iter().filter(of_group).collect();
        if new.is_empty() {
            page.push_str(&section(old, heading));
            continue;
        }
        let met = new.iter().filter(|row| is_met(row)).count();
        let _ = write!(
            page,
            "\n## {heading}\n{meaning}\n\n{about}: {met} of {} targets met; `cargo xtask bench --only {group}`.\n\n\
             | what | ours | peer | | ratio | spread | target | |\n\
             | --- | ---: | ---: | --- | ---: | --- | --- | --- |\n",
            new.len()
        );
        for row in new {
            page.push_str(&line(row));
        }
    }
    page
}

/// The section of this heading as it was; nothing where there was none.
fn section(page: &str, heading: &str) -> String {
    let start = format!("\n## {heading}\n");
    let Some((_, rest)) = page.split_once(&start) else { return String::new() };
    let body = rest.split_once("\n## ").map_or(rest, |(body, _)| body);
    format!("{start}{}\n", body.trim_end())
}

fn is_met(row: &Value) -> bool {
    field(row, "met").as_bool() == Some(true)
}

fn line(row: &Value) -> String {
    let text = |name| field(row, name).as_str().unwrap_or_default();
    let number = |name| field(row, name).as_f64();
    let (unit, target) = (text("unit"), number("target").unwrap_or(f64::NAN));
    let bound = if text("better") == "higher" { "at least" } else { "at most" };
    let target = match text("target_of") {
        "ratio" => format!("{bound} {} x", short(target)),
        "difference" if target < 0.0 => format!("{bound} the peer's less {} {unit}", short(-target)),
        "difference" => format!("{bound} the peer's and {} {unit}", short(target)),
        _ => format!("{bound} {} {unit}", short(target)),
    };
    let spread = match list(field(row, "spread")) {
        [low, high] => {
            format!(
                "{}-{}",
                low.as_f64().map_or_else(String::new, short),
                high.as_f64().map_or_else(String::new, short)
            )
        }
        _ => "-".to_owned(),
    };
    let peer = number("peer");
    let (beside, ratio) = match peer {
        Some(peer) => (format!("{} {unit}", short(peer)), number("ratio").map_or_else(String::new, short)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    format!(
        "| {} | {} {unit} | {beside} | {} | {ratio} | {spread} | {target} | {} |\n",
        text("name"),
        number("ours").map_or_else(String::new, short),
        text("peer_name"),
        if is_met(row) { "met" } else { "**missed**" }
    )
}

/// Three digits that say something; large figures with a comma at each thousand.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => machine::thousands(format_args!("{value:.0}")),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, met: bool) -> Value {
        serde_json::json!({"group": group, "name": "get", "ours": 2.0, "peer": 4000.0, "peer_name": "raw redb", "unit": "us",
            "better": "lower", "ratio": 0.0005, "spread": [0.4, 0.6], "target": 1.0, "target_of": "ratio", "met": met})
    }

    #[test]
    fn a_run_of_one_group_leaves_the_others_as_they_were() {
        let first = text("", &[row("disk", true), row("peers", false)], "monday");
        assert!(first.contains("monday: 1 of 1 targets met") && first.contains("**missed**"), "{first}");
        let second = text(&first, &[row("disk", true)], "tuesday");
        assert!(second.contains("tuesday: 1 of 1") && second.contains("monday: 0 of 1"), "{second}");
        assert_eq!(second.matches("monday").count(), 1);
        assert_eq!(
            text(&second, &[row("disk", true)], "tuesday"),
            second,
            "writing it again changes nothing"
        );
    }

    #[test]
    fn a_line_says_what_was_measured_and_wanted() {
        let expected =
            "| get | 2.00 us | 4,000 us | raw redb | 0.0005 | 0.40-0.60 | at most 1.00 x | met |\n";
        assert_eq!(line(&row("disk", true)), expected);
    }
}
