//! The workspace as cargo sees it: crates, features, direct dependencies, examples.

use std::path::PathBuf;

use serde_json::Value;

use crate::json::{field, list};
use crate::process::{cargo, output};

/// One crate of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) rust_version: Option<String>,
    pub(crate) published: bool,
    /// Without `default`.
    pub(crate) features: Vec<String>,
    /// Names of direct dependencies, but for those of tests alone.
    pub(crate) dependencies: Vec<String>,
    /// Names of examples that the default features build.
    pub(crate) examples: Vec<String>,
}

/// The crates of the workspace and where cargo builds them.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self, String> {
        let text = output(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let metadata: Value =
            serde_json::from_str(text).map_err(|error| format!("cargo metadata: {error}"))?;
        let target_directory = field(&metadata, "target_directory")
            .as_str()
            .ok_or("cargo metadata names no target directory")?
            .into();
        let packages: Vec<Package> = list(field(&metadata, "packages"))
            .iter()
            .map(package)
            .collect::<Option<_>>()
            .ok_or("cargo metadata: a package without a name")?;
        if packages.is_empty() {
            return Err("cargo metadata lists no package".to_owned());
        }
        Ok(Self { packages, target_directory })
    }
}

impl Package {
    /// Argument lists of the feature sets that must build: none, default, each alone, all.
    pub(crate) fn feature_sets(&self) -> Vec<(String, Vec<String>)> {
        let mut sets = vec![
            ("no feature".to_owned(), vec!["--no-default-features".to_owned()]),
            ("default features".to_owned(), Vec::new()),
        ];
        if self.features.is_empty() {
            sets.truncate(1);
            return sets;
        }
        for feature in self.features.iter().filter(|feature| feature.as_str() != "plants") {
            sets.push((
                format!("only {feature}"),
                vec!["--no-default-features".to_owned(), "--features".to_owned(), feature.clone()],
            ));
        }
        sets.push(("all features".to_owned(), vec!["--all-features".to_owned()]));
        sets
    }

    /// Features for tests alone: another scheduler, or a defence switched off to show that a test finds the bug.
    pub(crate) fn switches(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(String::as_str).filter(|feature| ["plants", "shuttle"].contains(feature))
    }
}

fn package(value: &Value) -> Option<Package> {
    Some(Package {
        name: field(value, "name").as_str()?.to_owned(),
        rust_version: field(value, "rust_version").as_str().map(str::to_owned),
        // `publish = false` is an empty list of registries; absent is every registry.
        published: !field(value, "publish").as_array().is_some_and(Vec::is_empty),
        features: field(value, "features")
            .as_object()?
            .keys()
            .filter(|name| name.as_str() != "default")
            .cloned()
            .collect(),
        dependencies: list(field(value, "dependencies"))
            .iter()
            .filter(|dependency| field(dependency, "kind").as_str() != Some("dev"))
            .filter_map(|dependency| Some(field(dependency, "name").as_str()?.to_owned()))
            .collect(),
        examples: list(field(value, "targets"))
            .iter()
            .filter(|target| list(field(target, "kind")).iter().any(|kind| kind == "example"))
            .filter_map(|target| Some(field(target, "name").as_str()?.to_owned()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"target_directory": "/t", "packages": [{
        "name": "cache-x", "rust_version": "1.95", "publish": [],
        "features": {"default": ["disk"], "disk": [], "plants": []},
        "dependencies": [{"name": "redb", "kind": null}, {"name": "proptest", "kind": "dev"}],
        "targets": [{"kind": ["lib"], "name": "cache_x"}, {"kind": ["example"], "name": "first"}]}]}"#;

    #[test]
    fn a_package_is_read_with_its_features_dependencies_and_examples() {
        let workspace = Workspace::parse(SAMPLE).unwrap();
        let package = &workspace.packages[0];
        assert_eq!(package.features, ["disk", "plants"]);
        assert_eq!(package.dependencies, ["redb"]);
        assert_eq!(package.examples, ["first"]);
        assert_eq!(package.switches().collect::<Vec<_>>(), ["plants"]);
        assert!(!package.published);
    }

    #[test]
    fn feature_sets_are_none_default_each_alone_and_all() {
        let workspace = Workspace::parse(SAMPLE).unwrap();
        let names: Vec<String> =
            workspace.packages[0].feature_sets().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["no feature", "default features", "only disk", "all features"]);
    }

    #[test]
    fn metadata_without_packages_is_an_error() {
        assert!(Workspace::parse(r#"{"target_directory": "/t", "packages": []}"#).is_err());
    }
}
