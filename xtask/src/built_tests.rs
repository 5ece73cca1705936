//! [`BuiltTests`]: the test programs of one build, started without cargo.
//!
//! `cargo test --test NAME` unites the features of those packages alone that have a test of this name: for each name it would compile
//! most crates of the workspace anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, output, watch, without_settings};
use crate::report::Counts;
use crate::test::TestOutput;

/// A test program.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    file: PathBuf,
    /// The folder of its package, in which cargo would start it.
    folder: PathBuf,
}

/// Test programs by the words with which cargo chooses them: `--lib`, or `--test` and a name.
#[derive(Debug, Default)]
pub(crate) struct BuiltTests(BTreeMap<String, Vec<Program>>);

impl BuiltTests {
    /// Builds the tests of `build`, arguments of cargo that begin with `test`.
    pub(crate) fn of(build: &str) -> Result<Self> {
        let mut command = cargo(build);
        command.args(["--no-run", "--quiet", "--message-format", "json-render-diagnostics"]);
        Self::parse(&output(&mut command)?)
    }

    fn parse(messages: &str) -> Result<Self> {
        let mut tests = Self::default();
        for line in messages.lines() {
            let message: Value =
                serde_json::from_str(line).with_context(|| format!("cargo printed {line}"))?;
            let Some(file) = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)
            else {
                continue;
            };
            let target = &message["target"];
            let words = match (target["kind"][0].as_str(), target["name"].as_str()) {
                (Some("test"), Some(name)) => format!("--test {name}"),
                (Some("lib"), _) => "--lib".to_owned(),
                _ => continue,
            };
            let manifest = message["manifest_path"].as_str().context("a program of no package")?;
            let folder = Path::new(manifest).parent().context("a manifest in no folder")?;
            tests.0.entry(words).or_default().push(Program { file: file.into(), folder: folder.into() });
        }
        Ok(tests)
    }

    /// Runs the tests that `words` choose as they would choose them for cargo, and returns their counts, with a note if they failed or
    /// if there are none.
    pub(crate) fn run(
        &self,
        words: &str,
        environment: &[(&str, &str)],
        is_noise: impl Fn(&str) -> bool,
        mut see: impl FnMut(&str),
    ) -> Result<(Counts, String)> {
        let (target, filters) = split(words);
        let (mut seen, mut success) = (TestOutput::default(), true);
        for program in self.0.get(&target).into_iter().flatten() {
            let mut command = Command::new(&program.file);
            without_settings(command.args(&filters).current_dir(&program.folder));
            command.envs(environment.iter().copied());
            success &= watch(&mut command, &is_noise, |line| {
                seen.read(line);
                see(line);
            })?;
        }
        Ok(seen.judge_pass(success, words))
    }
}

/// Splits words for cargo into those that choose test programs and the filters of their tests.
fn split(words: &str) -> (String, Vec<&str>) {
    let words: Vec<&str> = words.split_whitespace().filter(|word| *word != "--").collect();
    let (target, filters) =
        words.split_at(words.len().min(if words.first() == Some(&"--test") { 2 } else { 1 }));
    (target.join(" "), filters.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_the_words_for_cargo() {
        let message = |kind: &str, name: &str, test: bool, file: &str| {
            format!(
                r#"{{"reason": "compiler-artifact", "manifest_path": "/a/Cargo.toml", "executable": {file},
                    "target": {{"kind": ["{kind}"], "name": "{name}"}}, "profile": {{"test": {test}}}}}"#
            )
            .replace('\n', "")
        };
        let messages = [
            message("lib", "a", true, r#""/t/a""#),
            message("lib", "a", false, "null"),
            message("test", "race", true, r#""/t/race""#),
            message("bin", "b", true, r#""/t/b""#),
            r#"{"reason": "build-finished", "success": true}"#.to_owned(),
        ];
        let tests = BuiltTests::parse(&messages.join("\n")).unwrap();
        let program = |file: &str| vec![Program { file: file.into(), folder: "/a".into() }];
        let expected =
            [("--lib".to_owned(), program("/t/a")), ("--test race".to_owned(), program("/t/race"))];
        assert_eq!(tests.0, BTreeMap::from(expected));
        assert!(BuiltTests::parse("no JSON").is_err());
    }

    #[test]
    fn words_for_cargo_are_a_target_and_filters() {
        assert_eq!(split("--test race"), ("--test race".to_owned(), vec![]));
        assert_eq!(split("--test race -- a b"), ("--test race".to_owned(), vec!["a", "b"]));
        assert_eq!(split("--lib a"), ("--lib".to_owned(), vec!["a"]));
    }

    #[test]
    fn a_target_that_was_not_built_fails() {
        let (counts, note) = BuiltTests::default().run("--test race", &[], |_| true, |_| ()).unwrap();
        assert!(counts.failed == 1 && note.contains("no test ran"), "{note}");
    }

    #[test]
    fn the_output_of_a_program_is_counted() {
        let folder = std::env::temp_dir();
        let program = Program { file: "/bin/echo".into(), folder };
        let tests = BuiltTests(BTreeMap::from([("--lib".to_owned(), vec![program])]));
        let words = "--lib test result: ok. 3 passed; 0 failed";
        assert_eq!(tests.run(words, &[], |_| true, |_| ()).unwrap().0.passed, 3);
    }
}
