//! The table of examples in the developer guide.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::path::Path;

/// The files of `folder` of this crate, by name without their extension.
fn names(folder: &str) -> Vec<String> {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let stem = |file: std::io::Result<std::fs::DirEntry>| {
        file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()
    };
    files.map(stem).collect()
}

#[test]
fn the_guide_lists_every_example_and_no_other() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/developer-guide.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, examples) = guide.split_once("## Examples").unwrap();
    let (examples, _) = examples.split_once("\n## ").unwrap();
    let mut listed: Vec<_> = examples
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut there = names("examples");
    listed.sort();
    there.sort();
    assert_eq!(listed, there);
}
