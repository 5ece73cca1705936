//! Checks that the documents say what is true, as far as a program can see it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, ensure};
use fs_err::read_to_string;

use crate::source_rules::{Source, files_with, rust_sources};

/// Reads a file of the workspace.
pub(crate) fn read(root: &Path, path: &str) -> Result<String> {
    Ok(read_to_string(root.join(path))?)
}

/// Checks that every relative link of the documents at the root, in docs/ and of each crate leads to a file, and every `#part` to a heading of it.
pub(crate) fn links(root: &Path) -> Result<String> {
    let mut documents = files_with("md", &root.join("docs"))?;
    documents.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)));
    for folder in fs_err::read_dir(root.join("crates"))? {
        documents.extend(Some(folder?.path().join("README.md")).filter(|readme| readme.exists()));
    }
    let mut followed = 0;
    let mut broken = Vec::new();
    for document in &documents {
        for link in relative_links(&read_to_string(document)?) {
            followed += 1;
            if !leads_somewhere(document, &link) {
                broken.push(format!("{}: {link}", document.strip_prefix(root).unwrap_or(document).display()));
            }
        }
    }
    ensure!(broken.is_empty(), broken.join("\n          "));
    Ok(format!("{followed} links in {} documents", documents.len()))
}

fn leads_somewhere(document: &Path, link: &str) -> bool {
    let (file, part) = link.split_once('#').unwrap_or((link, ""));
    let target: PathBuf = if file.is_empty() { document.into() } else { document.with_file_name(file) };
    let has_heading = || read_to_string(&target).is_ok_and(|text| headings(&text).contains(part));
    target.exists() && (part.is_empty() || has_heading())
}

/// Targets of `[text](target)` outside code, without those that have a scheme.
fn relative_links(text: &str) -> Vec<String> {
    let targets = prose(text).flat_map(|line| line.split("](").skip(1));
    let targets = targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// Anchors of the headings: lower case, letters, digits, `_` and `-`, spaces as `-`.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = prose(text).filter(|line| line.starts_with('#'));
    let titles = titles.map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"));
    titles
        .map(|title| title.replace(|sign: char| !sign.is_alphanumeric() && !"-_".contains(sign), ""))
        .collect()
}

/// Checks docs/architecture.md against the code: its map names every module of `crates`, and nothing else, and each
/// function that it names, as `name()`, is defined.
pub(crate) fn architecture(root: &Path, crates: &[&str]) -> Result<String> {
    let page = read(root, "docs/architecture.md")?;
    let folders: Vec<String> = crates.iter().map(|name| format!("crates/{name}/src")).collect();
    let sources = rust_sources(root, &folders.iter().map(String::as_str).collect::<Vec<_>>())?;
    compare(&page, &sources).map_err(Error::msg)
}

fn compare(page: &str, sources: &[Source]) -> Result<String, String> {
    let mapped: BTreeSet<&str> = first_column(page).filter(|path| path.contains("/src/")).collect();
    let is_test = |path: &str| path.ends_with("tests.rs") || path.contains("/testing");
    let paths = sources.iter().filter_map(|source| source.path.strip_prefix("crates/"));
    let written: BTreeSet<&str> = paths.filter(|path| !is_test(path)).collect();
    let mut wrong: Vec<String> =
        written.difference(&mapped).map(|path| format!("the map lacks {path}")).collect();
    wrong.extend(mapped.difference(&written).map(|path| format!("there is no {path}")));
    let functions: BTreeSet<&str> =
        page.split('`').skip(1).step_by(2).filter_map(|word| word.strip_suffix("()")).collect();
    let is_defined = |name: &str| {
        let name = format!("fn {}", name.rsplit("::").next().unwrap_or(name));
        let ends = |rest: &str| rest.starts_with(['(', '<']);
        sources.iter().any(|source| source.text.split(&name).skip(1).any(ends))
    };
    wrong.extend(
        functions.iter().filter(|name| !is_defined(name)).map(|name| format!("there is no function {name}")),
    );
    if mapped.is_empty() || functions.is_empty() {
        wrong.push("found no module or no function: this check would prove nothing".to_owned());
    }
    if wrong.is_empty() {
        Ok(format!("{} modules, {} functions", mapped.len(), functions.len()))
    } else {
        Err(wrong.join("\n          "))
    }
}

/// Lines outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Words in backticks in the first column of any table.
pub(crate) fn first_column(page: &str) -> impl Iterator<Item = &str> {
    let columns = page.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    columns.flat_map(|column| column.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_prose_are_found_and_code_and_other_sites_are_not() {
        let text = "See [a](a.md), [b](b.md#part) and [c](https://example.org).\n```text\n[d](d.md)\n```\n";
        assert_eq!(relative_links(text), ["a.md", "b.md#part"]);
    }

    #[test]
    fn a_heading_gives_its_anchor() {
        assert!(headings("# One\n## Keys & groups: how\n").contains("keys--groups-how"));
        assert!(!headings("```\n# not a heading\n```\n").contains("not-a-heading"));
    }

    #[test]
    fn the_first_column_of_tables_is_read() {
        let page = "| crate | for |\n| --- | --- |\n| `redis`, `bb8-redis` | `deadpool` was considered |\nand `other`\n";
        assert_eq!(first_column(page).collect::<Vec<_>>(), ["redis", "bb8-redis"]);
    }

    #[test]
    fn a_module_or_function_that_the_map_and_the_code_do_not_share_is_named() {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let sources =
            [source("crates/a/src/lib.rs", "pub async fn get<T>() {}"), source("crates/a/src/tests.rs", "")];
        let page = "| `a/src/lib.rs` | x |\n\n1. `Cache::get()`\n";
        assert!(compare(page, &sources).is_ok());
        let wrong =
            compare(&page.replace("lib.rs", "old.rs").replace("get()", "gone()"), &sources).unwrap_err();
        for missing in
            ["the map lacks a/src/lib.rs", "there is no a/src/old.rs", "there is no function Cache::gone"]
        {
            assert!(wrong.contains(missing), "{wrong}");
        }
        assert!(compare("", &sources).is_err());
    }
}
