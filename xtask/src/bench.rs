//! `cargo xtask bench`: runs the crate `bench`, which alone builds the peers, and says which targets were missed.
//!
//! The crate prints its table and writes the rows to the file that `--json` names: a list of objects `{name, ours, peer,
//! peer_name, unit, better, ratio, target, target_of, met}`.

use std::path::PathBuf;

use serde_json::Value;

use crate::Outcome;
use crate::benchmarks;
use crate::json::{field, list};
use crate::machine;
use crate::process::{cargo, root, run as run_command};
use crate::report::{Counts, Report, Row};

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (forwarded, file) = forwarded(arguments)?;
    let features: &[&str] =
        if wants_peers(arguments) && peers_build() { &["--features", "peers"] } else { &[] };
    let mut words = vec!["run", "--release", "--locked", "--package", "bench"];
    words.extend(features);
    words.push("--");
    words.extend(forwarded.iter().map(String::as_str));
    let mut command = cargo(&words);
    run_command(command.env("BENCH_ABOUT", machine::describe()))?;

    let text =
        std::fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    println!("rows as JSON: {}", file.display());
    let measured: Value =
        serde_json::from_str(&text).map_err(|error| format!("the rows are no JSON: {error}"))?;
    let mut report = Report::new("bench");
    for row in rows(&measured)? {
        report.push(row);
    }
    // A trace is somebody's own: its row is not the project's.
    if !arguments.iter().any(|argument| argument == "--quick" || argument == "--trace") {
        benchmarks::write(&root(), &measured)?;
    }
    Ok(report)
}

/// Whether other caches are to be measured, which only then are built.
fn wants_peers(arguments: &[String]) -> bool {
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1);
    only.is_none_or(|group| group == "peers")
}

/// Builds the bench with other caches; where that fails, that is said and it goes on without them.
fn peers_build() -> bool {
    let words = ["build", "--release", "--locked", "--package", "bench", "--features", "peers"];
    let built = run_command(&mut cargo(&words));
    if let Err(why) = &built {
        println!("WITHOUT foyer, cached, rusqlite and deadpool-redis, which cannot be built here: {why}");
    }
    built.is_ok()
}

/// The arguments for the bench crate, with `--json` and an absolute path, and that path.
fn forwarded(arguments: &[String]) -> Result<(Vec<String>, PathBuf), String> {
    let mut forwarded = Vec::new();
    let mut file = root().join("target/bench.json");
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--quick" => forwarded.push(argument.clone()),
            "--only" => {
                let group =
                    rest.next().ok_or("--only needs a group: disk, facade, redis, peers or workloads")?;
                forwarded.extend([argument.clone(), group.clone()]);
            }
            "--trace" => {
                let trace = absolute(rest.next().ok_or("--trace needs a file")?)?;
                forwarded.extend([argument.clone(), trace.to_string_lossy().into_owned()]);
            }
            "--json" => file = absolute(rest.next().ok_or("--json needs a file")?)?,
            unknown => {
                return Err(format!("bench does not know {unknown}; `cargo xtask help` lists its arguments"));
            }
        }
    }
    let report = root().join("target/bench-report");
    for (argument, path) in [("--json", &file), ("--report", &report)] {
        forwarded.extend([argument.to_owned(), path.to_string_lossy().into_owned()]);
    }
    Ok((forwarded, file))
}

fn absolute(given: &str) -> Result<PathBuf, String> {
    std::path::absolute(given).map_err(|error| format!("{given}: {error}"))
}

/// A target that is missed is said to be missed; the figures of a shared machine do not fail a build.
fn rows(value: &Value) -> Result<Vec<Row>, String> {
    if list(value).is_empty() {
        return Err("the bench measured nothing".to_owned());
    }
    list(value).iter().map(row).collect()
}

fn row(value: &Value) -> Result<Row, String> {
    let text =
        |name: &str| field(value, name).as_str().ok_or_else(|| format!("a row without {name}: {value}"));
    let number =
        |name: &str| field(value, name).as_f64().ok_or_else(|| format!("a row without {name}: {value}"));
    let met = field(value, "met").as_bool().ok_or_else(|| format!("a row without met: {value}"))?;
    let bound = if text("better")? == "higher" { "at least" } else { "at most" };
    let peer = field(value, "peer_name").as_str().filter(|name| !name.is_empty());
    let beside = match peer {
        Some(peer) => format!(", {:.2} x {peer}", number("ratio")?),
        None => String::new(),
    };
    let said = format!(
        "{:.2} {}{beside}; {} {bound} {}",
        number("ours")?,
        text("unit")?,
        text("target_of")?,
        number("target")?
    );
    Ok(Row {
        name: text("name")?.to_owned(),
        counts: if met { Counts::PASSED } else { Counts::SKIPPED },
        elapsed: std::time::Duration::ZERO,
        note: if met { said } else { format!("MISSED: {said}") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = r#"[{"name": "get 1 KB", "ours": 2.1, "peer": 3.0, "peer_name": "raw redb", "unit": "us",
        "better": "lower", "ratio": 0.7, "target": 1.1, "target_of": "ratio", "met": true}]"#;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_row_says_what_was_measured_and_what_was_wanted() {
        let rows = rows(&parsed(ROWS)).unwrap();
        assert_eq!(rows[0].note, "2.10 us, 0.70 x raw redb; ratio at most 1.1");
        assert_eq!(rows[0].counts, Counts::PASSED);
    }

    #[test]
    fn a_missed_target_is_said_to_be_missed() {
        let rows = rows(&parsed(&ROWS.replace("true", "false"))).unwrap();
        assert!(rows[0].note.starts_with("MISSED"));
        assert_ne!(rows[0].counts, Counts::PASSED);
    }

    #[test]
    fn a_row_that_lacks_a_field_and_an_empty_list_are_errors() {
        assert!(rows(&parsed("[]")).is_err());
        assert!(rows(&parsed(&ROWS.replace("\"met\": true", "\"x\": 1"))).is_err());
    }

    #[test]
    fn arguments_are_forwarded_and_the_file_is_absolute() {
        let arguments = ["--quick".to_owned(), "--json".to_owned(), "rows.json".to_owned()];
        let (forwarded, file) = forwarded(&arguments).unwrap();
        assert!(file.is_absolute());
        assert_eq!(forwarded.first().map(String::as_str), Some("--quick"));
        assert!(super::forwarded(&["--fast".to_owned()]).is_err());
    }

    #[test]
    fn other_caches_are_built_only_when_they_are_measured() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(wants_peers(&words("--quick")) && wants_peers(&words("--only peers")));
        assert!(!wants_peers(&words("--quick --only disk")));
    }
}
