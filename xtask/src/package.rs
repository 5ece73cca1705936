//! `cargo xtask package`: packages every crate of the product, and builds a crate outside the workspace that depends on the packages as
//! a user's would.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use pico_args::Arguments;

use crate::metadata::{Package, Workspace};
use crate::process::{cargo, output, root, run as run_command};
use crate::report::Report;
use crate::{Outcome, docs, names};

/// Crates for this repository alone.
const NOT_PACKAGED: [&str; 4] = ["bench", "image-manager", "testkit", "xtask"];

/// Files at the root that each package holds too.
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Outcome {
    let mut report = Report::of("package", names(arguments)?);
    let workspace = Workspace::read()?;
    let crates: Vec<&Package> = packaged(&workspace).collect();
    for package in &crates {
        report.check(format!("{} has what a registry shows", package.name()), || is_complete(package));
    }
    report.check("each crate is packaged", || {
        let copy = workspace.target_directory.join("xtask/to-package");
        copy_publishable(&copy)?;
        let left_out: String = NOT_PACKAGED.map(|name| format!(" --exclude {name}")).concat();
        // The crate outside builds the packages. cargo's own verification unpacks a package once for each version, and then builds
        // the crates that depend on it against what a former run packaged.
        let mut package = cargo(&format!("package --locked --no-verify --workspace{left_out}"));
        package.current_dir(&copy).env("CARGO_TARGET_DIR", &workspace.target_directory);
        run_command(&mut package)?;
        Ok(format!("{} packages", crates.len()))
    });
    let outside = Outside::new(&workspace);
    report.check("a crate outside depends on the packages", || outside.write(&crates));
    for features in feature_sets(&crates) {
        let shown = if features.is_empty() { "no feature" } else { &features };
        report.check(format!("the crate outside builds with {shown}"), || {
            run_command(&mut outside.cargo("check", &features))
        });
    }
    report.check("the crate outside runs the guide's first program", || {
        outside.use_program(&first_program(&docs::read(&root(), "docs/developer-guide.md")?)?)?;
        output(&mut outside.cargo("run", "cache-facade/default")).map(|_| String::new())
    });
    Ok(report)
}

/// The crates of the product.
pub(crate) fn packaged(workspace: &Workspace) -> impl Iterator<Item = &Package> {
    workspace.packages.iter().filter(|package| !NOT_PACKAGED.contains(&package.name()))
}

/// Copies the files that git knows or would add to `folder`, and lets the crates there be published: cargo packages crates together
/// with those that they depend on only where it could publish them.
fn copy_publishable(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    for path in output(&mut git)?.split_terminator('\0') {
        let (from, to) = (root().join(path), folder.join(path));
        // One that was removed, and is not committed yet.
        if from.is_file() {
            fs::create_dir_all(to.parent().context("a path without a folder")?)?;
            fs::copy(from, to)?;
        }
    }
    let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
    let publishable = manifest.replacen("\npublish = false\n", "\npublish = true\n", 1);
    ensure!(manifest != publishable, "Cargo.toml has no line `publish = false`");
    Ok(fs::write(folder.join("Cargo.toml"), publishable)?)
}

/// Checks the metadata of a crate, and that its licences are those of the repository.
fn is_complete(package: &Package) -> Result<String> {
    let missing = package.missing_metadata();
    ensure!(missing.is_empty(), "its Cargo.toml has no {}", missing.join(", "));
    for licence in LICENCES {
        let own = docs::read(&root(), &format!("crates/{}/{licence}", package.name()))?;
        ensure!(own == docs::read(&root(), licence)?, "its {licence} differs from that of the repository");
    }
    Ok(String::new())
}

/// The features with which the crate outside is built, as cargo's `--features` takes them: none, each alone, and all.
fn feature_sets(crates: &[&Package]) -> Vec<String> {
    let is_used = |package: &&&Package| ["cache-facade", "cache-http"].contains(&package.name());
    let mut sets = vec![String::new()];
    for package in crates.iter().filter(is_used) {
        sets.extend(package.public_features().map(|feature| format!("{}/{feature}", package.name())));
    }
    // No feature of the others has the suite for backends as a dependency.
    sets.push(sets[1..].join(",") + ",cache-conformance");
    sets
}

