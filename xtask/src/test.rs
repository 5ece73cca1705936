//! `cargo xtask test`: every test of the project, as a list of steps that is plain data.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use pico_args::Arguments;

use crate::built_tests::BuiltTests;
use crate::metadata::Workspace;
use crate::process::{cargo, describe, output, root, watch, without_settings};
use crate::report::{Counts, Report, Row};
use crate::{Outcome, browser, names, redis_server};

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
    report.check("a browser for the tests", browser::ensure);
    let mut builds = Builds::default();
    for step in steps.iter().filter(chosen) {
        println!("\n-- {} --", step.name);
        let started = Instant::now();
        let (counts, note) =
            step.run(&mut builds).unwrap_or_else(|error| (Counts::FAILED, format!("{error:#}")));
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
    /// The tests that must find a planted bug pass, and there is at least one.
    Finds(PlantedBug),
    /// This example, built by the first step, must end by itself with success.
    Example(PathBuf),
    /// A switch that no step turns on: a failure, so that none is forgotten.
    Forgotten,
}

/// The build of all crates but the benches, which alone build the peers. Every run of it reuses what the first compiled.
const EVERYTHING: &str = "test --locked --workspace --exclude bench --no-fail-fast --features \
                          cache-core/json,cache-core/plants,cache-core/uuid,cache-facade/blocking,\
                          cache-facade/config-file,cache-facade/json,cache-facade/macros,cache-facade/metrics,cache-facade/redis,\
                          cache-facade/tls,cache-facade/uuid,cache-http/console";

/// The build under shuttle, which replaces locks, atomics, threads and the runtime to explore schedules.
pub(crate) const SCHEDULES: &str = "test --locked --no-fail-fast --package cache-core --package cache-disk \
                                    --package cache-facade --no-default-features --features cache-core/plants,\
                                    cache-core/shuttle,cache-disk/shuttle,cache-facade/redis,cache-facade/shuttle";

/// Builds without optional features, whose errors name them.
const WITHOUT: &str =
    "test --locked --package cache-facade --package cache-redis --features cache-facade/disk";

/// A bug of `cache_core::plants`, and the tests that pass if they find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlantedBug {
    pub(crate) bug: &'static str,
    build: &'static str,
    pub(crate) tests: &'static str,
}

impl PlantedBug {
    /// The name of its step.
    pub(crate) fn name(&self) -> String {
        format!("planted bug is found: {}, {}", self.bug, self.tests)
    }

    /// Runs the tests with the bug planted; returns their counts, with a note if they did not find it.
    pub(crate) fn look(
        &self,
        builds: &mut Builds,
        environment: &[(&str, &str)],
        is_noise: impl Fn(&str) -> bool,
        see: impl FnMut(&str),
    ) -> Result<(Counts, String)> {
        let tests = match builds.entry(self.build) {
            Entry::Occupied(built) => built.into_mut(),
            Entry::Vacant(missing) => missing.insert(BuiltTests::of(self.build)?),
        };
        tests.run(self.tests, &[environment, &[("PLANTED_BUG", self.bug)]].concat(), is_noise, see)
    }
}

/// What was built, by the words for cargo.
pub(crate) type Builds = BTreeMap<&'static str, BuiltTests>;

/// Examples that measure: built with the others, and run by hand in release mode.
const MEASUREMENTS: &[&str] = &["codec_cost", "hit_cost"];

/// Further runs of a build, or of a smaller one: a name, and the words for cargo.
const RUNS: &[(&str, &str, &str)] = &[
    ("schedules", SCHEDULES, "--test schedules"),
    ("schedules of the fallback", SCHEDULES, "--lib schedules"),
    ("builds without Redis, TLS and TOML", WITHOUT, "--lib names_the_feature"),
    ("a build with Redis and without TLS", SCHEDULES, "--lib names_the_feature"),
];

