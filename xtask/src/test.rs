//! `cargo xtask test`: every test of the project, as a list of steps that is plain data.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use pico_args::Arguments;

use crate::metadata::Workspace;
use crate::process::{cargo, describe, output, root, watch, without_settings};
use crate::report::{Counts, Report, Row};
use crate::{Outcome, names, redis_server};

/// Runs the command.
pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let steps = steps(&Workspace::read()?);
    if arguments.contains("--list") {
        for step in &steps {
            println!("{}", step.name);
        }
        std::process::exit(0);
    }
    let names = names(arguments)?;
    let chosen = |step: &&Step| names.is_empty() || names.iter().any(|part| step.name.contains(part));
    let mut report = Report::new("test");
    report.check("a Redis server for the tests", redis_server::ensure);
    for step in steps.iter().filter(chosen) {
        println!("\n-- {} --", step.name);
        let started = Instant::now();
        let (counts, note) = step.run().unwrap_or_else(|error| (Counts::FAILED, format!("{error:#}")));
        report.push(Row { name: step.name.clone(), counts, elapsed: started.elapsed(), note });
    }
    Ok(report)
}

/// One step: what it is called, what it runs, and what must come of it.
#[derive(Debug)]
struct Step {
    name: String,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// `cargo` with these words must pass, and must run at least one test.
    Passes(String),
    /// This example, built by the first step, must end by itself with success.
    Example(PathBuf),
    /// A switch that no step turns on: a failure, so that none is forgotten.
    Forgotten,
}

/// Everything in one build: the crates, their integration tests, their examples, the documentation's code.
/// The benches are left out: they alone build the peers.
const EVERYTHING: &str = "test --locked --workspace --exclude bench --no-fail-fast \
                          --features cache-core/conformance,cache-core/json,cache-facade/json,cache-facade/metrics,cache-facade/redis";

/// Examples that measure: built with the others, and run by hand in release mode.
const MEASUREMENTS: &[&str] = &["codec_cost", "hit_cost"];

/// Builds with switches: package, features, which tests. A switch is another scheduler (`shuttle`), or a bug on purpose
/// (`plant-*`).
///
/// Tests that are built with a bug pass if they find it: they assert that they see what must not happen.
const SWITCHED: &[(&str, &str, &str)] = &[
    ("cache-core", "conformance,shuttle", "--test schedules"),
    ("cache-core", "conformance,shuttle,plant-no-fence", "--test schedules"),
    ("cache-core", "conformance,plant-no-fence", "--test planted_bugs"),
    ("cache-disk", "shuttle", "--test schedules"),
    (
        "cache-disk",
        "shuttle,plant-check-outside-lock",
        "--test schedules no_schedule_serves_an_old_version_after",
    ),
    ("cache-disk", "plant-lazy-delete", "--test faults killing"),
    ("cache-redis", "plant-no-fence", "--test race"),
    ("cache-redis", "plant-one-incarnation", "--test restart"),
    ("cache-facade", "shuttle", "--no-default-features --test schedules"),
    ("cache-facade", "shuttle,plant-join-by-key", "--no-default-features --test schedules"),
    ("cache-facade", "redis,plant-no-fence", "--test instances"),
    ("cache-facade", "redis,plant-one-incarnation", "--test instances"),
    ("cache-facade", "redis,plant-no-journal", "--test instances"),
    ("cache-facade", "disk", "--test start redis_in_a_build_without_it"),
    ("cache-facade", "redis,shuttle", "--no-default-features --lib schedules"),
    ("cache-facade", "redis,shuttle,plant-late-append", "--no-default-features --lib schedules"),
];

fn steps(workspace: &Workspace) -> Vec<Step> {
    let everything = "all crates, documentation, building the examples".to_owned();
    let mut steps = vec![Step { name: everything, what: What::Passes(EVERYTHING.to_owned()) }];
    for package in workspace.packages.iter().filter(|package| package.name() != "bench") {
        for example in package.examples().filter(|example| !MEASUREMENTS.contains(example)) {
            let program = workspace.target_directory.join("debug/examples").join(example);
            let name = format!("example {example} of {}", package.name());
            steps.push(Step { name, what: What::Example(program) });
        }
    }
    for switched @ (package, features, _) in SWITCHED {
        let kind = match features {
            features if features.contains("plant-") => "planted bug is found",
            features if features.contains("shuttle") => "schedules",
            _ => "without the rest",
        };
        let name = format!("{kind}: {package} with {features}");
        steps.push(Step { name, what: What::Passes(words(switched)) });
    }
    for package in &workspace.packages {
        let runs = SWITCHED.iter().filter(|(name, ..)| *name == package.name());
        let turned_on: BTreeSet<&str> = runs.flat_map(|(_, features, _)| features.split(',')).collect();
        for feature in package.switches().filter(|feature| !turned_on.contains(feature)) {
            let name = format!("switch {feature} of {}", package.name());
            steps.push(Step { name, what: What::Forgotten });
        }
    }
    steps
}

