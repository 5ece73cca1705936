//! The project's own commands: `cargo xtask help` lists them, one file of this crate each.
//!
//! They need nothing but the Rust toolchain: `cargo xtask test` passes on a fresh machine.

mod audit;
mod bench;
mod benchmarks;
mod ci;
mod demo;
mod demo_redis;
mod demo_sharing;
mod demo_story;
mod dependencies;
mod docs;
mod features;
mod help;
mod http;
mod json;
mod lint;
mod machine;
mod metadata;
mod process;
mod redis_server;
mod reliability;
mod report;
mod source_rules;
mod test;
mod vocabulary;

use std::process::ExitCode;

use crate::report::Report;

/// What a command hands back: what it checked, or why it could not check anything.
type Outcome = Result<Report, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let outcome = match command {
        "test" => test::run(rest),
        "lint" => lint::run(rest),
        "features" => features::run(rest),
        "audit" => audit::run(rest),
        "demo" => demo::run(rest),
        "bench" => bench::run(rest),
        "reliability" => reliability::run(rest),
        "ci" => ci::run(rest),
        "help" | "--help" | "-h" => {
            help::print();
            return ExitCode::SUCCESS;
        }
        unknown => Err(format!("there is no command {unknown:?}; `cargo xtask help` lists them")),
    };
    match outcome {
        Ok(report) => {
            report.print();
            if report.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
