//! Laws about the sources that the compiler does not know: what may stand in which file.
//!
//! Comments and test modules are left out before a text is searched, so that a law can be written about, and tests
//! may do what the product may not.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fs_err::read_to_string;
use walkdir::WalkDir;

/// Some text that may stand only in some files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnlyIn {
    /// The law in words.
    pub(crate) law: &'static str,
    pub(crate) folders: &'static [&'static str],
    pub(crate) needles: &'static [&'static str],
    unless: &'static [&'static str],
    allowed: &'static [&'static str],
    in_tests_too: bool,
}

/// A source file: its path from the workspace's root, and its text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl OnlyIn {
    /// Of all files under `folders`, only those whose path ends with one of `allowed` may hold one of `needles`.
    pub(crate) const fn new(
        law: &'static str,
        folders: &'static [&'static str],
        needles: &'static [&'static str],
        allowed: &'static [&'static str],
    ) -> Self {
        Self { law, folders, needles, unless: &[], allowed, in_tests_too: false }
    }

    /// Lines with one of `unless` are exempt.
    pub(crate) const fn unless(self, unless: &'static [&'static str]) -> Self {
        Self { unless, ..self }
    }

    /// Tests are bound too.
    pub(crate) const fn also_in_tests(self) -> Self {
        Self { in_tests_too: true, ..self }
    }

    /// Reads the folders and returns the number of files searched; the error lists the lines that break the law.
    pub(crate) fn check(&self, root: &Path) -> Result<String> {
        self.judge(&rust_sources(root, self.folders)?)
    }

    /// Judges texts. Without any file there is nothing to judge, which is a failure too.
    pub(crate) fn judge(&self, sources: &[Source]) -> Result<String> {
        ensure!(!sources.is_empty(), "no source file under {}", self.folders.join(", "));
        let broken: Vec<String> = sources.iter().flat_map(|source| self.broken_lines(source)).collect();
        ensure!(broken.is_empty(), broken.join("\n          "));
        Ok(format!("{} files", sources.len()))
    }

    fn broken_lines(&self, source: &Source) -> Vec<String> {
        let of_tests = is_test_file(&source.path);
        if self.allowed.iter().any(|end| source.path.ends_with(end)) || (of_tests && !self.in_tests_too) {
            return Vec::new();
        }
        let holds = |line: &str, any: &[&str]| any.iter().any(|text| line.contains(text));
        let lines = if self.in_tests_too { code_lines(&source.text) } else { product_lines(&source.text) };
        let broken = lines.filter(|(_, line)| holds(line, self.needles) && !holds(line, self.unless));
        broken.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())).collect()
    }
}

/// A backend that wraps another one must implement every method: a default of the trait would bypass the wrapper.
pub(crate) fn wrappers_implement_every_method(sources: &[Source]) -> Result<String> {
    let mut wrappers = 0;
    for source in sources.iter().filter(|source| !is_test_file(&source.path)) {
        let text = product_text(&source.text);
        let wraps = text.contains("Arc<dyn CacheBackend>") || text.contains("inner: Arc<");
        if wraps && text.contains("CacheBackend for") {
            wrappers += 1;
            let denies = text.contains("clippy::missing_trait_methods");
            ensure!(denies, "{} wraps a backend without #[deny(clippy::missing_trait_methods)]", source.path);
        }
    }
    ensure!(wrappers > 0, "found no wrapper backend: this check would prove nothing");
    Ok(format!("{wrappers} wrappers"))
}

/// Fails if a file is longer than `limit` lines, or if there is no file.
pub(crate) fn no_file_is_longer_than(limit: usize, sources: &[Source]) -> Result<String> {
    let lengths = sources.iter().map(|source| (source.text.lines().count(), source.path.as_str()));
    let too_long = lengths.clone().filter(|(lines, _)| *lines > limit);
    let too_long: Vec<_> =
        too_long.map(|(lines, path)| format!("{path} has {lines} lines, more than {limit}")).collect();
    ensure!(too_long.is_empty(), too_long.join("\n          "));
    let (longest, path) = lengths.max().context("no source file")?;
    Ok(format!("the longest is {path} with {longest} lines"))
}

