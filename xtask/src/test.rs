//! `cargo xtask test`: every test of the project, as a list of steps that is plain data.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Outcome;
use crate::metadata::Workspace;
use crate::process::{cargo, describe, output, root, watch, without_settings};
use crate::redis_server;
use crate::report::{Counts, Report, Row};

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let workspace = Workspace::read()?;
    let steps = steps(&workspace);
    if arguments.iter().any(|argument| argument == "--list") {
        for step in &steps {
            println!("{}", step.name);
        }
        std::process::exit(0);
    }
    if let Some(unknown) = arguments.iter().find(|argument| argument.starts_with('-')) {
        return Err(format!("test does not know {unknown}; `cargo xtask help` lists its arguments"));
    }
    let chosen =
        |step: &Step| arguments.is_empty() || arguments.iter().any(|part| step.name.contains(part.as_str()));
    let mut report = Report::new("test");
    report.check("a Redis server for the tests", redis_server::ensure);
    for step in steps.iter().filter(|step| chosen(step)) {
        println!("\n-- {} --", step.name);
        let started = Instant::now();
        let (counts, note) = step.run();
        report.push(Row { name: step.name.clone(), counts, elapsed: started.elapsed(), note });
    }
    Ok(report)
}

/// One step: what it is called, what it runs, and what must come of it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    name: String,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// `cargo` with these words must pass, and must run at least one test; with a bug planted, if one is named.
    Passes(Vec<String>, Option<&'static str>),
    /// This example, built by the first step, must end by itself with success.
    Example(PathBuf),
    /// A switch that no step turns on: a failure, so that none is forgotten.
    Forgotten,
}

/// The build of all crates but the benches, which alone build the peers. Every run of it reuses what the first compiled.
const EVERYTHING: &str = "test --locked --workspace --exclude bench --no-fail-fast --features \
                          cache-core/json,cache-core/plants,cache-facade/json,cache-facade/metrics,cache-facade/redis";

/// The build under shuttle, which replaces locks, atomics, threads and the runtime to explore schedules.
pub(crate) const SCHEDULES: &str = "test --locked --no-fail-fast --package cache-core --package cache-disk \
                                    --package cache-facade --no-default-features --features cache-core/plants,\
                                    cache-core/shuttle,cache-disk/shuttle,cache-facade/redis,cache-facade/shuttle";

/// The environment variable that plants a bug in a process.
pub(crate) const PLANTED_BUG: &str = "PLANTED_BUG";

/// Examples that measure: built with the others, and run by hand in release mode.
const MEASUREMENTS: &[&str] = &["codec_cost", "hit_cost"];

/// One more run of a build, or a smaller build.
#[derive(Debug)]
struct Run {
    name: &'static str,
    build: &'static str,
    tests: &'static str,
}

const RUNS: &[Run] = &[
    Run { name: "schedules", build: SCHEDULES, tests: "--test schedules" },
    Run { name: "schedules of the fallback", build: SCHEDULES, tests: "--lib schedules" },
    Run {
        name: "a build without Redis",
        build: "test --locked --package cache-facade --features disk",
        tests: "--test start redis_in_a_build_without_it",
    },
];

/// A bug of `cache_core::plants`, and the tests that must find it: they fail if they do not.
#[derive(Debug)]
struct Planted {
    bug: &'static str,
    build: &'static str,
    tests: &'static str,
}

const PLANTED: &[Planted] = &[
    Planted { bug: "no-fence", build: EVERYTHING, tests: "--test planted_bugs" },
    Planted {
        bug: "no-fence",
        build: SCHEDULES,
        tests: "--test schedules -- after_its_groups after_a_pattern replace_a_later_set",
    },
    Planted {
        bug: "check-outside-lock",
        build: SCHEDULES,
        tests: "--test schedules no_schedule_serves_an_old_version_after",
    },
    Planted { bug: "lazy-delete", build: EVERYTHING, tests: "--test faults killing" },
    Planted { bug: "no-redis-fence", build: EVERYTHING, tests: "--test race" },
    Planted { bug: "one-incarnation", build: EVERYTHING, tests: "--test restart" },
    Planted {
        bug: "join-by-key",
        build: SCHEDULES,
        tests: "--test schedules -- nobody_gets callers_without_a_token",
    },
    Planted { bug: "late-append", build: SCHEDULES, tests: "--lib schedules" },
    Planted { bug: "no-redis-fence", build: EVERYTHING, tests: "--test instances" },
    Planted { bug: "one-incarnation", build: EVERYTHING, tests: "--test instances" },
    Planted { bug: "no-journal", build: EVERYTHING, tests: "--test instances" },
];

