//! docs/dependencies.md names every direct dependency, and none that is gone.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use fs_err::read_to_string;

use crate::docs::first_column;
use crate::metadata::Workspace;

const PAGE: &str = "docs/dependencies.md";

/// Checks that the page's tables explain the direct dependencies of all crates, also of tests, and nothing else.
pub(crate) fn are_explained(root: &Path, workspace: &Workspace) -> Result<String> {
    let page = read_to_string(root.join(PAGE))?;
    judge(&workspace.libraries(), &first_column(&page).map(str::to_owned).collect())
}

fn judge(direct: &BTreeSet<String>, explained: &BTreeSet<String>) -> Result<String> {
    ensure!(
        !direct.is_empty() && !explained.is_empty(),
        "found no dependencies: this check would prove nothing"
    );
    let missing: Vec<_> = direct.difference(explained).collect();
    let gone: Vec<_> = explained.difference(direct).collect();
    ensure!(
        missing.is_empty() && gone.is_empty(),
        "{PAGE} does not explain {missing:?}, and explains {gone:?}, which no crate depends on"
    );
    Ok(format!("{} dependencies", direct.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_missing_and_what_is_gone_are_named() {
        assert!(judge(&names(&["a"]), &names(&["a"])).is_ok());
        let why = judge(&names(&["a", "b"]), &names(&["b", "c"])).unwrap_err().to_string();
        assert!(why.contains(r#"explain ["a"]"#) && why.contains(r#"explains ["c"]"#), "{why}");
        assert!(judge(&names(&[]), &names(&[])).is_err());
    }
}
