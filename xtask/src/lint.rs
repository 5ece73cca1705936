//! `cargo xtask lint`: format, clippy and rustdoc without a warning on every feature set, house rules, links.

use crate::features::product;
use crate::metadata::Workspace;
use crate::process::{cargo, root, run as run_command};
use crate::report::Report;
use crate::source_rules::{OnlyIn, Source, no_file_is_longer_than, rust_sources};
use crate::{Outcome, dependencies, docs, vocabulary};

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let workspace = Workspace::read()?;
    let root = root();
    let mut report = Report::of("lint", arguments);
    report.check("format", || run_command(&mut cargo(&["fmt", "--all", "--check"])));
    report.check("clippy: everything, default features", || clippy(&["--workspace", "--all-targets"]));
    for package in product(&workspace) {
        let name = package.name.as_str();
        for (set, arguments) in package.feature_sets() {
            // The default set is part of the line above.
            if set == "default features" {
                continue;
            }
            report.check(format!("clippy: {name} with {set}"), || {
                let mut words = vec!["--package", name];
                // With all features the tests behind them are there, schedules and planted bugs included.
                if set == "all features" {
                    words.push("--all-targets");
                }
                words.extend(arguments.iter().map(String::as_str));
                clippy(&words)
            });
        }
    }
    report.check("rustdoc", || {
        let words = ["doc", "--quiet", "--locked", "--workspace", "--exclude", "bench", "--no-deps"];
        let mut command = cargo(&words);
        command.env("RUSTDOCFLAGS", "-D warnings");
        run_command(&mut command)
    });
    for rule in HOUSE_RULES {
        report.check(rule.law, || rule.check(&root));
    }
    report.check("no file is longer than 500 lines", || {
        let mut sources: Vec<Source> = Vec::new();
        for folder in EVERYWHERE {
            sources.extend(rust_sources(&root, folder)?);
        }
        no_file_is_longer_than(500, &sources)
    });
    report.check("links in the documents lead somewhere", || docs::links(&root));
    report.check("docs/dependencies.md explains every direct dependency", || {
        dependencies::are_explained(&root)
    });
    report.check("settings: code, docs/configuration.md and .env.example name the same", || {
        vocabulary::settings(&root)
    });
    report.check("log events: code and docs/operations.md name the same", || vocabulary::log_events(&root));
    report.check("log events of the cache: none can interrupt the code around it", || {
        vocabulary::log_events_are_contained(&root)
    });
    Ok(report)
}

fn clippy(arguments: &[&str]) -> Result<String, String> {
    let mut words = vec!["clippy", "--quiet", "--locked"];
    words.extend(arguments);
    words.extend(["--", "-D", "warnings"]);
    run_command(&mut cargo(&words))
}

const EVERYWHERE: &[&str] = &["crates", "xtask/src"];

const HOUSE_RULES: &[OnlyIn] = &[
    OnlyIn {
        law: "no test is ignored",
        folders: EVERYWHERE,
        needles: &["#[ignore"],
        unless: &[],
        // Its own tables hold the text.
        allowed: &["xtask/src/lint.rs"],
        in_tests_too: true,
    },
    OnlyIn {
        law: "a lint is expected with a reason, never allowed",
        folders: EVERYWHERE,
        needles: &["#[allow(", "#![allow("],
        unless: &[],
        allowed: &["xtask/src/lint.rs"],
        in_tests_too: true,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_house_rule_finds_a_planted_offence() {
        for rule in HOUSE_RULES {
            let text = format!("    {}x)]\n", rule.needles[0]);
            let bad = Source { path: "crates/x/tests/a.rs".to_owned(), text };
            assert!(rule.judge(&[bad]).is_err(), "{}", rule.law);
        }
    }
}
