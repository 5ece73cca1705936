//! docs/reliability.md, as the last run wrote it.

use std::process::Command;
use std::time::Duration;

use super::arguments::Arguments;
use super::rows::Row;
use super::score::Score;
use crate::machine::{self, thousands};

/// When, where and how was run.
#[derive(Debug)]
pub(super) struct Run {
    machine: String,
    redis: String,
    minutes: f64,
    took: Duration,
    seed: u64,
}

impl Run {
    pub(super) fn now(arguments: &Arguments, took: Duration) -> Self {
        let program = crate::redis_server::find().unwrap_or_else(|| "redis-server".to_owned());
        let redis = machine::first_line(Command::new(program).arg("--version"));
        Self {
            machine: machine::describe(),
            redis: redis.unwrap_or_else(|| "no Redis server".to_owned()),
            minutes: arguments.minutes,
            took,
            seed: arguments.seed,
        }
    }
}

/// The whole page.
pub(super) fn text(scores: &[(&Row, Score)], run: &Run) -> String {
    let Run { machine, redis, minutes, took, seed } = run;
    let mut page = format!(
        "# Reliability\n\n\
         The failures that the cache survived, counted. `cargo xtask reliability` writes this page and fails on any violation;\n\
         `--minutes 60` runs longer, `--seed N` with other random numbers, `--only ROW` one row.\n\n\
         {CALM} {machine}.\nServer: {redis}.\n\
         Planned for {minutes:.0} minutes, took {:.0} with building; seed {seed}.\n\n\
         | what | survived | worst added delay | worst time to heal | seed | |\n\
         | --- | ---: | ---: | ---: | --- | --- |\n",
        took.as_secs_f64() / 60.0
    );
    for (row, score) in scores {
        page.push_str(&line(row, score, *seed, ""));
    }
    page.push_str("\n## What each row does\n");
    for (row, _) in scores {
        page.push_str(&described(row));
    }
    page.push_str(NOT_PROMISED);
    judged(&page)
}

/// The page `old` with the lines of rows that were run alone since, each with when and where.
pub(super) fn updated(old: &str, scores: &[(&Row, Score)], run: &Run) -> String {
    let mut page = old.to_owned();
    for (row, score) in scores {
        let start = format!("| {} | ", row.name);
        let since = format!("run alone since: {}", run.machine);
        let new = line(row, score, run.seed, &since);
        if let Some(before) = page.lines().find(|line| line.starts_with(&start)).map(str::to_owned) {
            page = page.replace(&before, new.trim_end());
        } else {
            // A row that is newer than the page.
            page = after_last(&page, "| ", &new);
            page = after_last(&page, "- **", &described(row));
        }
    }
    judged(&page)
}

/// Returns `page` with `new` after the last line that begins with `start`.
fn after_last(page: &str, start: &str, new: &str) -> String {
    let last = page.lines().rfind(|line| line.starts_with(start)).unwrap_or_default();
    page.replacen(&format!("{last}\n"), &format!("{last}\n{new}"), 1)
}

/// What a row does.
fn described(row: &Row) -> String {
    format!("- **{}.** {}\n", row.name, row.what)
}

/// The page with what its lines say, said at the top.
fn judged(page: &str) -> String {
    let violated = page.matches(VIOLATED).count();
    let verdict = if violated == 0 { CALM.to_owned() } else { format!("**Rows violated: {violated}.**") };
    let lines = page.lines().map(|line| match line.split_once(".** ") {
        Some((said, rest)) if CALM.starts_with(said) || said.starts_with("**Rows violated") => {
            format!("{verdict} {rest}\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

const CALM: &str = "**No violation.**";
const VIOLATED: &str = "**violated**: ";

fn line(row: &Row, score: &Score, seed: u64, since: &str) -> String {
    let millis = |worst: Option<f64>| worst.map_or("-".to_owned(), |worst| format!("{worst:.0} ms"));
    let seeded = if score.seeds.is_empty() { "-".to_owned() } else { seed.to_string() };
    let mark = if score.violations.is_empty() { "" } else { VIOLATED };
    let note = score.note();
    let between = if note.is_empty() || since.is_empty() { "" } else { "; " };
    format!(
        "| {} | {} of {} | {} | {} | {seeded} | {mark}{}{between}{since} |\n",
        row.name,
        thousands(score.survived),
        thousands(score.of),
        millis(score.delay_ms),
        millis(score.heal_ms),
        note.replace('|', "\\|").replace('\n', " "),
    )
}

const NOT_PROMISED: &str = "
A dash means that a figure does not apply. Rows without a seed try all cases, or depend on the order of threads.

## What is not promised
[What no protocol can guarantee](reference.md#what-is-not-guaranteed), which no row tests; a disk that reports a sync that did not happen; a virtual
machine restored to an earlier state; a database replica that lags behind.
";

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    fn run() -> Run {
        let (machine, redis) = ("Two cores".to_owned(), "Redis 7".to_owned());
        Run { machine, redis, minutes: 15.0, took: Duration::from_secs(12 * 60), seed: 1 }
    }

    #[test]
    fn a_row_that_was_violated_is_said_at_the_top_and_in_its_line() {
        let violated =
            Score { survived: 1, of: 1200, violations: vec!["stale".to_owned()], ..Score::default() };
        let page = text(&[(&ROWS[0], violated)], &run());
        assert!(page.contains("**Rows violated: 1.** Two cores"), "{page}");
        assert!(page.contains("| 1 of 1,200 | - | - | - | **violated**: stale |"), "{page}");
        let since = updated(&page, &[(&ROWS[0], Score::default())], &run());
        assert!(
            since.contains("**No violation.** Two cores") && since.contains("run alone since: Two"),
            "{since}"
        );
        assert!(text(&[(&ROWS[0], Score::default())], &run()).contains("**No violation.**"));
        let with_new = updated(&since, &[(&ROWS[1], Score::default())], &run());
        let lines: Vec<&str> = with_new.lines().filter(|line| line.contains(ROWS[1].name)).collect();
        assert!(
            matches!(lines[..], [row, what] if row.starts_with("| ") && what.starts_with("- **")),
            "{with_new}"
        );
        assert!(with_new.starts_with("# Reliability") && with_new.ends_with(NOT_PROMISED), "{with_new}");
    }
}