/// Comments speak of the type, the function or the caller: at most `limit` lines have one of these pronouns.
pub(crate) fn comments_are_plain(limit: usize, sources: &[Source]) -> Result<String> {
    const PRONOUNS: &[&str] = &["who", "whoever", "somebody", "nobody", "he", "his"];
    let is_pronoun = |word: &str| PRONOUNS.contains(&word.to_lowercase().as_str());
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in (1..).zip(source.text.lines()) {
            let Some((_, comment)) = line.split_once("//") else { continue };
            let mut words = comment.split(|letter: char| !letter.is_alphanumeric());
            if words.any(is_pronoun) || comment.trim_start_matches(['/', '!']).starts_with(" The same ") {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    ensure!(
        found.len() <= limit,
        "{} lines, more than {limit}:\n          {}",
        found.len(),
        found.join("\n          ")
    );
    Ok(format!("{} lines", found.len()))
}

/// Reads every Rust file under the folders, sorted by path.
pub(crate) fn rust_sources(root: &Path, folders: &[&str]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in folders {
        for path in files_with("rs", &root.join(folder))? {
            let text = read_to_string(&path)?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}

/// The files under `folder` whose names end with this extension, sorted by path.
pub(crate) fn files_with(extension: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let path = entry?.into_path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| ["tests", "tests.rs"].contains(&part))
}

/// Numbered lines without comments.
fn code_lines(text: &str) -> Box<dyn Iterator<Item = (usize, &str)> + '_> {
    Box::new((1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")))
}

/// Returns a text without comments and without the items marked `#[cfg(test)]`.
pub(crate) fn product_text(text: &str) -> String {
    product_lines(text).flat_map(|(_, line)| [line, "\n"]).collect()
}

/// Numbered lines without comments and without the items marked `#[cfg(test)]`.
fn product_lines(text: &str) -> Box<dyn Iterator<Item = (usize, &str)> + '_> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    // The indentation of the test item that is being skipped.
    let mut skipped = None;
    Box::new(code_lines(text).filter(move |(_, line)| {
        let Some(level) = skipped else {
            skipped = (line.trim() == "#[cfg(test)]").then(|| indentation(line));
            return skipped.is_none();
        };
        // The item ends with a `;`, or with the brace that closes it, at its own indentation.
        if indentation(line) == level && (line.trim_end().ends_with(';') || line.trim() == "}") {
            skipped = None;
        }
        false
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: OnlyIn =
        OnlyIn::new("only clock.rs reads time", &["crates/x/src"], &["Instant::now"], &["src/clock.rs"])
            .unless(&["approved"]);

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_forbidden_text_is_found_with_its_line() {
        let bad = source("crates/x/src/a.rs", "fn a() {\n    Instant::now();\n}\n");
        assert_eq!(RULE.judge(&[bad]).unwrap_err().to_string(), "crates/x/src/a.rs:2: Instant::now();");
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
        assert_eq!(
            RULE.judge(&[source("crates/x/src/a.rs", text)]).unwrap_err().to_string().lines().count(),
            1
        );
    }

    #[test]
    fn a_rule_for_tests_too_searches_them() {
        let rule = RULE.also_in_tests();
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
        assert!(
            no_file_is_longer_than(10, std::slice::from_ref(&long))
                .unwrap_err()
                .to_string()
                .contains("long.rs")
        );
        assert!(no_file_is_longer_than(11, &[long]).is_ok());
        assert!(no_file_is_longer_than(10, &[]).is_err());
    }

    #[test]
    fn comments_with_pronouns_are_counted_and_code_is_not() {
        let text = "let who = 1;\n// Nobody waits.\n/// The same again.\n// The caller waits.\n";
        let sources = [source("a.rs", text)];
        assert!(comments_are_plain(2, &sources).is_ok());
        assert!(
            comments_are_plain(1, &sources).unwrap_err().to_string().contains("a.rs:2: // Nobody waits.")
        );
    }
}
