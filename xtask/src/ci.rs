//! `cargo xtask ci`: the list that `.ci/run` runs, for people.

use std::time::Instant;

use pico_args::Arguments;

use crate::report::Report;
use crate::{Outcome, api, audit, demo, features, lint, no_more, package, test};

/// Runs the commands one after the other, also after a failure: one run shows everything that is wrong.
pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    // A wrong argument is reported now, not after a quarter of an hour.
    let database = audit::database(&mut arguments)?;
    no_more(arguments)?;
    let none = || Arguments::from_vec(Vec::new());
    let mut report = Report::new("ci");
    let commands: [(&str, &dyn Fn() -> Outcome); 7] = [
        ("lint", &|| lint::run(none())),
        ("test", &|| test::run(none())),
        ("features", &|| features::run(none())),
        ("api", &|| api::run(none())),
        ("package", &|| package::run(none())),
        ("audit", &|| Ok(audit::check(database.as_deref()))),
        ("demo", &|| demo::run(none())),
    ];
    for (name, command) in commands {
        println!("\n==== cargo xtask {name} ====");
        let started = Instant::now();
        match command() {
            Ok(part) => {
                part.print();
                report.absorb(&part, started.elapsed());
            }
            Err(error) => report.check(name, || Err(error)),
        }
    }
    Ok(report)
}
