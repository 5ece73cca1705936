//! `cargo xtask features`: builds every feature set without a warning of clippy, and proves the invariants that `docs/architecture.md` names.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use pico_args::Arguments;

use crate::lint::clippy;
use crate::metadata::{Package, Workspace};
use crate::process::{cargo, output, root};
use crate::report::Report;
use crate::source_rules::{OnlyIn, rust_sources, wrappers_implement_every_method};
use crate::{Outcome, docs, names};

/// Crates whose every feature set must build: all that are not for tests and benches alone.
fn product(workspace: &Workspace) -> impl Iterator<Item = &Package> {
    workspace.packages.iter().filter(|package| !["bench", "testkit", "xtask"].contains(&package.name()))
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Outcome {
    let (workspace, root) = (Workspace::read()?, root());
    let mut report = Report::of("features and invariants", names(arguments)?);
    for package in product(&workspace) {
        let name = package.name();
        for (set, features) in package.feature_sets() {
            // With all features the tests behind them are checked too, schedules and planted bugs included.
            let targets = if set == "all features" { "--all-targets" } else { "" };
            report.check(format!("{name} builds without a warning with {set}"), || {
                clippy(&format!("--package {name} {targets} {features}"))
            });
        }
    }
    for law in ABSENT {
        report.check(law.law, || law.check());
    }
    report.check("the disk cache needs at most 60 crates", || is_small(&tree("cache-facade")?));
    for law in OWNED {
        report.check(law.law, || law.judge(&workspace.packages));
    }
    for law in SOURCES {
        report.check(law.law, || law.check(&root));
    }
    report.check("a wrapper backend implements every method of the trait", || {
        let folders = ["crates/cache-conformance/src", "crates/cache-core/src", "crates/cache-facade/src"];
        let sources = rust_sources(&root, &folders)?;
        wrappers_implement_every_method(&sources)
    });
    report.check("unsafe code is forbidden in every crate", || {
        let forbids = docs::read(&root, "Cargo.toml")?.contains("unsafe_code = \"forbid\"");
        ensure!(forbids, "the workspace's lints do not forbid unsafe code");
        for package in &workspace.packages {
            let name = package.name();
            let folder = if name == "xtask" { "" } else { "crates/" };
            obeys_the_workspace_lints(name, &docs::read(&root, &format!("{folder}{name}/Cargo.toml"))?)?;
        }
        Ok(format!("{} crates", workspace.packages.len()))
    });
    report.check("every crate sets rust-version, and none is published", || settled(&workspace.packages));
    Ok(report)
}

/// Crates that must be absent from a dependency tree.
struct Absent {
    law: &'static str,
    /// The package and its features, as arguments of `cargo tree`.
    tree: &'static str,
    crates: &'static [&'static str],
}

const ABSENT: &[Absent] = &[
    Absent {
        law: "cache-core knows no backend and no runtime",
        tree: "cache-core --features json",
        crates: &["redb", "redis", "bb8-redis", "tokio", "cache-disk", "cache-redis", "cache-facade"],
    },
    Absent {
        law: "cache-disk knows neither Redis nor the facade",
        tree: "cache-disk --all-features",
        crates: &["redis", "bb8-redis", "cache-redis", "cache-facade"],
    },
    Absent {
        law: "the facade without features pulls in no backend",
        tree: "cache-facade --no-default-features",
        crates: &["redb", "redis", "bb8-redis", "cache-disk", "cache-redis"],
    },
    Absent {
        law: "cache-http knows no backend, and without features no web framework",
        tree: "cache-http --no-default-features",
        crates: &["redb", "redis", "bb8-redis", "cache-disk", "cache-redis", "axum", "hyper"],
    },
    Absent {
        law: "cache-macros knows no crate of the product",
        tree: "cache-macros",
        crates: &["cache-core", "cache-facade", "tokio", "serde"],
    },
    Absent {
        law: "the disk cache needs no C compiler and no parser of TOML",
        tree: "cache-facade",
        crates: &["cc", "ring", "rustls", "config", "toml", "redis"],
    },
    Absent {
        law: "Redis without TLS needs no C compiler",
        tree: "cache-facade --features redis",
        crates: &["cc", "ring", "rustls"],
    },
    Absent {
        law: "nothing of the product needs OpenSSL or cmake",
        tree: "image-manager --all-features",
        crates: &["openssl", "openssl-sys", "native-tls", "aws-lc-sys", "cmake"],
    },
];

impl Absent {
    fn check(&self) -> Result<String> {
        self.judge(&tree(&format!("{} --target all", self.tree))?)
    }

    /// A tree lists one crate a line, name first, and begins with the package itself.
    fn judge(&self, tree: &str) -> Result<String> {
        let package = self.tree.split(' ').next();
        let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        ensure!(names.first().copied() == package, "cargo tree printed no tree of {}", self.tree);
        let found: Vec<_> = self.crates.iter().filter(|absent| names.contains(absent)).collect();
        ensure!(found.is_empty(), "the tree of {} holds {found:?}", self.tree);
        Ok(format!("{} crates in the tree", distinct(&names)))
    }
}

