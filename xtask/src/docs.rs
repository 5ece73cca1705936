//! Checks that the documents say what is true, as far as a program can see it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Reads a file of the workspace.
pub(crate) fn read(root: &Path, path: &str) -> Result<String, String> {
    fs::read_to_string(root.join(path)).map_err(|error| format!("cannot read {path}: {error}"))
}

/// Every relative link of README.md and docs/ leads to a file, and every `#part` to a heading of it.
pub(crate) fn links(root: &Path) -> Result<String, String> {
    let mut documents = vec![PathBuf::from("README.md")];
    collect(root, Path::new("docs"), &mut documents)?;
    let mut followed = 0;
    let mut broken = Vec::new();
    for document in &documents {
        let text = read(root, &document.to_string_lossy())?;
        let folder = document.parent().unwrap_or(Path::new(""));
        for link in relative_links(&text) {
            followed += 1;
            let (file, part) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { root.join(document) } else { root.join(folder).join(file) };
            let found = target.exists()
                && (part.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|text| headings(&text).contains(part)));
            if !found {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    if broken.is_empty() {
        Ok(format!("{followed} links in {} documents", documents.len()))
    } else {
        Err(broken.join("\n          "))
    }
}

fn collect(root: &Path, folder: &Path, documents: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    for entry in fs::read_dir(root.join(folder)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            collect(root, &path, documents)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    Ok(())
}

/// Targets of `[text](target)` outside code, but for those with a scheme.
fn relative_links(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).collect::<Vec<_>>())
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// Anchors of the headings: lower case, letters, digits and `_`, spaces as `-`.
fn headings(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
                .map(|letter| if letter == ' ' { '-' } else { letter })
                .collect()
        })
        .collect()
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
}