fn steps(workspace: &Workspace) -> Vec<Step> {
    let mut steps = vec![Step {
        name: "all crates, documentation, building the examples".to_owned(),
        what: What::Passes(words(EVERYTHING), None),
    }];
    for package in workspace.packages.iter().filter(|package| package.name != "bench") {
        for example in package.examples.iter().filter(|example| !MEASUREMENTS.contains(&example.as_str())) {
            let program = workspace.target_directory.join("debug/examples").join(example);
            steps.push(Step {
                name: format!("example {example} of {}", package.name),
                what: What::Example(program),
            });
        }
    }
    steps.extend(RUNS.iter().map(|run| Step {
        name: run.name.to_owned(),
        what: What::Passes(words(&format!("{} {}", run.build, run.tests)), None),
    }));
    steps.extend(PLANTED.iter().map(|planted| Step {
        name: planted.name(),
        what: What::Passes(planted.arguments(), Some(planted.bug)),
    }));
    for package in &workspace.packages {
        let is_built = |feature: &str| {
            let feature = format!("{}/{feature}", package.name);
            SCHEDULES.split([' ', ',']).chain(EVERYTHING.split([' ', ','])).any(|word| word == feature)
        };
        let forgotten = package.switches().filter(|feature| !is_built(feature));
        steps.extend(forgotten.map(|feature| Step {
            name: format!("switch {feature} of {}", package.name),
            what: What::Forgotten,
        }));
    }
    steps
}

impl Planted {
    fn name(&self) -> String {
        let kind = if self.build == SCHEDULES { ", schedules" } else { "" };
        format!("planted bug is found: {}, {}{kind}", self.bug, self.tests)
    }

    fn arguments(&self) -> Vec<String> {
        words(&format!("{} {}", self.build, self.tests))
    }
}

/// Each bug that is planted on purpose: the name of its step, the bug, and what cargo runs to find it.
pub(crate) fn planted_bugs() -> impl Iterator<Item = (String, &'static str, Vec<String>)> {
    PLANTED.iter().map(|planted| (planted.name(), planted.bug, planted.arguments()))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Step {
    fn run(&self) -> (Counts, String) {
        let outcome = match &self.what {
            What::Passes(arguments, bug) => passes(arguments, *bug),
            What::Example(program) => example(program),
            What::Forgotten => {
                Err("no test is run with it: add it to a build in xtask/src/test.rs".to_owned())
            }
        };
        outcome.unwrap_or_else(|why| (Counts::FAILED, why))
    }
}

fn passes(arguments: &[String], bug: Option<&str>) -> Result<(Counts, String), String> {
    let mut command = cargo(&borrowed(arguments));
    command.envs(bug.map(|bug| (PLANTED_BUG, bug)));
    let mut seen = TestOutput::default();
    let is_noise = |line: &str| line.starts_with("test ") && line.ends_with("... ok");
    let success = watch(&mut command, is_noise, |line| seen.read(line))?;
    Ok(seen.judge_pass(success, &describe(&command)))
}

fn example(program: &Path) -> Result<(Counts, String), String> {
    // In a folder of its own and without a cache from an earlier run.
    let folder = root().join("target/xtask/example");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let mut command = Command::new(program);
    command.current_dir(&folder);
    without_settings(&mut command);
    let printed = output(&mut command)?;
    match printed.lines().last() {
        Some(line) => Ok((Counts::PASSED, line.to_owned())),
        None => Err("it printed nothing".to_owned()),
    }
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
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

    fn names(&self) -> String {
        self.failed.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn judge_pass(&self, success: bool, command: &str) -> (Counts, String) {
        let mut counts = self.counts;
        let note = match (success, counts.failed, counts.passed) {
            (true, 0, 1..) => String::new(),
            (true, 0, 0) => {
                counts.failed = 1;
                format!("no test ran; `{command}`")
            }
            (false, 0, _) => {
                counts.failed = 1;
                format!("it did not build, or died; `{command}`")
            }
            (_, 1.., _) => format!("{}; `{command}`", self.names()),
        };
        (counts, note)
    }
}

/// Counts of `ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s`.
fn result_counts(result: &str) -> Counts {
    let count = |what: &str| {
        result
            .split([';', '.'])
            .filter_map(|part| part.trim().strip_suffix(what))
            .find_map(|number| number.trim().parse().ok())
            .unwrap_or(0)
    };
    Counts { passed: count("passed"), failed: count("failed"), skipped: count("ignored") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Package;

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
        assert_eq!(output.names(), "a::b");
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

    fn workspace(features: &[&str]) -> Workspace {
        let package = Package {
            name: "cache-x".to_owned(),
            rust_version: None,
            published: false,
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
            dependencies: Vec::new(),
            examples: vec!["first".to_owned()],
        };
        Workspace { packages: vec![package], target_directory: "/t".into() }
    }

    #[test]
    fn every_example_becomes_a_step() {
        let example = What::Example("/t/debug/examples/first".into());
        assert!(steps(&workspace(&[])).iter().any(|step| step.what == example));
    }

    #[test]
    fn a_switch_that_no_step_turns_on_is_a_failure() {
        assert!(!steps(&workspace(&["json"])).iter().any(|step| step.what == What::Forgotten));
        for switch in ["plants", "shuttle"] {
            let workspace = workspace(&[switch]);
            let steps = steps(&workspace);
            let step = steps.iter().find(|step| step.what == What::Forgotten).unwrap();
            assert_eq!(step.run().0, Counts::FAILED);
        }
    }
}