/// Lists the crates that a package needs to build, by name and version; `package` may end with arguments of `cargo tree`.
fn tree(package: &str) -> Result<String> {
    let form = "--edges normal,build --prefix none --format {p}";
    output(&mut cargo(&format!("tree --locked {form} --package {package}")))
}

/// The most crates that a program with the default features builds beside itself.
const MOST_CRATES: usize = 60;

/// Judges the tree of the facade with its default features, which counts itself.
fn is_small(tree: &str) -> Result<String> {
    let crates: Vec<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let count = distinct(&crates);
    ensure!(count > 1, "cargo tree printed no tree");
    ensure!(count <= MOST_CRATES, "{count} crates: at most {MOST_CRATES} are wanted");
    Ok(format!("{count} crates"))
}

fn distinct(names: &[&str]) -> usize {
    names.iter().collect::<BTreeSet<_>>().len()
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
        libraries: &["axum-response-cache", "cached", "deadpool-redis", "foyer", "moka", "tower-http-cache"],
        owners: &["bench"],
    },
];

impl Owned {
    fn judge(&self, packages: &[Package]) -> Result<String> {
        let uses = |package: &&Package| package.dependencies().any(|name| self.libraries.contains(&name));
        let found: Vec<&str> = packages.iter().filter(uses).map(Package::name).collect();
        let strange: Vec<_> = found.iter().filter(|name| !self.owners.contains(name)).collect();
        ensure!(strange.is_empty(), "{strange:?} depend on one of {}", self.libraries.join(", "));
        Ok(format!("{} of {} crates", found.len(), packages.len()))
    }
}

const SOURCES: &[OnlyIn] = &[
    OnlyIn::new(
        "only store.rs opens redb transactions",
        &["crates/cache-disk/src"],
        &["begin_read(", "begin_write("],
        &["cache-disk/src/store.rs"],
    ),
    OnlyIn::new(
        "only clock.rs reads time, and rt.rs the runtime's timer",
        &["crates/cache-core/src", "crates/cache-disk/src", "crates/cache-facade/src"],
        &["SystemTime::now", "Instant::now"],
        &["cache-core/src/clock.rs", "cache-facade/src/rt.rs"],
    ),
    OnlyIn::new(
        "only open/mod.rs and lib.rs of the facade carry cfg(feature)",
        &["crates/cache-facade/src"],
        &["feature = \""],
        &["cache-facade/src/open/mod.rs", "cache-facade/src/lib.rs"],
    )
    // Test switches: a defence taken out, a scheduler put in.
    .unless(&["feature = \"shuttle\""]),
];

fn obeys_the_workspace_lints(name: &str, manifest: &str) -> Result<()> {
    let obeys = manifest.replace(' ', "").contains("[lints]\nworkspace=true");
    ensure!(obeys, "{name} does not take the workspace's lints");
    Ok(())
}

fn settled(packages: &[Package]) -> Result<String> {
    for package in packages {
        ensure!(package.sets_rust_version(), "{} sets no rust-version", package.name());
        ensure!(!package.is_published(), "{} would be published", package.name());
    }
    Ok(format!("{} crates", packages.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::workspace;
    use crate::source_rules::Source;

    fn package(name: &str) -> Vec<Package> {
        workspace(name, &[]).packages
    }

    #[test]
    fn a_tree_with_a_backend_in_it_is_refused() {
        let [core, ..] = ABSENT else { unreachable!("the table is not empty") };
        assert!(core.judge("cache-core v0.1.0 (/x)\nserde v1.0.0\n").is_ok());
        assert!(
            core.judge("cache-core v0.1.0 (/x)\nredb v4.5.0\n").unwrap_err().to_string().contains("redb")
        );
        // A name that begins alike is another crate.
        assert!(core.judge("cache-core v0.1.0 (/x)\ntokio-macros v2.0.0\n").is_ok());
        assert!(core.judge("").is_err());
    }

    #[test]
    fn a_tree_of_too_many_crates_is_refused() {
        let lines = |count: usize| {
            let lines: Vec<_> = (0..count).map(|at| format!("c{at} v1.0.0\nc{at} v1.0.0 (*)\n")).collect();
            lines.concat()
        };
        assert_eq!(is_small(&lines(MOST_CRATES)).unwrap(), "60 crates");
        assert!(is_small(&lines(MOST_CRATES + 1)).is_err());
        assert!(is_small("").is_err());
    }

    #[test]
    fn a_library_used_by_another_crate_than_its_owner_is_refused() {
        let [redb, ..] = OWNED else { unreachable!("the table is not empty") };
        assert!(redb.judge(&package("cache-disk")).is_ok());
        assert!(redb.judge(&package("cache-facade")).is_err());
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
        assert!(settled(&package("a")).is_ok());
        for bad in [r#"{"rust_version": "1.95"}"#, r#"{"publish": []}"#] {
            let text = format!(r#"{{"target_directory": "/t", "packages": [{bad}]}}"#);
            assert!(settled(&Workspace::parse(&text).unwrap().packages).is_err(), "{bad}");
        }
    }
}
