//! `cargo xtask api`: compares the public names of each crate with the record in `docs/api`, so that a change shows in review.
//!
//! rustdoc lists them as JSON. That format is unstable: the version of `public-api` in Cargo.toml is the one that reads the
//! format of the toolchain in rust-toolchain.toml, and the two are raised together.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use pico_args::Arguments;

use crate::metadata::{Package, Workspace};
use crate::package::packaged;
use crate::process::{cargo, output, root};
use crate::report::Report;
use crate::{Outcome, docs, names};

/// Stable rustdoc prints JSON in this environment alone. cargo calls this program in its place: set for all of cargo, the variable
/// would have build scripts take the compiler for another one, and everything built again.
const RUSTDOC: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";

/// Runs the command; `--write` records what is found.
pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let writes = arguments.contains("--write");
    let mut report = Report::of("api", names(arguments)?);
    let workspace = Workspace::read()?;
    let rustdoc = workspace.target_directory.join("xtask/rustdoc");
    fs::create_dir_all(workspace.target_directory.join("xtask"))?;
    fs::write(&rustdoc, RUSTDOC)?;
    fs::set_permissions(&rustdoc, std::fs::Permissions::from_mode(0o755))?;
    // A macro has no names but its own.
    for package in packaged(&workspace).filter(|package| package.name() != "cache-macros") {
        let name = package.name();
        report.check(format!("the public API of {name} is as recorded"), || {
            let found = public_api(package, &workspace, &rustdoc)?;
            let file = format!("docs/api/{name}.txt");
            if writes {
                fs::create_dir_all(root().join("docs/api"))?;
                fs::write(root().join(&file), &found)?;
            }
            compare(&docs::read(&root(), &file)?, &found)?;
            Ok(format!("{} lines", found.lines().count()))
        });
    }
    Ok(report)
}

/// The public items of a crate with all features for users, one a line.
fn public_api(package: &Package, workspace: &Workspace, rustdoc: &Path) -> Result<String> {
    let name = package.name();
    let features = package.public_features().collect::<Vec<_>>().join(",");
    let mut command =
        cargo(&format!("rustdoc --locked --quiet --lib --package {name} --features={features}"));
    command.args(["--", "-Zunstable-options", "--output-format", "json"]).env("RUSTDOC", rustdoc);
    output(&mut command)?;
    let json = workspace.target_directory.join(format!("doc/{}.json", name.replace('-', "_")));
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .context("rustdoc's JSON: do the versions of Rust and public-api belong together?")?;
    Ok(api.to_string())
}

/// Fails where the texts differ, and names the first lines that only one of them has. A name of two things, as a trait and its
/// derive macro, has two equal lines: one of them may go, so that sets of lines alone do not tell.
fn compare(recorded: &str, found: &str) -> Result<()> {
    let [old, new] = [recorded, found].map(|text| text.lines().collect::<BTreeSet<_>>());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    let come = new.difference(&old).map(|line| format!("+ {line}"));
    let differences: Vec<String> = gone.chain(come).collect();
    let some = differences.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(
        recorded == found,
        "{} lines recorded, {} found; `cargo xtask api --write` records them:\n{some}",
        recorded.lines().count(),
        found.lines().count()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_came_or_went_is_shown() {
        assert!(compare("pub fn a()\npub fn b()\n", "pub fn a()\npub fn b()\n").is_ok());
        let problem =
            compare("pub fn a()\npub fn b()\n", "pub fn a()\npub fn c()\n").unwrap_err().to_string();
        assert!(problem.contains("- pub fn b()") && problem.contains("+ pub fn c()"), "{problem}");
        // One of two equal lines.
        assert!(compare("pub use a::B\npub use a::B\n", "pub use a::B\n").is_err());
    }
}
