//! `cargo xtask reliability`: what the cache survives, counted, as a scoreboard.
//!
//! The rows are plain data ([`rows`]): each names tests of the product, run many more times than `cargo xtask test` runs
//! them. What they print (`reliability: {...}`, see `testkit::reliability`) is gathered here ([`score`]) and written to
//! docs/reliability.md ([`page`]). One violation fails the command.

mod arguments;
mod page;
mod rows;
mod score;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use arguments::Arguments;
use fs_err as fs;
use rows::{Count, ROWS, Row, Run, Trials};
use score::{Score, Secrets};

use crate::process::{cargo, describe, root, watch};
use crate::report::{Counts, Report, Row as Line};
use crate::test::{Builds, PlantedBug, TestOutput, planted_bugs};
use crate::{Outcome, redis_server};

/// Runs the command.
pub(crate) fn run(words: pico_args::Arguments) -> Outcome {
    let arguments = Arguments::parse(words, ROWS)?;
    let started = Instant::now();
    let redis = redis_server::ensure();
    if let Err(error) = &redis {
        println!("WITHOUT REDIS: {error:#}; what needs a server is left out");
    }
    let logs = root().join("target/reliability");
    fs::create_dir_all(&logs)?;
    let (builds, secrets, printed) = Default::default();
    let mut session = Session { arguments, has_redis: redis.is_ok(), logs, builds, secrets, printed };
    let mut report = Report::new("reliability");
    let mut scores = Vec::new();
    for row in ROWS.iter().filter(|row| session.arguments.wants(row.name)).collect::<Vec<_>>() {
        println!("\n-- {} --", row.name);
        let began = Instant::now();
        let score = session.score(row)?;
        report.push(line(row, &score, began.elapsed()));
        scores.push((row, score));
    }
    let file = root().join("docs/reliability.md");
    let run = page::Run::now(&session.arguments, started.elapsed());
    let page = if session.arguments.only.is_some() {
        // Empty if there has been no whole run yet.
        page::updated(&fs::read_to_string(&file).unwrap_or_default(), &scores, &run)
    } else {
        page::text(&scores, &run)
    };
    fs::write(&file, page)?;
    println!("\nwritten: docs/reliability.md");
    Ok(report)
}

/// How often a planted bug is looked for, each time with another seed.
const CHANCES: u64 = 3;
/// How long four processes look for one.
const PLANTED_SECONDS: &str = "20";

struct Session {
    arguments: Arguments,
    has_redis: bool,
    /// The folder of the output of each row.
    logs: PathBuf,
    builds: Builds,
    secrets: Secrets,
    /// The output of the row that runs.
    printed: String,
}

impl Session {
    /// Runs everything of `row`; what it printed goes into a file of the logs.
    fn score(&mut self, row: &Row) -> Result<Score> {
        let mut score = Score::default();
        match row.trials {
            Trials::Runs(runs) => {
                for run in runs {
                    if run.needs_redis && !self.has_redis {
                        score.leave_out(run.arguments);
                    } else {
                        score.add(self.run(row, run)?);
                    }
                }
            }
            Trials::PlantedBugs => {
                for bug in planted_bugs() {
                    let needs_redis = ["race", "restart", "near", "cluster", "instances"]
                        .iter()
                        .any(|test| bug.tests.split(' ').nth(1) == Some(test));
                    if needs_redis && !self.has_redis {
                        score.leave_out(&bug.name());
                    } else {
                        score.add(self.plant(&bug)?);
                    }
                }
            }
        }
        if row.searches_all_output {
            self.secrets.judge(&mut score);
        }
        let name = row.name.replace(|sign: char| !sign.is_alphanumeric(), "-");
        let log = self.logs.join(format!("{name}.log"));
        fs::write(&log, std::mem::take(&mut self.printed))?;
        if !score.violations.is_empty() {
            println!("everything that was printed: {}", log.display());
        }
        Ok(score)
    }

    /// Runs tests, keeps their output, and returns their counts with a note if they failed.
    fn tests(&mut self, command: &mut Command, mut see: impl FnMut(&str)) -> Result<(Counts, String)> {
        let mut tests = TestOutput::default();
        let success = watch(command, is_noise, |line| {
            tests.read(line);
            self.secrets.read(line);
            see(line);
            self.printed.extend([line, "\n"]);
        })?;
        Ok(tests.judge_pass(success, &describe(command)))
    }

    fn run(&mut self, row: &Row, run: &Run) -> Result<Score> {
        let mut command = cargo(run.arguments);
        command.args(["--", "--show-output"]).args(run.tests.split_whitespace());
        command.envs(self.arguments.environment(run.scaled));
        let mut score = Score::default();
        let (counts, why) = self.tests(&mut command, |line| score.read(line, row.name))?;
        if run.counts == Count::Tests {
            score.count_tests(counts);
        } else if counts.failed == 0 && score.of == 0 {
            score.violations.push(format!("nothing was counted; `{}`", describe(&command)));
        }
        if counts.failed > 0 {
            score.violations.push(why);
        }
        Ok(score)
    }

    /// Runs the tests with a bug planted: they pass if they find it. Some need chance to find it, so they get several.
    fn plant(&mut self, bug: &PlantedBug) -> Result<Score> {
        let (step, mut why) = (bug.name(), String::new());
        let mut score = Score { of: 1, ..Score::default() };
        for chance in 0..CHANCES {
            let seed = self.arguments.seed.wrapping_add(chance);
            let environment =
                [("INSTANCES_SEED", &*seed.to_string()), ("INSTANCES_SECONDS", PLANTED_SECONDS)];
            let Self { builds, secrets, printed, .. } = self;
            let (counts, failed) = bug.look(builds, &environment, is_noise, |line| {
                secrets.read(line);
                printed.extend([line, "\n"]);
            })?;
            if counts.failed == 0 {
                score.survived = 1;
                if chance > 0 {
                    score.notes.push(format!("{step} was found with seed {seed}, not before"));
                }
                return Ok(score);
            }
            why = failed;
        }
        score.violations.push(format!("{step} was not found: {why}"));
        Ok(score)
    }
}

/// Hides all lines but results and failures.
fn is_noise(line: &str) -> bool {
    !["test result", "FAILED", "panicked", "SKIPPED"].iter().any(|word| line.contains(word))
}

fn line(row: &Row, score: &Score, elapsed: Duration) -> Line {
    let counts = match (score.violations.is_empty(), score.of) {
        (false, _) => Counts::FAILED,
        (true, 0) => Counts::SKIPPED,
        (true, 1..) => Counts::PASSED,
    };
    Line { name: row.name.to_owned(), counts, elapsed, note: score.to_string() }
}
