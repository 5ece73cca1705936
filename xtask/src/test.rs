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
    /// `cargo` with these words must pass, and must run at least one test.
    Passes(Vec<String>),
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

/// A build with switches of a crate: another scheduler (`shuttle`), or a bug on purpose (`plant-*`).
///
/// Tests that are built with a bug pass if they find it: they assert that they see what must not happen.
#[derive(Debug)]
struct Switched {
    package: &'static str,
    features: &'static str,
    tests: &'static str,
}

const SWITCHED: &[Switched] = &[
    Switched { package: "cache-core", features: "conformance,shuttle", tests: "--test schedules" },
    Switched {
        package: "cache-core",
        features: "conformance,shuttle,plant-no-fence",
        tests: "--test schedules",
    },
    Switched { package: "cache-core", features: "conformance,plant-no-fence", tests: "--test planted_bugs" },
    Switched { package: "cache-disk", features: "shuttle", tests: "--test schedules" },
    Switched {
        package: "cache-disk",
        features: "shuttle,plant-check-outside-lock",
        tests: "--test schedules no_schedule_serves_an_old_version_after",
    },
    Switched { package: "cache-disk", features: "plant-lazy-delete", tests: "--test faults killing" },
    Switched { package: "cache-redis", features: "plant-no-fence", tests: "--test race" },
    Switched { package: "cache-redis", features: "plant-one-incarnation", tests: "--test restart" },
    Switched {
        package: "cache-facade",
        features: "shuttle",
        tests: "--no-default-features --test schedules",
    },
    Switched {
        package: "cache-facade",
        features: "shuttle,plant-join-by-key",
        tests: "--no-default-features --test schedules",
    },
    Switched { package: "cache-facade", features: "redis,plant-no-fence", tests: "--test instances" },
    Switched { package: "cache-facade", features: "redis,plant-one-incarnation", tests: "--test instances" },
    Switched { package: "cache-facade", features: "redis,plant-no-journal", tests: "--test instances" },
    Switched { package: "cache-facade", features: "disk", tests: "--test start redis_in_a_build_without_it" },
    Switched {
        package: "cache-facade",
        features: "redis,shuttle",
        tests: "--no-default-features --lib schedules",
    },
    Switched {
        package: "cache-facade",
        features: "redis,shuttle,plant-late-append",
        tests: "--no-default-features --lib schedules",
    },
];

fn steps(workspace: &Workspace) -> Vec<Step> {
    let mut steps = vec![Step {
        name: "all crates, documentation, building the examples".to_owned(),
        what: What::Passes(words(EVERYTHING)),
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
    steps.extend(SWITCHED.iter().map(Switched::step));
    for package in &workspace.packages {
        let is_run = |feature: &str| {
            SWITCHED
                .iter()
                .any(|run| run.package == package.name && run.features.split(',').any(|on| on == feature))
        };
        let forgotten = package.switches().filter(|feature| !is_run(feature));
        steps.extend(forgotten.map(|feature| Step {
            name: format!("switch {feature} of {}", package.name),
            what: What::Forgotten,
        }));
    }
    steps
}

impl Switched {
    fn step(&self) -> Step {
        let Self { package, features, tests: _ } = self;
        let kind = match features {
            features if features.contains("plant-") => "planted bug is found",
            features if features.contains("shuttle") => "schedules",
            _ => "without the rest",
        };
        Step { name: format!("{kind}: {package} with {features}"), what: What::Passes(self.arguments()) }
    }

    fn arguments(&self) -> Vec<String> {
        let Self { package, features, tests } = self;
        words(&format!("test --locked --no-fail-fast --package {package} --features {features} {tests}"))
    }
}

/// Each bug that is planted on purpose: its name, and what cargo runs to find it.
pub(crate) fn planted_bugs() -> Vec<(String, Vec<String>)> {
    let planted = SWITCHED.iter().filter(|switched| switched.features.contains("plant-"));
    planted
        .map(|switched| (format!("{} with {}", switched.package, switched.features), switched.arguments()))
        .collect()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Step {
    fn run(&self) -> (Counts, String) {
        let outcome = match &self.what {
            What::Passes(arguments) => passes(arguments),
            What::Example(program) => example(program),
            What::Forgotten => {
                Err("no test is run with it: add it to SWITCHED in xtask/src/test.rs".to_owned())
            }
        };
        outcome.unwrap_or_else(|why| (Counts::FAILED, why))
    }
}

fn passes(arguments: &[String]) -> Result<(Counts, String), String> {
    let mut command = cargo(&borrowed(arguments));
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
        for switch in ["plant-x", "shuttle"] {
            let workspace = workspace(&[switch]);
            let steps = steps(&workspace);
            let step = steps.iter().find(|step| step.what == What::Forgotten).unwrap();
            assert_eq!(step.run().0, Counts::FAILED);
        }
    }
}
