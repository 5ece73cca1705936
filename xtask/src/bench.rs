//! `cargo xtask bench`: runs the crate `bench`, which alone builds the peers, and says which targets were missed.
//!
//! The crate prints its table, writes docs/benchmarks.md after a full run, and writes the rows to the file that `--json`
//! names: a list of objects, of which `name`, `met` and `summary` are read here.

use std::path::{Path, PathBuf};
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
    let asked = Asked::parse(arguments)?;
    let build =
        format!("--release --locked --package bench {}", if asked.builds_peers() { PEERS } else { "" });
    let mut command = cargo(&format!("run {build} --"));
    run_command(command.args(asked.words(&root())).env("BENCH_ABOUT", machine::describe()))?;
    println!("rows as JSON: {}", asked.json.display());
    let rows: Vec<Value> = serde_json::from_str(&fs::read_to_string(&asked.json)?)?;
    ensure!(!rows.is_empty(), "the bench measured nothing");
    let mut report = Report::new("bench");
    for value in &rows {
        report.push(row(value)?);
    }
    Ok(report)
}

const PEERS: &str = "--features peers";

/// The arguments.
#[derive(Debug)]
struct Asked {
    quick: bool,
    only: Option<String>,
    trace: Option<PathBuf>,
    json: PathBuf,
}

impl Asked {
    fn parse(mut arguments: Arguments) -> Result<Self> {
        let json: Option<PathBuf> = arguments.opt_value_from_str("--json")?;
        let trace: Option<PathBuf> = arguments.opt_value_from_str("--trace")?;
        let asked = Self {
            quick: arguments.contains("--quick"),
            only: arguments.opt_value_from_str("--only")?,
            trace: trace.map(std::path::absolute).transpose()?,
            json: std::path::absolute(json.unwrap_or_else(|| root().join("target/bench.json")))?,
        };
        no_more(arguments)?;
        Ok(asked)
    }

    /// Whether other caches are measured, and can be built here. Nothing else builds them.
    fn builds_peers(&self) -> bool {
        if self.only.as_ref().is_some_and(|group| group != "peers") {
            return false;
        }
        let words = format!("build --release --locked --package bench {PEERS}");
        let built = run_command(&mut cargo(&words));
        if let Err(error) = &built {
            println!(
                "WITHOUT foyer, cached, rusqlite and deadpool-redis, which cannot be built here: {error:#}"
            );
        }
        built.is_ok()
    }

    /// The arguments of the bench. A quick run and one of a user's own trace are not written to the page.
    fn words(&self, root: &Path) -> Vec<PathBuf> {
        let mut words: Vec<PathBuf> =
            vec!["--json".into(), self.json.clone(), "--report".into(), root.join("target/bench-report")];
        if self.quick {
            words.push("--quick".into());
        } else if self.trace.is_none() {
            words.extend(["--page".into(), root.join("docs/benchmarks.md")]);
        }
        words.extend(self.only.iter().flat_map(|group| ["--only".into(), group.into()]));
        words.extend(self.trace.iter().flat_map(|file| ["--trace".into(), file.clone()]));
        words
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

    fn words(line: &str) -> Result<Vec<String>> {
        let arguments = Arguments::from_vec(line.split_whitespace().map(Into::into).collect());
        let words = Asked::parse(arguments)?.words(Path::new("/root"));
        Ok(words.iter().map(|word| word.display().to_string()).collect())
    }

    #[test]
    fn arguments_are_passed_on_with_absolute_files_and_only_a_full_run_writes_the_page() {
        let quick = words("--quick --json rows.json --only disk").unwrap();
        assert!(quick[1].starts_with('/') && quick[1].ends_with("rows.json"));
        assert_eq!(quick[4..], ["--quick", "--only", "disk"]);
        assert!(words("").unwrap().contains(&"--page".to_owned()));
        assert!(!words("--trace x.csv").unwrap().contains(&"--page".to_owned()));
        assert!(words("--fast").is_err() && words("--only").is_err());
    }
}
