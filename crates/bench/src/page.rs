//! docs/benchmarks.md: the last full run of each group of rows.
//!
//! Headings and explanations are written by hand. A run replaces the figures of its groups, from the line that ends with the
//! group's command to the end of its table, and leaves the others as they are: each says when and where it was measured.

use std::path::Path;

use anyhow::Context;

use crate::Outcome;
use crate::options::GROUPS;
use crate::row::Row;
use crate::table::cells;

/// Replaces the figures of the groups that have rows; `about` names the day, the commit and the machine.
pub fn write(file: &Path, rows: &[Row], about: &str) -> Outcome<()> {
    let failed = || format!("cannot write {}", file.display());
    let mut page = std::fs::read_to_string(file).with_context(failed)?;
    for group in GROUPS.into_iter().filter(|group| rows.iter().any(|row| row.group == *group)) {
        page = replaced(&page, group, rows, about).with_context(|| format!("no section of {group}"))?;
    }
    std::fs::write(file, page).with_context(failed)?;
    println!("written: {}", file.display());
    Ok(())
}

/// The page with the figures of one group replaced; `None` if it has no section for it.
fn replaced(page: &str, group: &str, rows: &[Row], about: &str) -> Option<String> {
    let end = format!("; `cargo xtask bench --only {group}`.\n");
    let (before, after) = page.split_once(&end)?;
    let (before, _) = before.rsplit_once('\n')?;
    let after = after.split_once("\n## ").map_or(String::new(), |(_, rest)| format!("\n## {rest}"));
    let rows: Vec<&Row> = rows.iter().filter(|row| row.group == group).collect();
    let met = rows.iter().filter(|row| row.met).count();
    let lines = rows.iter().map(|row| format!("| {} |\n", cells(row).join(" | ")));
    let lines: String = lines.map(|line| line.replace("MISSED", "**missed**")).collect();
    Some(format!(
        "{before}\n{about}: {met} of {} targets met{end}\n\
         | what | ours | peer | | ratio | spread | target | | |\n\
         | --- | ---: | ---: | --- | ---: | --- | --- | --- | --- |\n{lines}{after}",
        rows.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Target, Unit};

    const EMPTY: &str = "# Benchmarks\n\n## Disk\nKeys.\n\nnever; `cargo xtask bench --only disk`.\n\n\
                         ## Peers\n\nnever; `cargo xtask bench --only peers`.\n";

    fn row(group: &'static str, ours: f64) -> Row {
        let row = Row::beside("get", Unit::Micros, Target::Ratio(1.0), ours, ("raw redb", 4000.0));
        Row { group, spread: Some([0.4, 0.6]), ..row }
    }

    #[test]
    fn a_run_of_one_group_leaves_the_others_as_they_were() {
        let rows = [row("disk", 2.0), row("peers", 5000.0)];
        let first = replaced(EMPTY, "peers", &rows, "monday").unwrap();
        let first = replaced(&first, "disk", &rows, "monday").unwrap();
        assert!(first.contains("monday: 1 of 1 targets met") && first.contains("**missed**"), "{first}");
        let second = replaced(&first, "disk", &rows, "tuesday").unwrap();
        assert!(second.contains("tuesday: 1 of 1") && second.contains("monday: 0 of 1"), "{second}");
        assert_eq!(second.matches("monday").count(), 1);
        assert!(second.contains("Keys.\n\ntuesday") && second.contains("met |  |\n\n## Peers"), "{second}");
        assert_eq!(replaced(&second, "disk", &rows, "tuesday").unwrap(), second, "it changes nothing");
        assert!(replaced(EMPTY, "redis", &rows, "monday").is_none());
    }

    #[test]
    fn a_line_says_what_was_measured_and_wanted() {
        let line =
            "\n| get | 2.00 us | 4,000 us | raw redb | 0.0005 | 0.40-0.60 | at most 1.00 x | met |  |\n";
        assert!(replaced(EMPTY, "disk", &[row("disk", 2.0)], "").unwrap().contains(line));
    }
}
