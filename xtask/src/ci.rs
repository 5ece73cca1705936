//! `cargo xtask ci`: the list that `.ci/run` runs, for people.

use std::time::Instant;

use crate::report::Report;
use crate::{Outcome, audit, demo, features, lint, test};

/// Runs the commands one after the other, also after a failure: one run shows everything that is wrong.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    // A wrong argument is said now, not after a quarter of an hour.
    audit::database(arguments)?;
    let mut report = Report::new("ci");
    let commands: [(&str, &dyn Fn() -> Outcome); 5] = [
        ("lint", &|| lint::run(&[])),
        ("test", &|| test::run(&[])),
        ("features", &|| features::run(&[])),
        ("audit", &|| audit::run(arguments)),
        ("demo", &|| demo::run(&[])),
    ];
    for (name, command) in commands {
        println!("\n==== cargo xtask {name} ====");
        let started = Instant::now();
        match command() {
            Ok(part) => {
                part.print();
                report.absorb(&part, started.elapsed());
            }
            Err(why) => report.check(name, || Err(why)),
        }
    }
    Ok(report)
}
