//! [`Score`]: the counts of the runs of a row, and [`Secrets`]: passwords that must not be printed.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use crate::report::Counts;

/// The counts of a row.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Score {
    pub(super) survived: u64,
    pub(super) of: u64,
    pub(super) delay_ms: Option<f64>,
    pub(super) heal_ms: Option<f64>,
    pub(super) seeds: Vec<u64>,
    pub(super) notes: Vec<String>,
    pub(super) violations: Vec<String>,
}

impl Score {
    /// Counts a line of a test that counts for the row `name`, or notes what a test could not do on this machine.
    pub(super) fn read(&mut self, line: &str, name: &str) {
        if let Some((_, missing)) = line.split_once("SKIPPED: ") {
            self.notes.push(format!("not tried: {}", missing.trim()));
        }
        let Some((_, json)) = line.split_once("reliability: {") else { return };
        match serde_json::from_str::<Value>(&format!("{{{json}")) {
            Ok(value) if value["row"] == name => self.add(Self::of(&value)),
            Ok(value) => self.violations.push(format!("this counts for another row: {value}")),
            Err(error) => self.violations.push(format!("a line cannot be read: {error}: {line}")),
        }
    }

    fn of(value: &Value) -> Self {
        let number = |name| value[name].as_u64().unwrap_or(0);
        let (survived, of) = (number("survived"), number("of"));
        let note = value["note"].as_str().filter(|note| !note.is_empty());
        Self {
            survived,
            of,
            delay_ms: value["delay_ms"].as_f64(),
            heal_ms: value["heal_ms"].as_f64(),
            seeds: value["seed"].as_u64().into_iter().collect(),
            notes: note.map(str::to_owned).into_iter().collect(),
            violations: (survived != of)
                .then(|| format!("{survived} of {of} survived"))
                .into_iter()
                .collect(),
        }
    }

    /// Counts each test as one that was tried.
    pub(super) fn count_tests(&mut self, counts: Counts) {
        let Counts { passed, failed, skipped: _ } = counts;
        self.survived += passed;
        self.of += passed + failed;
    }

    /// Notes that this machine cannot run `what`.
    pub(super) fn leave_out(&mut self, what: &str) {
        self.notes.push(format!("NOT RUN without a Redis server: {what}"));
    }

    pub(super) fn add(&mut self, other: Self) {
        let Self { survived, of, delay_ms, heal_ms, seeds, notes, violations } = other;
        self.survived += survived;
        self.of += of;
        self.delay_ms = worst(self.delay_ms, delay_ms);
        self.heal_ms = worst(self.heal_ms, heal_ms);
        self.seeds.extend(seeds);
        self.notes.extend(notes);
        self.violations.extend(violations);
    }

    /// The notes, each once.
    pub(super) fn note(&self) -> String {
        let mut seen = HashSet::new();
        let notes = self.violations.iter().chain(&self.notes).filter(|note| seen.insert(*note));
        notes.map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

fn worst(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).max_by(f64::total_cmp)
}

impl fmt::Display for Score {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {}", self.survived, self.of)?;
        if let Some(delay) = self.delay_ms {
            write!(formatter, ", worst delay {delay:.0} ms")?;
        }
        if let Some(heal) = self.heal_ms {
            write!(formatter, ", healed within {heal:.0} ms")?;
        }
        let note = self.note();
        if note.is_empty() { Ok(()) } else { write!(formatter, "; {note}") }
    }
}

/// Passwords that the tests use.
const SECRETS: [&str; 3] = ["hunter2-secret", "s3cr3t", "right-secret"];

/// Lines that were searched for secrets, and those that held one.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    lines: u64,
    found: Vec<String>,
}

impl Secrets {
    pub(super) fn read(&mut self, line: &str) {
        self.lines += 1;
        if SECRETS.iter().any(|secret| line.contains(secret)) {
            self.found.push(line.to_owned());
        }
    }

    pub(super) fn judge(&self, score: &mut Score) {
        score.of += self.lines;
        score.survived += self.lines - self.found.len() as u64;
        score.violations.extend(self.found.iter().map(|line| format!("a secret was printed: {line}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"reliability: {"row": "kills", "survived": 3, "of": 3, "delay_ms": null, "heal_ms": 2.5, "seed": 7, "note": "x"}"#;

    #[test]
    fn lines_of_a_row_add_up_and_the_worst_counts() {
        let mut score = Score::default();
        score.read(LINE, "kills");
        score.read(&LINE.replace("2.5", "1.5"), "kills");
        score.read("test a ... ok", "kills");
        assert_eq!((score.survived, score.of, score.heal_ms, score.delay_ms), (6, 6, Some(2.5), None));
        assert_eq!(score.note(), "x");
        assert!(score.violations.is_empty());
    }

    #[test]
    fn what_did_not_survive_counts_for_another_row_or_cannot_be_read_is_a_violation() {
        for line in [
            &LINE.replace("\"survived\": 3", "\"survived\": 2"),
            "reliability: {",
            &LINE.replace("kills", "x"),
        ] {
            let mut score = Score::default();
            score.read(line, "kills");
            assert_eq!(score.violations.len(), 1, "{line}");
        }
    }

    #[test]
    fn a_secret_in_the_output_is_a_violation() {
        let (mut secrets, mut score) = (Secrets::default(), Score::default());
        secrets.read("connecting");
        secrets.judge(&mut score);
        assert_eq!((score.of, score.violations.len()), (1, 0));
        secrets.read("connecting with hunter2-secret");
        secrets.judge(&mut score);
        assert_eq!(score.violations.len(), 1);
    }
}
