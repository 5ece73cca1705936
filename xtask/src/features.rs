//! `cargo xtask features`: builds every feature set, and proves the invariants that `docs/architecture.md` names.

use crate::metadata::{Package, Workspace};
use crate::process::{cargo, output, root, run as run_command};
use crate::report::Report;
use crate::source_rules::{OnlyIn, Source, rust_sources, wrappers_implement_every_method};
use crate::{Outcome, docs};

/// Crates whose every feature set must build: those that are not there for tests and benches alone.
pub(crate) fn product(workspace: &Workspace) -> impl Iterator<Item = &Package> {
    workspace
        .packages
        .iter()
        .filter(|package| !["bench", "testkit", "xtask"].contains(&package.name.as_str()))
}

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let workspace = Workspace::read()?;
    let root = root();
    let mut report = Report::of("features and invariants", arguments);
    for package in product(&workspace) {
        let name = package.name.as_str();
        for (set, arguments) in package.feature_sets() {
            report.check(format!("{name} builds with {set}"), || {
                let mut words = vec!["check", "--quiet", "--locked", "--package", name];
                words.extend(arguments.iter().map(String::as_str));
                run_command(&mut cargo(&words))
            });
        }
    }
    for law in ABSENT {
        report.check(law.law, || law.check());
    }
    for law in OWNED {
        report.check(law.law, || law.judge(&workspace.packages));
    }
    for law in SOURCES {
        report.check(law.law, || law.check(&root));
    }
    report.check("a wrapper backend implements every method of the trait", || {
        let mut sources: Vec<Source> = Vec::new();
        for folder in ["crates/cache-conformance/src", "crates/cache-core/src", "crates/cache-facade/src"] {
            sources.extend(rust_sources(&root, folder)?);
        }
        wrappers_implement_every_method(&sources)
    });
    report.check("unsafe code is forbidden in every crate", || {
        docs::read(&root, "Cargo.toml").and_then(|text| {
            if !text.contains("unsafe_code = \"forbid\"") {
                return Err("the workspace's lints do not forbid unsafe code".to_owned());
            }
            for package in &workspace.packages {
                let folder = if package.name == "xtask" {
                    "xtask".to_owned()
                } else {
                    format!("crates/{}", package.name)
                };
                obeys_the_workspace_lints(
                    &package.name,
                    &docs::read(&root, &format!("{folder}/Cargo.toml"))?,
                )?;
            }
            Ok(format!("{} crates", workspace.packages.len()))
        })
    });
    report.check("every crate sets rust-version, and none is published", || settled(&workspace.packages));
    Ok(report)
}

/// Crates that must be absent from a dependency tree.
struct Absent {
    law: &'static str,
    package: &'static str,
    features: &'static [&'static str],
    crates: &'static [&'static str],
}

const ABSENT: &[Absent] = &[
    Absent {
        law: "cache-core knows no backend and no runtime",
        package: "cache-core",
        features: &["--features", "json"],
        crates: &["redb", "redis", "bb8-redis", "tokio", "cache-disk", "cache-redis", "cache-facade"],
    },
    Absent {
        law: "cache-disk knows neither Redis nor the facade",
        package: "cache-disk",
        features: &["--all-features"],
        crates: &["redis", "bb8-redis", "cache-redis", "cache-facade"],
    },
    Absent {
        law: "the facade without features pulls in no backend",
        package: "cache-facade",
        features: &["--no-default-features"],
        crates: &["redb", "redis", "bb8-redis", "cache-disk", "cache-redis"],
    },
    Absent {
        law: "nothing of the product needs OpenSSL or cmake",
        package: "image-manager",
        features: &["--all-features"],
        crates: &["openssl", "openssl-sys", "native-tls", "aws-lc-sys", "cmake"],
    },
];

impl Absent {
    fn check(&self) -> Result<String, String> {
        let mut words = vec!["tree", "--locked", "--package", self.package, "--edges", "normal,build"];
        words.extend(["--prefix", "none", "--format", "{p}", "--target", "all"]);
        words.extend(self.features);
        self.judge(&output(&mut cargo(&words))?)
    }

    /// A tree lists one crate a line, name first, and begins with the package itself.
    fn judge(&self, tree: &str) -> Result<String, String> {
        let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        if names.first() != Some(&self.package) {
            return Err(format!("cargo tree printed no tree of {}", self.package));
        }
        let found: Vec<&str> = self.crates.iter().copied().filter(|absent| names.contains(absent)).collect();
        if found.is_empty() {
            Ok(format!("{} crates in the tree", names.len()))
        } else {
            Err(format!("the tree of {} holds {}", self.package, found.join(", ")))
        }
    }
}

/// A library that only some crates may depend on.
struct Owned {
    law: &'static str,
    libraries: &'static [&'static str],
    owners: &'static [&'static str],
}