/// A crate outside the workspace.
struct Outside {
    folder: PathBuf,
    /// Where cargo puts the packages.
    packed: PathBuf,
}

impl Outside {
    fn new(workspace: &Workspace) -> Self {
        let target = &workspace.target_directory;
        Self { folder: target.join("xtask/outside"), packed: target.join("package") }
    }

    /// Writes the crate: it takes every crate of the product from its unpacked package, and the rest from the registry.
    fn write(&self, crates: &[&Package]) -> Result<String> {
        let mut manifest = "\
[package]
name = \"outside\"
version = \"0.0.0\"
edition = \"2024\"

[workspace]

[dependencies]
cache-conformance = { version = \"0.1.0\", optional = true }
cache-facade = { version = \"0.1.0\", default-features = false }
cache-http = { version = \"0.1.0\", default-features = false, optional = true }
serde = { version = \"1\", features = [\"derive\"] }
tokio = { version = \"1\", features = [\"macros\", \"rt\"] }

[patch.crates-io]
"
        .to_owned();
        for package in crates {
            writeln!(manifest, "{} = {{ path = '{}' }}", package.name(), self.unpack(package)?.display())?;
        }
        fs::create_dir_all(self.folder.join("src"))?;
        fs::write(self.folder.join("Cargo.toml"), manifest)?;
        // The versions that the workspace is tested with.
        fs::copy(root().join("Cargo.lock"), self.folder.join("Cargo.lock"))?;
        self.use_program("fn main() {}\n")?;
        Ok(format!("{} packages", crates.len()))
    }

    /// Unpacks a package, and returns the folder of its files.
    fn unpack(&self, package: &Package) -> Result<PathBuf> {
        let name = format!("{}-{}", package.name(), package.version());
        let folder = self.folder.join("packages");
        let unpacked = folder.join(&name);
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        fs::create_dir_all(&folder)?;
        // -m: every file in a package has the same time, by which cargo would take a change for none.
        let mut tar = Command::new("tar");
        tar.arg("-xzmf").arg(self.packed.join(format!("{name}.crate"))).arg("-C").arg(&folder);
        output(&mut tar)?;
        Ok(unpacked)
    }

    fn use_program(&self, program: &str) -> Result<()> {
        Ok(fs::write(self.folder.join("src/main.rs"), program)?)
    }

    fn cargo(&self, command: &str, features: &str) -> Command {
        let mut cargo = cargo(command);
        cargo.args(["--offline", "--quiet", "--features", features]).current_dir(&self.folder);
        cargo.env("CARGO_TARGET_DIR", self.folder.join("target"));
        cargo
    }
}

/// The first program in a document, with the lines that rustdoc hides.
fn first_program(document: &str) -> Result<String> {
    let (_, rest) = document.split_once("```rust\n").context("the document has no program")?;
    let (program, _) = rest.split_once("```").context("its first program has no end")?;
    let visible = |line: &str| {
        line.strip_prefix("# ").or(line.strip_prefix('#').filter(|rest| rest.is_empty())).map(str::to_owned)
    };
    Ok(program.lines().map(|line| visible(line).unwrap_or_else(|| line.to_owned()) + "\n").collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::workspace;

    #[test]
    fn the_first_program_has_its_hidden_lines() {
        let document = "text\n```toml\nx\n```\n```rust\n# use a::B;\n#\n#[derive(Debug)]\nfn main() {}\n```\n```rust\nother\n```\n";
        assert_eq!(first_program(document).unwrap(), "use a::B;\n\n#[derive(Debug)]\nfn main() {}\n");
        assert!(first_program("none").is_err());
    }

    #[test]
    fn each_feature_is_built_alone_and_all_together() {
        let facade = workspace("cache-facade", &["default", "disk", "json", "shuttle"]).packages;
        let sets = feature_sets(&facade.iter().collect::<Vec<_>>());
        let all = "cache-facade/disk,cache-facade/json,cache-conformance";
        assert_eq!(sets, ["", "cache-facade/disk", "cache-facade/json", all]);
    }

    #[test]
    fn a_crate_without_a_description_is_refused() {
        let packages = workspace("cache-x", &[]).packages;
        let problem = is_complete(&packages[0]).unwrap_err().to_string();
        assert!(problem.contains("description") && problem.contains("repository"), "{problem}");
    }
}
