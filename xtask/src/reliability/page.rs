//! docs/reliability.md, as the last run wrote it.

use std::fmt::Write;
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
    let violations: usize = scores.iter().map(|(_, score)| score.violations.len()).sum();
    let verdict = match violations {
        0 => "**No violation.**".to_owned(),
        some => format!("**{some} violations.**"),
    };
    let mut page = format!(
        "# Reliability\n\n\
         What the cache survived, counted. `cargo xtask reliability` writes this page and fails on any violation;\n\
         `--minutes 60` is the soak, `--seed N` other dice, `--only ROW` one row.\n\n\
         {verdict} {machine}.\nServer: {redis}.\n\
         Planned for {minutes:.0} minutes, took {:.0} with building; seed {seed}.\n\n\
         | what | survived | worst added delay | worst time to heal | seed | |\n\
         | --- | ---: | ---: | ---: | --- | --- |\n",
        took.as_secs_f64() / 60.0
    );
    for (row, score) in scores {
        let millis = |worst: Option<f64>| worst.map_or("-".to_owned(), |worst| format!("{worst:.0} ms"));
        let seeded = if score.seeds.is_empty() { "-".to_owned() } else { seed.to_string() };
        let _ = writeln!(
            page,
            "| {} | {} of {} | {} | {} | {seeded} | {} |",
            row.name,
            thousands(score.survived),
            thousands(score.of),
            millis(score.delay_ms),
            millis(score.heal_ms),
            score.note().replace('|', "\\|").replace('\n', " "),
        );
    }
    page.push_str("\n## What each row does\n");
    for (row, _) in scores {
        let _ = writeln!(page, "- **{}.** {}", row.name, row.what);
    }
    page.push_str(NOT_PROMISED);
    page
}

const NOT_PROMISED: &str = "
A dash where a figure does not apply. Rows without a seed try everything there is to try, or depend on the order of threads.

## What is not promised
What no protocol can promise, and no row tries: [operations](operations.md#redis-and-what-stands-in-for-it) says it. A disk that
says it has synced and has not; a virtual machine restored to an earlier state; a database replica that lags behind.
";

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    fn run() -> Run {
        let (machine, redis) = ("Two cores".to_owned(), "Redis 7".to_owned());
        Run { machine, redis, minutes: 15.0, took: Duration::from_mins(12), seed: 1 }
    }

    #[test]
    fn a_row_that_was_violated_is_said_at_the_top_and_in_its_line() {
        let violated =
            Score { survived: 1, of: 1200, violations: vec!["stale".to_owned()], ..Score::default() };
        let page = text(&[(&ROWS[0], violated)], &run());
        assert!(
            page.contains("**1 violations.**") && page.contains("| 1 of 1,200 | - | - | - | stale |"),
            "{page}"
        );
        assert!(text(&[(&ROWS[0], Score::default())], &run()).contains("**No violation.**"));
    }
}
