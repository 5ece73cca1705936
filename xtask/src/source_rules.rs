//! Laws about the sources that the compiler does not know: what may stand in which file.
//!
//! Comments and test modules are left out before a text is searched, so that a law can be written about, and tests
//! may do what the product may not.

use std::fs;
use std::path::{Path, PathBuf};

/// Some text that may stand only in some files.
#[derive(Debug)]
pub(crate) struct OnlyIn {
    /// The law in words.
    pub(crate) law: &'static str,
    /// Folders it holds in, from the workspace's root.
    pub(crate) folders: &'static [&'static str],
    /// What may not stand elsewhere.
    pub(crate) needles: &'static [&'static str],
    /// A line with one of these is not meant.
    pub(crate) unless: &'static [&'static str],
    /// Ends of the paths of files that may hold it.
    pub(crate) allowed: &'static [&'static str],
    /// Tests are bound too.
    pub(crate) in_tests_too: bool,
}

/// A source file: its path from the workspace's root, and its text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl OnlyIn {
    /// Reads the folders and returns what the law found, or the lines that break it.
    pub(crate) fn check(&self, root: &Path) -> Result<String, String> {
        let mut sources = Vec::new();
        for folder in self.folders {
            sources.extend(rust_sources(root, folder)?);
        }
        self.judge(&sources)
    }

    /// Judges texts. Without any file there is nothing to judge, which is a failure too.
    pub(crate) fn judge(&self, sources: &[Source]) -> Result<String, String> {
        if sources.is_empty() {
            return Err(format!("no source file under {}", self.folders.join(", ")));
        }
        let broken: Vec<String> = sources.iter().flat_map(|source| self.broken_lines(source)).collect();
        if broken.is_empty() {
            Ok(format!("{} files", sources.len()))
        } else {
            Err(broken.join("\n          "))
        }
    }

    fn broken_lines(&self, source: &Source) -> Vec<String> {
        let of_tests = is_test_file(&source.path);
        if self.allowed.iter().any(|end| source.path.ends_with(end)) || (of_tests && !self.in_tests_too) {
            return Vec::new();
        }
        let lines = if self.in_tests_too { code_lines(&source.text) } else { product_lines(&source.text) };
        lines
            .into_iter()
            .filter(|(_, line)| self.needles.iter().any(|needle| line.contains(needle)))
            .filter(|(_, line)| !self.unless.iter().any(|exempt| line.contains(exempt)))
            .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
            .collect()
    }
}

/// A backend that wraps another one must implement every method: a default of the trait would go round the wrapper.
pub(crate) fn wrappers_implement_every_method(sources: &[Source]) -> Result<String, String> {
    let mut wrappers = 0;
    for source in sources.iter().filter(|source| !is_test_file(&source.path)) {
        let lines = product_lines(&source.text);
        let holds = |needle: &str| lines.iter().any(|(_, line)| line.contains(needle));
        let wraps = holds("CacheBackend for") && (holds("Arc<dyn CacheBackend>") || holds("inner: Arc<"));
        if wraps {
            wrappers += 1;
            if !holds("clippy::missing_trait_methods") {
                return Err(format!(
                    "{} wraps a backend without #[deny(clippy::missing_trait_methods)]",
                    source.path
                ));
            }
        }
    }
    if wrappers == 0 {
        return Err("found no wrapper backend: this check would prove nothing".to_owned());
    }
    Ok(format!("{wrappers} wrappers"))
}

/// No file is longer than a reader can hold.
pub(crate) fn no_file_is_longer_than(limit: usize, sources: &[Source]) -> Result<String, String> {
    let lengths = sources.iter().map(|source| (source.text.lines().count(), source.path.as_str()));
    let too_long: Vec<String> = lengths
        .clone()
        .filter(|(lines, _)| *lines > limit)
        .map(|(lines, path)| format!("{path} has {lines} lines, more than {limit}"))
        .collect();
    match lengths.max() {
        None => Err("no source file".to_owned()),
        Some((longest, path)) if too_long.is_empty() => {
            Ok(format!("the longest is {path} with {longest} lines"))
        }
        Some(_) => Err(too_long.join("\n          ")),
    }
}

