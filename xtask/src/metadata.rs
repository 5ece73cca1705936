//! The workspace as `cargo metadata` describes it: crates, features, direct dependencies, examples.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process::{cargo, output};

/// One crate of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package(Value);

/// The crates of the workspace and where cargo builds them.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let text = output(&mut cargo("metadata --locked --no-deps --format-version 1"))?;
        Self::parse(&text).context("cargo metadata")
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(text)?;
        let target_directory =
            metadata["target_directory"].as_str().context("it names no target directory")?;
        let packages: Vec<_> = list(&metadata["packages"]).cloned().map(Package).collect();
        anyhow::ensure!(!packages.is_empty(), "it lists no package");
        Ok(Self { packages, target_directory: target_directory.into() })
    }

    /// Names of the crates from a registry that a crate of the workspace names itself, also for tests alone.
    pub(crate) fn libraries(&self) -> BTreeSet<String> {
        let dependencies = self.packages.iter().flat_map(|package| list(&package.0["dependencies"]));
        let registered = dependencies.filter(|dependency| dependency["source"].is_string());
        registered.map(|dependency| text(&dependency["name"]).to_owned()).collect()
    }
}

impl Package {
    pub(crate) fn name(&self) -> &str {
        text(&self.0["name"])
    }

    pub(crate) fn sets_rust_version(&self) -> bool {
        self.0["rust_version"].is_string()
    }

    /// `publish = false` is an empty list of registries; no list is every registry.
    pub(crate) fn is_published(&self) -> bool {
        !self.0["publish"].as_array().is_some_and(Vec::is_empty)
    }

    /// Names of the features, without `default`.
    fn features(&self) -> impl Iterator<Item = &str> {
        let features = self.0["features"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        features.filter(|name| *name != "default")
    }

    /// Names of the features for users: without `default` and those of tests.
    pub(crate) fn public_features(&self) -> impl Iterator<Item = &str> {
        self.features().filter(|name| !["plants", "shuttle", "testing"].contains(name))
    }

    /// What a registry shows of a crate and this one does not have.
    pub(crate) fn missing_metadata(&self) -> Vec<&'static str> {
        let fields =
            ["description", "license", "repository", "readme", "rust_version", "keywords", "categories"];
        fields
            .into_iter()
            .filter(|field| matches!(&self.0[field], Value::Null) || self.0[field] == json!([]))
            .collect()
    }

    pub(crate) fn version(&self) -> &str {
        text(&self.0["version"])
    }

    /// Names of the direct dependencies, without those of tests alone.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = &str> {
        let all = list(&self.0["dependencies"]).filter(|dependency| dependency["kind"] != "dev");
        all.map(|dependency| text(&dependency["name"]))
    }

    /// Names of the examples.
    pub(crate) fn examples(&self) -> impl Iterator<Item = &str> {
        let is_example = |target: &&Value| list(&target["kind"]).any(|kind| kind == "example");
        list(&self.0["targets"]).filter(is_example).map(|target| text(&target["name"]))
    }

    /// Features that the test target `test` requires and that `asked` do not turn on; `None` if there is no such target.
    #[cfg(test)]
    pub(crate) fn missing_for(&self, test: &str, asked: &[&str]) -> Option<BTreeSet<&str>> {
        let mut on: Vec<&str> = asked.to_vec();
        let mut next = 0;
        while let Some(feature) = on.get(next).copied() {
            let implied = list(&self.0["features"][feature]).map(text).filter(|name| !on.contains(name));
            on.extend(implied.collect::<Vec<_>>());
            next += 1;
        }
        let target = list(&self.0["targets"]).find(|target| text(&target["name"]) == test)?;
        let required = list(&target["required-features"]).map(text);
        Some(required.filter(|feature| !on.contains(feature)).collect())
    }

    /// The feature sets that must build (none, default, each alone, all), each with cargo's arguments for it.
    pub(crate) fn feature_sets(&self) -> Vec<(String, String)> {
        let mut sets = vec![("no feature".to_owned(), "--no-default-features".to_owned())];
        if self.features().next().is_some() {
            sets.push(("default features".to_owned(), String::new()));
            for feature in self.features().filter(|feature| *feature != "plants") {
                sets.push((format!("only {feature}"), format!("--no-default-features --features {feature}")));
            }
            sets.push(("all features".to_owned(), "--all-features".to_owned()));
        }
        sets
    }

    /// Features for tests alone: another scheduler, or a defence switched off to show that a test finds the bug.
    pub(crate) fn switches(&self) -> impl Iterator<Item = &str> {
        self.features().filter(|feature| ["plants", "shuttle"].contains(feature))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A workspace with one crate of this name, which has these features.
    pub(crate) fn workspace(name: &str, features: &[&str]) -> Workspace {
        let features: serde_json::Map<_, _> =
            features.iter().map(|name| ((*name).to_owned(), serde_json::json!([]))).collect();
        let metadata = serde_json::json!({"target_directory": "/t", "packages": [{
            "name": name, "rust_version": "1.95", "publish": [], "features": features,
            "dependencies": [{"name": "redb", "kind": null, "source": "registry"},
                             {"name": "proptest", "kind": "dev", "source": "registry"},
                             {"name": "cache-y", "kind": null, "source": null}],
            "targets": [{"kind": ["lib"], "name": "x"}, {"kind": ["example"], "name": "first"}]}]});
        Workspace::parse(&metadata.to_string()).unwrap()
    }

    #[test]
    fn a_package_is_read_with_its_features_dependencies_and_examples() {
        let workspace = workspace("cache-x", &["default", "disk", "plants"]);
        let package = &workspace.packages[0];
        assert_eq!(package.features().collect::<Vec<_>>(), ["disk", "plants"]);
        assert_eq!(package.dependencies().collect::<Vec<_>>(), ["redb", "cache-y"]);
        assert_eq!(package.examples().collect::<Vec<_>>(), ["first"]);
        assert_eq!(package.switches().collect::<Vec<_>>(), ["plants"]);
        assert!(!package.is_published() && package.sets_rust_version());
    }

    #[test]
    fn libraries_of_every_kind_count_and_crates_of_the_workspace_do_not() {
        let libraries = workspace("cache-x", &[]).libraries();
        assert_eq!(libraries.into_iter().collect::<Vec<_>>(), ["proptest", "redb"]);
    }

    #[test]
    fn feature_sets_are_none_default_each_alone_and_all() {
        let names = |features: &[&str]| -> Vec<String> {
            let workspace = workspace("cache-x", features);
            workspace.packages[0].feature_sets().into_iter().map(|(name, _)| name).collect()
        };
        let all = ["no feature", "default features", "only disk", "all features"];
        assert_eq!(names(&["default", "disk", "plants"]), all);
        assert_eq!(names(&[]), ["no feature"]);
    }

    #[test]
    fn metadata_without_packages_is_an_error() {
        assert!(Workspace::parse(r#"{"target_directory": "/t", "packages": []}"#).is_err());
    }
}