/// The words for cargo.
fn words((package, features, tests): &(&str, &str, &str)) -> String {
    format!("test --locked --no-fail-fast --package {package} --features {features} {tests}")
}

/// Each bug that is planted on purpose: its name, and the words with which cargo runs the tests that find it.
pub(crate) fn planted_bugs() -> impl Iterator<Item = (String, String)> {
    let planted = SWITCHED.iter().filter(|(_, features, _)| features.contains("plant-"));
    planted.map(|switched| (format!("{} with {}", switched.0, switched.1), words(switched)))
}

impl Step {
    fn run(&self) -> Result<(Counts, String)> {
        match &self.what {
            What::Passes(words) => passes(words),
            What::Example(program) => example(program),
            What::Forgotten => bail!("no test is run with it: add it to SWITCHED in xtask/src/test.rs"),
        }
    }
}

fn passes(words: &str) -> Result<(Counts, String)> {
    let mut command = cargo(words);
    let mut seen = TestOutput::default();
    let is_noise = |line: &str| line.starts_with("test ") && line.ends_with("... ok");
    let success = watch(&mut command, is_noise, |line| seen.read(line))?;
    Ok(seen.judge_pass(success, &describe(&command)))
}

fn example(program: &Path) -> Result<(Counts, String)> {
    // In a folder of its own and without a cache from an earlier run.
    let folder = root().join("target/xtask/example");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut command = Command::new(program);
    without_settings(command.current_dir(&folder));
    let printed = output(&mut command)?;
    Ok((Counts::PASSED, printed.lines().last().context("it printed nothing")?.to_owned()))
}

/// What the test harness printed, as far as it matters here.
#[derive(Debug, Default)]
pub(crate) struct TestOutput {
    counts: Counts,
    failed: BTreeSet<String>,
}

impl TestOutput {
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.counts.add(result_counts(result));
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failed.insert(name.to_owned());
        }
    }

    /// Returns the counts of a run, with a note if it failed: also if no test ran, or if the build failed.
    pub(crate) fn judge_pass(&self, success: bool, command: &str) -> (Counts, String) {
        let note = match (success, self.counts.failed, self.counts.passed) {
            (true, 0, 1..) => return (self.counts, String::new()),
            (true, 0, 0) => "no test ran".to_owned(),
            (false, 0, _) => "it did not build, or died".to_owned(),
            (_, 1.., _) => self.failed.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        };
        (Counts { failed: self.counts.failed.max(1), ..self.counts }, format!("{note}; `{command}`"))
    }
}

/// Counts of `ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s`.
fn result_counts(result: &str) -> Counts {
    let parts = || result.split([';', '.']).map(str::trim);
    let count =
        |what: &str| parts().find_map(|part| part.strip_suffix(what)?.trim().parse().ok()).unwrap_or(0);
    Counts { passed: count("passed"), failed: count("failed"), skipped: count("ignored") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::workspace;

    fn read(lines: &[&str]) -> TestOutput {
        let mut output = TestOutput::default();
        for line in lines {
            output.read(line);
        }
        output
    }

    const GOOD: &str =
        "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
    const BAD: &str =
        "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";

    #[test]
    fn counts_of_several_test_binaries_add_up() {
        let output = read(&["running 13 tests", GOOD, "test a::b ... FAILED", BAD]);
        assert_eq!(output.counts, Counts { passed: 16, failed: 1, skipped: 1 });
        assert!(output.judge_pass(false, "x").1.starts_with("a::b;"));
    }

    #[test]
    fn a_run_without_a_test_fails() {
        assert_eq!(read(&[]).judge_pass(true, "cargo test").0, Counts::FAILED);
    }

    #[test]
    fn a_run_that_does_not_build_fails_even_after_passed_tests() {
        assert_eq!(read(&[GOOD]).judge_pass(false, "cargo test").0.failed, 1);
        assert_eq!(read(&[GOOD]).judge_pass(true, "cargo test").0.failed, 0);
    }

    #[test]
    fn every_example_becomes_a_step() {
        let example = What::Example("/t/debug/examples/first".into());
        assert!(steps(&workspace("cache-x", &[])).iter().any(|step| step.what == example));
    }

    #[test]
    fn a_switch_that_no_step_turns_on_is_a_failure() {
        assert!(!steps(&workspace("cache-x", &["json"])).iter().any(|step| step.what == What::Forgotten));
        for switch in ["plant-x", "shuttle"] {
            let steps = steps(&workspace("cache-x", &[switch]));
            let step = steps.iter().find(|step| step.what == What::Forgotten).unwrap();
            assert!(step.run().is_err());
        }
    }
}