/// Every Rust file under a folder, sorted by path.
pub(crate) fn rust_sources(root: &Path, folder: &str) -> Result<Vec<Source>, String> {
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths)?;
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            Ok(Source { path, text })
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// Numbered lines without comments.
fn code_lines(text: &str) -> Vec<(usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .collect()
}

/// A text without comments and without the items marked `#[cfg(test)]`.
pub(crate) fn product_text(text: &str) -> String {
    product_lines(text).into_iter().flat_map(|(_, line)| [line, "\n"]).collect()
}

/// Numbered lines without comments and without the items marked `#[cfg(test)]`.
fn product_lines(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = code_lines(text).into_iter();
    while let Some((number, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push((number, line));
            continue;
        }
        // The item ends with a `;`, or with the brace that closes it, at its own indentation.
        let indentation = line.len() - line.trim_start().len();
        for (_, line) in lines.by_ref() {
            let same_level = line.len() - line.trim_start().len() == indentation;
            if same_level && (line.trim_end().ends_with(';') || line.trim() == "}") {
                break;
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: OnlyIn = OnlyIn {
        law: "only clock.rs reads time",
        folders: &["crates/x/src"],
        needles: &["Instant::now"],
        unless: &["approved"],
        allowed: &["src/clock.rs"],
        in_tests_too: false,
    };

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_forbidden_text_is_found_with_its_line() {
        let bad = source("crates/x/src/a.rs", "fn a() {\n    Instant::now();\n}\n");
        assert_eq!(RULE.judge(&[bad]).unwrap_err(), "crates/x/src/a.rs:2: Instant::now();");
    }

    #[test]
    fn the_file_that_owns_it_may_hold_it() {
        assert!(RULE.judge(&[source("crates/x/src/clock.rs", "Instant::now()")]).is_ok());
    }

    #[test]
    fn comments_exempt_lines_and_test_modules_are_not_meant() {
        let text = "// Instant::now is for clock.rs\nlet t = Instant::now(); // approved\n#[cfg(test)]\nmod tests {\n    \
                    fn a() {\n        Instant::now();\n    }\n}\n";
        assert!(RULE.judge(&[source("crates/x/src/a.rs", text)]).is_ok());
    }

    #[test]
    fn code_after_a_test_item_is_searched_again() {
        let text = "#[cfg(test)]\nmod tests;\nlet t = Instant::now();\n";
        assert!(RULE.judge(&[source("crates/x/src/a.rs", text)]).is_err());
        let text = "impl A {\n    #[cfg(test)]\n    fn a() {\n        Instant::now();\n    }\n    fn b() { Instant::now(); }\n}\n";
        assert_eq!(RULE.judge(&[source("crates/x/src/a.rs", text)]).unwrap_err().lines().count(), 1);
    }

    #[test]
    fn a_rule_for_tests_too_searches_them() {
        let rule = OnlyIn { in_tests_too: true, ..RULE };
        assert!(rule.judge(&[source("crates/x/tests/a.rs", "Instant::now()")]).is_err());
        assert!(RULE.judge(&[source("crates/x/tests/a.rs", "Instant::now()")]).is_ok());
    }

    #[test]
    fn without_a_file_a_rule_proves_nothing() {
        assert!(RULE.judge(&[]).is_err());
    }

    #[test]
    fn a_wrapper_that_relies_on_defaults_is_found() {
        let inner = "inner: Arc<dyn CacheBackend>\nimpl CacheBackend for Chaos {}\n";
        let good = format!("#[deny(clippy::missing_trait_methods)]\n{inner}");
        assert!(wrappers_implement_every_method(&[source("crates/x/src/chaos.rs", &good)]).is_ok());
        assert!(wrappers_implement_every_method(&[source("crates/x/src/chaos.rs", inner)]).is_err());
        assert!(wrappers_implement_every_method(&[source("crates/x/src/plain.rs", "fn a() {}")]).is_err());
    }

    #[test]
    fn a_file_past_the_limit_is_named() {
        let long = source("crates/x/src/long.rs", &"\n".repeat(11));
        assert!(no_file_is_longer_than(10, std::slice::from_ref(&long)).unwrap_err().contains("long.rs"));
        assert!(no_file_is_longer_than(11, &[long]).is_ok());
        assert!(no_file_is_longer_than(10, &[]).is_err());
    }
}
