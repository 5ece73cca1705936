//! Running other programs: cargo with the project's settings, and output that is read while it is shown.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::iter::once;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Returns `cargo` with `words`, separated by spaces, in the workspace's root.
///
/// It runs without the caller's settings of the cache: a test must not depend on the shell it is started from.
pub(crate) fn cargo(words: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split_whitespace()).current_dir(root());
    without_settings(&mut command);
    command
}

/// Removes the settings of the cache and of the application from a child's environment.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_setting)) {
        command.env_remove(name);
    }
}

fn is_setting(name: &str) -> bool {
    name.starts_with("CACHE_")
        || name.starts_with("REDIS_")
        || ["BIND", "DATA_DIR", "ADMIN_USERS", "MAX_UPLOAD_MB", "DECODE_MEMORY_MB", "RUST_LOG"]
            .contains(&name)
}

/// Runs a command with its output shown; the error of a failure names it. Returns an empty note.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    println!("$ {}", describe(command));
    let status = command.status().with_context(|| format!("cannot start {}", describe(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", describe(command));
    Ok(String::new())
}

/// Runs a command and returns what it printed; the error of a failure holds its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", describe(command)))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let (status, errors) = (output.status, errors.trim());
    ensure!(status.success(), "`{}` failed ({status}): {errors}", describe(command));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, passes every line of its standard output to `see`, shows those that are no noise, and returns whether
/// it succeeded.
pub(crate) fn watch(
    command: &mut Command,
    is_noise: impl Fn(&str) -> bool,
    mut see: impl FnMut(&str),
) -> Result<bool> {
    println!("$ {}", describe(command));
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", describe(command)))?;
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).split(b'\n')) {
        let line = line.with_context(|| format!("cannot read from {}", describe(command)))?;
        let line = String::from_utf8_lossy(&line);
        see(&line);
        if !is_noise(&line) {
            println!("{line}");
        }
    }
    Ok(child.wait()?.success())
}

/// Returns the command as it would be typed.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let quoted = |word: &OsStr| match word.to_string_lossy() {
        word if word.is_empty() || word.contains(' ') => format!("'{word}'"),
        word => word.into_owned(),
    };
    let words = once(program.file_name().unwrap_or(program.as_os_str())).chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_cache_are_told_from_other_variables() {
        assert!(is_setting("CACHE_DIR") && is_setting("REDIS_PORT") && is_setting("BIND"));
        assert!(!is_setting("CARGO_HOME") && !is_setting("PATH") && !is_setting("CI"));
    }

    #[test]
    fn a_command_is_described_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "two words"]);
        assert_eq!(describe(&command), "cargo test 'two words'");
    }

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let why = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(why.contains("false"), "{why}");
    }

    #[test]
    fn watching_sees_every_line_and_the_failure() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two; exit 3"]);
        let success = watch(&mut command, |_| true, |line| seen.push(line.to_owned())).unwrap();
        assert!(!success);
        assert_eq!(seen, ["one", "two"]);
    }
}
