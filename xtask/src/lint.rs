//! `cargo xtask lint`: format, clippy and rustdoc without a warning, house rules, links.

use anyhow::Result;
use pico_args::Arguments;

use crate::metadata::Workspace;
use crate::process::{cargo, root, run as run_command};
use crate::report::Report;
use crate::source_rules::{OnlyIn, comments_are_plain, no_file_is_longer_than, rust_sources};
use crate::{Outcome, dependencies, docs, log_events, names};

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Outcome {
    let (workspace, root) = (Workspace::read()?, root());
    let mut report = Report::of("lint", names(arguments)?);
    report.check("format", || run_command(&mut cargo("fmt --all --check")));
    report.check("clippy: everything, default features", || clippy("--workspace --all-targets"));
    report.check("rustdoc", || {
        let mut command = cargo("doc --quiet --locked --workspace --exclude bench --no-deps");
        run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
    for rule in HOUSE_RULES {
        report.check(rule.law, || rule.check(&root));
    }
    report.check("no file is longer than 500 lines", || {
        no_file_is_longer_than(500, &rust_sources(&root, EVERYWHERE)?)
    });
    report.check("comments are plain English", || comments_are_plain(20, &rust_sources(&root, EVERYWHERE)?));
    report.check("docs/architecture.md names the modules and functions that exist", || {
        docs::architecture(
            &root,
            &["cache-core", "cache-disk", "cache-redis", "cache-macros", "cache-facade", "cache-http"],
        )
    });
    report.check("links in the documents lead somewhere", || docs::links(&root));
    report.check("docs/dependencies.md explains every direct dependency", || {
        dependencies::are_explained(&root, &workspace)
    });
    report
        .check("log events: code and docs/reference.md name the same", || log_events::are_documented(&root));
    report.check("log events of the cache: none can interrupt the code around it", || {
        log_events::are_contained(&root)
    });
    Ok(report)
}

/// Runs clippy, which must not warn.
pub(crate) fn clippy(words: &str) -> Result<String> {
    run_command(&mut cargo(&format!("clippy --quiet --locked {words} -- -D warnings")))
}

const EVERYWHERE: &[&str] = &["crates", "xtask/src"];

/// Where the text that is forbidden elsewhere is part of a table, or of the code that a macro generates.
const HERE: &[&str] = &["xtask/src/lint.rs", "cache-macros/src/cached.rs"];

const HOUSE_RULES: &[OnlyIn] = &[
    OnlyIn::new("no test is ignored", EVERYWHERE, &["#[ignore"], HERE).also_in_tests(),
    OnlyIn::new(
        "a lint is expected with a reason, never allowed",
        EVERYWHERE,
        &["#[allow(", "#![allow("],
        HERE,
    )
    .also_in_tests(),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source_rules::Source;

    #[test]
    fn each_house_rule_finds_a_planted_offence() {
        for rule in HOUSE_RULES {
            let text = format!("    {}x)]\n", rule.needles[0]);
            let bad = Source { path: "crates/x/tests/a.rs".to_owned(), text };
            assert!(rule.judge(&[bad]).is_err(), "{}", rule.law);
        }
    }
}