/// Each [`PlantedBug`]: the bug, the build, and the tests.
const PLANTED: &[(&str, &str, &str)] = &[
    ("no-fence", EVERYTHING, "--test planted_bugs"),
    ("no-fence", SCHEDULES, "--test schedules -- after_its_groups after_a_pattern replace_a_later_set"),
    ("check-outside-lock", SCHEDULES, "--test schedules no_schedule_serves_an_old_version_after"),
    ("lazy-delete", EVERYTHING, "--test faults killing"),
    ("no-redis-fence", EVERYTHING, "--test race"),
    ("near-token-late", SCHEDULES, "--test schedules what_was_forgotten"),
    ("near-no-wait", EVERYTHING, "--test race from_memory"),
    ("near-ack-first", EVERYTHING, "--test race from_memory"),
    ("near-token-late", EVERYTHING, "--test race from_memory"),
    ("near-lease-from-reply", EVERYTHING, "--test near a_lease_begins"),
    ("near-trusts-new-registry", EVERYTHING, "--test near a_registry_that_is_lost"),
    ("one-incarnation", EVERYTHING, "--test restart"),
    ("no-replay", EVERYTHING, "--test restart"),
    ("one-incarnation", EVERYTHING, "--test cluster -- a_copy_of_a_failed a_node_that_restarts"),
    ("no-replay", EVERYTHING, "--test cluster histories::no_removal"),
    ("join-by-key", SCHEDULES, "--test schedules -- loaded_before_a_completed callers_without_a_token"),
    ("late-append", SCHEDULES, "--lib through_outages_and_returns"),
    ("old-outage", SCHEDULES, "--lib during_one_of_another"),
    ("no-redis-fence", EVERYTHING, "--test instances"),
    ("one-incarnation", EVERYTHING, "--test instances"),
    ("no-journal", EVERYTHING, "--test instances"),
    ("near-no-wait", EVERYTHING, "--test instances no_read_from_memory_is_stale_while"),
    ("near-token-late", EVERYTHING, "--test instances no_read_from_memory_is_stale_while"),
    ("viewer-left-out", EVERYTHING, "--test model each_response"),
    ("set-cookie-stored", EVERYTHING, "--test model each_response"),
    ("vary-ignored", EVERYTHING, "--test model each_response"),
    ("events-unlimited", EVERYTHING, "--test console a_page_gets_fifty_events"),
    ("loss-unreported", EVERYTHING, "--test console a_slow_client_loses_events"),
    ("foreign-reads", EVERYTHING, "--test console a_read_that_another_site_sends"),
    ("guard-left-out", EVERYTHING, "--test console the_guard_decides"),
    ("dry-run-clears", EVERYTHING, "--test console counts::in_memory"),
    ("unwritten-uncounted", EVERYTHING, "--test faults an_entry_is_counted_once"),
];

fn steps(workspace: &Workspace) -> Vec<Step> {
    let everything = "all crates, the page in a browser, documentation, building the examples".to_owned();
    let mut steps = vec![Step { name: everything, what: What::Passes(EVERYTHING.to_owned()) }];
    for package in workspace.packages.iter().filter(|package| package.name() != "bench") {
        for example in package.examples().filter(|example| !MEASUREMENTS.contains(example)) {
            let program = workspace.target_directory.join("debug/examples").join(example);
            let name = format!("example {example} of {}", package.name());
            steps.push(Step { name, what: What::Example(program) });
        }
    }
    for (name, build, tests) in RUNS {
        let what = What::Passes(format!("{build} {tests}"));
        steps.push(Step { name: (*name).to_owned(), what });
    }
    steps.extend(planted_bugs().map(|bug| Step { name: bug.name(), what: What::Finds(bug) }));
    for package in &workspace.packages {
        let is_built = |feature: &str| {
            let feature = format!("{}/{feature}", package.name());
            [EVERYTHING, SCHEDULES].iter().any(|build| build.split([' ', ',']).any(|word| word == feature))
        };
        for feature in package.switches().filter(|feature| !is_built(feature)) {
            let name = format!("switch {feature} of {}", package.name());
            steps.push(Step { name, what: What::Forgotten });
        }
    }
    steps
}

/// Every planted bug.
pub(crate) fn planted_bugs() -> impl Iterator<Item = PlantedBug> {
    PLANTED.iter().map(|&(bug, build, tests)| PlantedBug { bug, build, tests })
}

impl Step {
    fn run(&self, builds: &mut Builds) -> Result<(Counts, String)> {
        match &self.what {
            What::Passes(words) => passes(words),
            What::Finds(bug) => bug.look(builds, &[], is_noise, |_| ()),
            What::Example(program) => example(program),
            What::Forgotten => bail!("no test is run with it: add it to a build in xtask/src/test.rs"),
        }
    }
}

fn passes(words: &str) -> Result<(Counts, String)> {
    let mut command = cargo(words);
    let mut seen = TestOutput::default();
    let success = watch(&mut command, is_noise, |line| seen.read(line))?;
    Ok(seen.judge_pass(success, &describe(&command)))
}

/// Hides the tests that passed.
fn is_noise(line: &str) -> bool {
    line.starts_with("test ") && line.ends_with("... ok")
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
        for switch in ["plants", "shuttle"] {
            let steps = steps(&workspace("cache-x", &[switch]));
            let step = steps.iter().find(|step| step.what == What::Forgotten).unwrap();
            assert!(step.run(&mut Builds::default()).is_err());
        }
    }
}
