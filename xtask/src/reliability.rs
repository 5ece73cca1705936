//! `cargo xtask reliability`: what the cache survives, counted, as a scoreboard.
//!
//! The rows are plain data ([`rows`]): each names tests of the product, run many more times than `cargo xtask test` runs
//! them. What they print (`reliability: {...}`, see `testkit::reliability`) is gathered here ([`score`]) and written to
//! docs/reliability.md ([`page`]). One violation fails the command.

mod arguments;
mod page;
mod rows;
mod score;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use arguments::Arguments;
use rows::{Count, ROWS, Row, Run, Trials};
use score::{Score, Secrets};

use crate::process::{cargo, describe, root, watch};
use crate::report::{Counts, Report, Row as Line};
use crate::test::{PLANTED_BUG, TestOutput, planted_bugs};
use crate::{Outcome, redis_server};

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Outcome {
    let arguments = Arguments::parse(words, ROWS)?;
    let started = Instant::now();
    let redis = redis_server::ensure();
    if let Err(why) = &redis {
        println!("WITHOUT REDIS: {why}; what needs a server is left out");
    }
    let logs = root().join("target/reliability");
    fs::create_dir_all(&logs).map_err(|error| format!("cannot create {}: {error}", logs.display()))?;
    let mut session = Session { arguments, redis: redis.map(drop), secrets: Secrets::default() };
    let mut report = Report::new("reliability");
    let mut scores = Vec::new();
    let wanted: Vec<&Row> = ROWS.iter().filter(|row| session.arguments.wants(row.name)).collect();
    for row in wanted {
        println!("\n-- {} --", row.name);
        let began = Instant::now();
        let score = session.score(row, &logs)?;
        report.push(line(row, &score, began.elapsed()));
        scores.push((row, score));
    }
    let (file, run) =
        (root().join("docs/reliability.md"), page::Run::now(&session.arguments, started.elapsed()));
    let page = if session.arguments.only.is_some() {
        // Nothing where a whole run has never been.
        page::updated(&fs::read_to_string(&file).unwrap_or_default(), &scores, &run)
    } else {
        page::text(&scores, &run)
    };
    fs::write(&file, page).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    println!("\nwritten: docs/reliability.md");
    Ok(report)
}

/// How often a planted bug is looked for, each time with other dice.
const CHANCES: u64 = 3;
/// How long four processes look for one.
const PLANTED_SECONDS: &str = "20";

struct Session {
    arguments: Arguments,
    /// Why there is no Redis server, where there is none.
    redis: Result<(), String>,
    secrets: Secrets,
}

impl Session {
    /// Runs everything of `row`; what it printed goes into a file of `logs`.
    fn score(&mut self, row: &Row, logs: &Path) -> Result<Score, String> {
        let mut score = Score::default();
        let log = logs.join(format!("{}.log", row.name.replace(|sign: char| !sign.is_alphanumeric(), "-")));
        let mut printed = String::new();
        match row.trials {
            Trials::Runs(runs) => {
                for run in runs {
                    match &self.redis {
                        Err(_) if run.needs_redis => score.leave_out(run.arguments),
                        _ => self.run(row, run, &mut score, &mut printed)?,
                    }
                }
            }
            Trials::PlantedBugs => {
                for (step, bug, words) in planted_bugs() {
                    let needs_redis = ["race", "restart", "instances"]
                        .iter()
                        .any(|test| words.iter().any(|word| word == test));
                    match &self.redis {
                        Err(_) if needs_redis => score.leave_out(&bug),
                        _ => self.plant((&step, bug), &words, &mut score, &mut printed)?,
                    }
                }
            }
        }
        if row.searches_all_output {
            self.secrets.judge(&mut score);
        }
        fs::write(&log, printed).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        if !score.violations.is_empty() {
            println!("everything that was printed: {}", log.display());
        }
        Ok(score)
    }

    fn run(&mut self, row: &Row, run: &Run, score: &mut Score, printed: &mut String) -> Result<(), String> {
        let words: Vec<&str> = run.arguments.split_whitespace().collect();
        let mut command = cargo(&words);
        command.args(["--", "--show-output"]).args(run.tests.split_whitespace());
        for (name, value) in self.arguments.environment(run.scaled) {
            command.env(name, value);
        }
        let mut tests = TestOutput::default();
        let mut counted = Score::default();
        let success = watch(&mut command, is_noise, |line| {
            tests.read(line);
            self.secrets.read(line);
            counted.read(line, row.name);
            printed.push_str(line);
            printed.push('\n');
        })?;
        let (counts, why) = tests.judge_pass(success, &describe(&command));
        if run.counts == Count::Tests {
            counted.count_tests(counts);
        } else if success && counted.of == 0 {
            counted.violations.push(format!("nothing was counted; `{}`", describe(&command)));
        }
        if counts.failed > 0 {
            counted.violations.push(why);
        }
        score.add(counted);
        Ok(())
    }

    /// Runs the tests with a bug planted: they pass if they find it. Some need chance to find it: they get several.
    fn plant(
        &mut self,
        (step, bug): (&str, &str),
        words: &[String],
        score: &mut Score,
        printed: &mut String,
    ) -> Result<(), String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        score.of += 1;
        let mut why = String::new();
        for chance in 0..CHANCES {
            let mut command = cargo(&words);
            let seed = self.arguments.seed.wrapping_add(chance);
            command
                .env(PLANTED_BUG, bug)
                .env("INSTANCES_SEED", seed.to_string())
                .env("INSTANCES_SECONDS", PLANTED_SECONDS);
            let mut tests = TestOutput::default();
            let success = watch(&mut command, is_noise, |line| {
                tests.read(line);
                self.secrets.read(line);
                printed.push_str(line);
                printed.push('\n');
            })?;
            let (counts, failed) = tests.judge_pass(success, step);
            if success && counts.failed == 0 {
                score.survived += 1;
                if chance > 0 {
                    score.notes.push(format!("{step} was found with seed {seed}, not before"));
                }
                return Ok(());
            }
            why = failed;
        }
        score.violations.push(format!("{step} was not found: {why}"));
        Ok(())
    }
}

/// What matters to who watches: how it ends, and what goes wrong.
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
