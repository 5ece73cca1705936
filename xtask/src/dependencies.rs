//! docs/dependencies.md names every direct dependency, and none that is gone.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::docs;
use crate::json::{field, list};
use crate::process::{cargo, output};

const PAGE: &str = "docs/dependencies.md";

/// The direct dependencies of all crates, those of tests included, are those of the page's tables.
pub(crate) fn are_explained(root: &Path) -> Result<String, String> {
    let metadata = output(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    judge(&direct(&metadata), &explained(&docs::read(root, PAGE)?))
}

/// Names of crates from a registry that a crate of the workspace names itself.
fn direct(metadata: &Value) -> BTreeSet<String> {
    list(field(metadata, "packages"))
        .iter()
        .flat_map(|package| list(field(package, "dependencies")))
        .filter(|dependency| field(dependency, "source").as_str().is_some())
        .filter_map(|dependency| field(dependency, "name").as_str())
        .map(str::to_owned)
        .collect()
}

/// Names in backticks in the first column of a table.
fn explained(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split('|').next())
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

fn judge(direct: &BTreeSet<String>, explained: &BTreeSet<String>) -> Result<String, String> {
    if direct.is_empty() || explained.is_empty() {
        return Err("found no dependencies: this check would prove nothing".to_owned());
    }
    let missing: Vec<&str> = direct.difference(explained).map(String::as_str).collect();
    let gone: Vec<&str> = explained.difference(direct).map(String::as_str).collect();
    match (&missing[..], &gone[..]) {
        ([], []) => Ok(format!("{} dependencies", direct.len())),
        _ => Err(format!(
            "{PAGE} does not explain [{}], and explains [{}], which no crate depends on",
            missing.join(", "),
            gone.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn dependencies_of_every_kind_count_and_crates_of_the_workspace_do_not() {
        let metadata = serde_json::json!({"packages": [{"dependencies": [
            {"name": "redb", "source": "registry", "kind": null},
            {"name": "proptest", "source": "registry", "kind": "dev"},
            {"name": "cache-core", "source": null, "kind": null},
        ]}]});
        assert_eq!(direct(&metadata), names(&["proptest", "redb"]));
    }

    #[test]
    fn the_first_column_of_tables_is_what_is_explained() {
        let page = "| crate | for |\n| --- | --- |\n| `redis`, `bb8-redis` | `deadpool` was considered |\nand `other`\n";
        assert_eq!(explained(page), names(&["bb8-redis", "redis"]));
    }

    #[test]
    fn what_is_missing_and_what_is_gone_are_named() {
        assert!(judge(&names(&["a"]), &names(&["a"])).is_ok());
        let why = judge(&names(&["a", "b"]), &names(&["b", "c"])).unwrap_err();
        assert!(why.contains("[a]") && why.contains("[c]"), "{why}");
        assert!(judge(&names(&[]), &names(&[])).is_err());
    }
}
