//! The project's own commands: `cargo xtask help` lists them, one file of this crate each.
//!
//! They need nothing but the Rust toolchain: `cargo xtask test` passes on a fresh machine.

#![expect(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, where a field that is not there is null"
)]

mod api;
mod audit;
mod bench;
mod browser;
mod built_tests;
mod ci;
mod debian;
mod demo;
mod demo_failover;
mod demo_server;
mod demo_sharing;
mod demo_story;
mod dependencies;
mod docs;
mod features;
mod http;
mod lint;
mod log_events;
mod machine;
mod metadata;
mod package;
mod process;
mod redis_server;
mod reliability;
mod report;
mod source_rules;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};
use pico_args::Arguments;

use crate::report::Report;

const HELP: &str = "\
cargo xtask COMMAND

  test [--list] [STEP..]    every test: unit, conformance, property, model, documentation, the application over
                            HTTP and in a browser, examples, schedules, planted bugs. STEP, CHECK: only those whose name contains it
  lint [CHECK..]            format, clippy and rustdoc without a warning, house rules, documents
  features [CHECK..]        every feature set without a warning; proves the invariants of docs/architecture.md
  package [CHECK..]         packages every crate; a crate outside builds with them, and runs the guide's first program
  api [--write] [CRATE..]   compares the public names of each crate with docs/api; --write: records them there
  audit [--db DIR]          licences, sources, banned crates (cargo-deny) and advisories (cargo-audit);
                            DIR or ADVISORY_DB: the RustSec database as a folder
  demo [--keep]             starts the application on a free port and walks through it over HTTP; then two instances
                            over a Redis that is killed and comes back;
                            --keep: leaves it running until Enter is pressed
  bench [--quick] [--only disk|facade|redis|peers|http|workloads|application] [--trace FILE] [--json FILE]
                            measures ours beside its peers in one run; rows also as JSON, plots in
                            target/bench-report/index.html; FILE of lookups to repeat: time,key,size
  reliability [--minutes N] [--seed N] [--only ROW]
                            what is survived, counted: kill -9, lost power, damage, faults of Redis, schedules, planted
                            bugs ...; writes docs/reliability.md; 15 minutes, or about as many as are given
  ci [--db DIR]             lint, test, features, api, package, audit, demo: what .ci/run runs

Each command ends with a table and `N passed, N failed, N skipped`, and fails if anything failed.";

/// The result of a command: the checks it made, or the reason why it could not make any.
type Outcome = Result<Report>;

fn main() -> ExitCode {
    match run(Arguments::from_env()) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => {
            report.print();
            if report.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> Result<Option<Report>> {
    let command = arguments.subcommand()?;
    let run = match command.as_deref() {
        Some("test") => test::run,
        Some("lint") => lint::run,
        Some("features") => features::run,
        Some("api") => api::run,
        Some("package") => package::run,
        Some("audit") => audit::run,
        Some("demo") => demo::run,
        Some("bench") => bench::run,
        Some("reliability") => reliability::run,
        Some("ci") => ci::run,
        Some("help") | None => {
            arguments.contains(["-h", "--help"]);
            no_more(arguments)?;
            println!("{HELP}");
            return Ok(None);
        }
        Some(unknown) => bail!("there is no command {unknown:?}; `cargo xtask help` lists them"),
    };
    run(arguments).map(Some)
}

/// Returns the arguments that are not flags, as parts of names to select by; fails on a flag that was not read before.
fn names(arguments: Arguments) -> Result<Vec<String>> {
    let rest = arguments.finish().into_iter().map(|word| word.to_string_lossy().into_owned());
    let rest: Vec<String> = rest.collect();
    match rest.iter().find(|word| word.starts_with('-')) {
        Some(unknown) => bail!("unknown argument {unknown}; `cargo xtask help` lists the arguments"),
        None => Ok(rest),
    }
}

/// Fails if any argument has not been read.
fn no_more(arguments: Arguments) -> Result<()> {
    match names(arguments)?.first() {
        Some(unknown) => bail!("unknown argument {unknown}; `cargo xtask help` lists the arguments"),
        None => Ok(()),
    }
}
