//! `cargo xtask bench`: runs the crate `bench`, which alone builds the peers, beside the application, and says which targets were
//! missed.
//!
//! The crate prints its table, writes docs/benchmarks.md after a full run, and writes the rows to the file that `--json`
//! names: a list of objects, of which `name`, `met` and `summary` are read here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use pico_args::Arguments;
use serde_json::Value;

use crate::process::{cargo, root, run as run_command};
use crate::report::{Counts, Report, Row};
use crate::{Outcome, machine, no_more};

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Outcome {
    let words = arguments.finish();
    let asked = Asked::parse(&words)?;
    let features = if asked.builds_peers() { PEERS } else { "" };
    if asked.wants("application") {
        run_command(&mut cargo("build --profile bench --locked --package image-manager"))?;
    }
    let mut command = cargo(&format!("run --profile bench --locked --package bench {features} --"));
    // Files are named relative to the caller's folder.
    command.current_dir(std::env::current_dir()?).args(&words);
    let json = asked.json.clone().unwrap_or_else(|| {
        let file = root().join("target/bench.json");
        command.arg("--json").arg(&file);
        file
    });
    command.arg("--report").arg(root().join("target/bench-report"));
    command.arg("--page").arg(root().join("docs/benchmarks.md"));
    run_command(command.env("BENCH_ABOUT", machine::describe()))?;
    println!("rows as JSON: {}", json.display());
    let rows: Vec<Value> = serde_json::from_str(&fs::read_to_string(&json)?)?;
    ensure!(!rows.is_empty(), "the bench measured nothing");
    let mut report = Report::new("bench");
    for value in &rows {
        report.push(row(value)?);
    }
    Ok(report)
}

const PEERS: &str = "--features peers";

/// The arguments that matter here; all are passed on to the bench.
#[derive(Debug)]
struct Asked {
    only: Option<String>,
    json: Option<PathBuf>,
}

impl Asked {
    fn parse(words: &[OsString]) -> Result<Self> {
        let mut arguments = Arguments::from_vec(words.to_vec());
        arguments.contains("--quick");
        arguments.opt_value_from_str::<_, String>("--trace")?;
        let only = arguments.opt_value_from_str("--only")?;
        let json = arguments.opt_value_from_str("--json")?;
        no_more(arguments)?;
        Ok(Self { only, json })
    }

    /// Whether the group of this name is to run.
    fn wants(&self, group: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == group)
    }

    /// Whether other caches are measured, and can be built here. Nothing else builds them.
    fn builds_peers(&self) -> bool {
        if !self.wants("peers") && !self.wants("http") {
            return false;
        }
        let built =
            run_command(&mut cargo(&format!("build --profile bench --locked --package bench {PEERS}")));
        if let Err(error) = &built {
            println!(
                "WITHOUT foyer, cached, rusqlite, moka, deadpool-redis and the layers of others, which cannot be built here: {error:#}"
            );
        }
        built.is_ok()
    }
}

/// A row of the report. A missed target is skipped, not failed: the figures of a shared machine do not fail a build.
fn row(value: &Value) -> Result<Row> {
    let text = |name: &str| value[name].as_str().with_context(|| format!("a row without {name}: {value}"));
    let met = value["met"].as_bool().with_context(|| format!("a row without met: {value}"))?;
    let (counts, mark) = if met { (Counts::PASSED, "") } else { (Counts::SKIPPED, "MISSED: ") };
    let note = format!("{mark}{}", text("summary")?);
    Ok(Row { name: text("name")?.to_owned(), counts, elapsed: Duration::ZERO, note })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_said_to_be_missed_and_a_row_that_lacks_a_field_is_an_error() {
        let met = |met| serde_json::json!({"name": "get 1 KB", "summary": "2.10 us", "met": met});
        let (hit, missed) = (row(&met(true)).unwrap(), row(&met(false)).unwrap());
        assert_eq!((hit.counts, hit.note.as_str()), (Counts::PASSED, "2.10 us"));
        assert_eq!((missed.counts, missed.note.as_str()), (Counts::SKIPPED, "MISSED: 2.10 us"));
        assert!(row(&serde_json::json!({"name": "get 1 KB", "met": true})).is_err());
    }

    fn parse(line: &str) -> Result<Asked> {
        Asked::parse(&line.split_whitespace().map(Into::into).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_understood_or_refused_before_anything_is_built() {
        let asked = parse("--quick --json rows.json --only disk --trace x.csv").unwrap();
        assert_eq!((&asked.json, asked.only.as_deref()), (&Some("rows.json".into()), Some("disk")));
        assert!(
            asked.wants("disk") && !asked.wants("application") && parse("").unwrap().wants("application")
        );
        assert!(parse("--fast").is_err() && parse("--only").is_err());
    }
}