const OWNED: &[Owned] = &[
    Owned {
        law: "only cache-disk depends on redb",
        libraries: &["redb"],
        owners: &["cache-disk", "bench", "testkit"],
    },
    Owned { law: "only cache-core depends on bincode", libraries: &["bincode"], owners: &["cache-core"] },
    Owned {
        law: "only the bench crate depends on the peers",
        libraries: &["foyer", "cached", "deadpool-redis", "moka", "quick_cache"],
        owners: &["bench"],
    },
];

impl Owned {
    fn judge(&self, packages: &[Package]) -> Result<String, String> {
        let mut found = 0;
        for package in packages {
            let uses = package.dependencies.iter().any(|name| self.libraries.contains(&name.as_str()));
            if uses && !self.owners.contains(&package.name.as_str()) {
                return Err(format!("{} depends on one of {}", package.name, self.libraries.join(", ")));
            }
            found += usize::from(uses);
        }
        Ok(format!("{found} of {} crates", packages.len()))
    }
}

const LIBRARIES: &[&str] = &["crates/cache-core/src", "crates/cache-disk/src", "crates/cache-facade/src"];

const SOURCES: &[OnlyIn] = &[
    OnlyIn {
        law: "only store.rs opens redb transactions",
        folders: &["crates/cache-disk/src"],
        needles: &["begin_read(", "begin_write("],
        unless: &[],
        allowed: &["cache-disk/src/store.rs"],
        in_tests_too: false,
    },
    OnlyIn {
        law: "only clock.rs reads time, and rt.rs the runtime's timer",
        folders: LIBRARIES,
        needles: &["SystemTime::now", "Instant::now"],
        unless: &[],
        allowed: &["cache-core/src/clock.rs", "cache-facade/src/rt.rs"],
        in_tests_too: false,
    },
    OnlyIn {
        law: "only select.rs and lib.rs of the facade carry cfg(feature)",
        folders: &["crates/cache-facade/src"],
        needles: &["feature = \""],
        // Test switches: a defence taken out, a scheduler put in.
        unless: &["feature = \"shuttle\""],
        allowed: &["cache-facade/src/select.rs", "cache-facade/src/lib.rs"],
        in_tests_too: false,
    },
];

fn obeys_the_workspace_lints(name: &str, manifest: &str) -> Result<(), String> {
    if manifest.replace(' ', "").contains("[lints]\nworkspace=true") {
        Ok(())
    } else {
        Err(format!("{name} does not take the workspace's lints"))
    }
}

fn settled(packages: &[Package]) -> Result<String, String> {
    for package in packages {
        if package.rust_version.is_none() {
            return Err(format!("{} sets no rust-version", package.name));
        }
        if package.published {
            return Err(format!("{} would be published", package.name));
        }
    }
    Ok(format!("{} crates", packages.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            rust_version: Some("1.95".to_owned()),
            published: false,
            features: Vec::new(),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
            examples: Vec::new(),
        }
    }

    #[test]
    fn a_tree_with_a_backend_in_it_is_refused() {
        let [core, ..] = ABSENT else { unreachable!("the table is not empty") };
        assert!(core.judge("cache-core v0.1.0 (/x)\nserde v1.0.0\n").is_ok());
        assert!(core.judge("cache-core v0.1.0 (/x)\nredb v4.5.0\n").unwrap_err().contains("redb"));
        // A name that begins alike is another crate.
        assert!(core.judge("cache-core v0.1.0 (/x)\ntokio-macros v2.0.0\n").is_ok());
        assert!(core.judge("").is_err());
    }

    #[test]
    fn a_library_used_by_another_crate_than_its_owner_is_refused() {
        let [redb, ..] = OWNED else { unreachable!("the table is not empty") };
        assert!(redb.judge(&[package("cache-disk", &["redb"])]).is_ok());
        assert!(redb.judge(&[package("cache-facade", &["redb"])]).is_err());
    }

    #[test]
    fn each_source_law_finds_a_planted_offence() {
        for law in SOURCES {
            let folder = law.folders[0];
            let needle = law.needles[0];
            let bad = Source { path: format!("{folder}/other.rs"), text: format!("    {needle}x\n") };
            assert!(law.judge(&[bad]).is_err(), "{}", law.law);
        }
    }

    #[test]
    fn a_manifest_without_the_lint_table_is_refused() {
        assert!(obeys_the_workspace_lints("a", "[lints]\nworkspace = true\n").is_ok());
        assert!(obeys_the_workspace_lints("a", "[package]\nname = \"a\"\n").is_err());
    }

    #[test]
    fn a_crate_that_would_be_published_or_sets_no_rust_version_is_refused() {
        let good = package("a", &[]);
        assert!(settled(std::slice::from_ref(&good)).is_ok());
        assert!(settled(&[Package { published: true, ..good.clone() }]).is_err());
        assert!(settled(&[Package { rust_version: None, ..good }]).is_err());
    }
}
