//! What a command checked: rows with counts, printed as a table with one closing line.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How many checks passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Adds the counts of another run.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { passed, failed, skipped } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) counts: Counts,
    pub(crate) elapsed: Duration,
    /// Why it failed or was skipped, or what it found.
    pub(crate) note: String,
}

/// The rows of one command.
#[derive(Debug)]
pub(crate) struct Report {
    title: &'static str,
    /// Only checks whose name contains one of these are made; none: all are.
    only: Vec<String>,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, only: Vec::new(), rows: Vec::new() }
    }

    /// A report of the checks whose name contains one of `only`, or of all checks if there is none.
    pub(crate) fn of(title: &'static str, only: Vec<String>) -> Self {
        Self { title, only, rows: Vec::new() }
    }

    /// Runs one check and records it: `Ok` is what it found, `Err` why it failed.
    pub(crate) fn check(&mut self, name: impl Into<String>, check: impl FnOnce() -> Result<String>) {
        let name = name.into();
        if !self.only.is_empty() && !self.only.iter().any(|part| name.contains(part)) {
            return;
        }
        let started = Instant::now();
        let (counts, note) = match check() {
            Ok(note) => (Counts::PASSED, note),
            Err(error) => (Counts::FAILED, format!("{error:#}")),
        };
        self.push(Row { name, counts, elapsed: started.elapsed(), note });
    }

    /// Records a check that could not be made. It never counts as passed.
    pub(crate) fn skip(&mut self, name: impl Into<String>, why: impl Into<String>) {
        let (name, note) = (name.into(), why.into());
        self.push(Row { name, counts: Counts::SKIPPED, elapsed: Duration::ZERO, note });
    }

    /// Records a row and says at once how it went.
    pub(crate) fn push(&mut self, row: Row) {
        println!("{}", line(&row));
        self.rows.push(row);
    }

    /// Takes over the rows of another command, as one row.
    pub(crate) fn absorb(&mut self, other: &Self, elapsed: Duration) {
        let failed: Vec<&str> =
            other.rows.iter().filter(|row| row.counts.failed > 0).map(|row| row.name.as_str()).collect();
        let note = if failed.is_empty() { String::new() } else { format!("failed: {}", failed.join("; ")) };
        self.push(Row { name: other.title.to_owned(), counts: other.total(), elapsed, note });
    }

    pub(crate) fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.rows.iter().for_each(|row| total.add(row.counts));
        total
    }

    /// True if a check failed, or if none was made: a command that checked nothing has shown nothing.
    pub(crate) fn has_failures(&self) -> bool {
        let total = self.total();
        total.failed > 0 || total.passed == 0
    }

    /// Prints the table and the closing line.
    pub(crate) fn print(&self) {
        println!("\n== {} ==", self.title);
        for row in &self.rows {
            println!("{}", line(row));
        }
        println!("\n{}", self.total());
    }
}

fn line(row: &Row) -> String {
    let Row { name, counts, elapsed, note } = row;
    let mark = match (counts.failed, counts.passed) {
        (1.., _) => "FAILED",
        (0, 1..) => "ok",
        (0, 0) => "SKIPPED",
    };
    let some = |shown: bool, text: String| if shown { text } else { String::new() };
    let counted = some(counts.passed + counts.failed + counts.skipped > 1, format!(" [{counts}]"));
    let note = some(!note.is_empty(), format!(": {note}"));
    format!("{mark:>8}  {:>6.1} s  {name}{counted}{note}", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_report_without_a_passed_check_is_a_failure() {
        let mut report = Report::new("nothing");
        assert!(report.has_failures());
        report.skip("database", "not at hand");
        assert!(report.has_failures());
    }

    #[test]
    fn one_failed_check_fails_the_report() {
        let mut report = Report::new("two");
        report.check("right", || Ok(String::new()));
        assert!(!report.has_failures());
        report.check("wrong", || Err(anyhow!("broken")));
        assert!(report.has_failures());
        assert_eq!(report.total().to_string(), "1 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn only_the_checks_that_were_asked_for_are_made() {
        let mut report = Report::of("lint", vec!["links".to_owned()]);
        report.check("format", || Err(anyhow!("not asked for")));
        assert!(report.has_failures(), "nothing was checked yet");
        report.check("links lead somewhere", || Ok(String::new()));
        assert_eq!(report.total(), Counts::PASSED);
    }

    #[test]
    fn a_skipped_check_is_never_printed_as_ok() {
        let row = Row {
            name: "advisories".into(),
            counts: Counts::SKIPPED,
            elapsed: Duration::ZERO,
            note: "no database".into(),
        };
        assert!(line(&row).contains("SKIPPED"));
    }

    #[test]
    fn absorbing_a_report_keeps_its_counts_and_names_its_failures() {
        let mut inner = Report::new("lint");
        inner.check("format", || Ok(String::new()));
        inner.check("clippy", || Err(anyhow!("warnings")));
        let mut outer = Report::new("ci");
        outer.absorb(&inner, Duration::ZERO);
        assert_eq!(outer.total(), Counts { passed: 1, failed: 1, skipped: 0 });
        assert!(outer.rows[0].note.contains("clippy"));
    }
}
