//! Running other programs: cargo with the project's settings, and output that is read while it is shown.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// `cargo` in the workspace's root, by the committed lock file, without the caller's settings of the cache: a test
/// must not depend on what happens to be set in the shell it runs in.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    without_settings(&mut command);
    command
}

/// Removes the settings of the cache and of the application from a child's environment.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_setting) {
            command.env_remove(name);
        }
    }
}

fn is_setting(name: &str) -> bool {
    name.starts_with("CACHE_")
        || name.starts_with("REDIS_")
        || ["BIND", "DATA_DIR", "ADMIN_USERS", "MAX_UPLOAD_MB", "DECODE_MEMORY_MB", "RUST_LOG"]
            .contains(&name)
}

/// Runs a command with its output shown, and turns a failure into a message that names it.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    println!("$ {}", describe(command));
    let status = command.status().map_err(|error| format!("cannot start {}: {error}", describe(command)))?;
    if status.success() {
        Ok(String::new())
    } else {
        Err(format!("`{}` failed ({status})", describe(command)))
    }
}

/// Runs a command and returns what it printed; its errors go into the message if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot start {}: {error}", describe(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{}` failed ({}): {}", describe(command), output.status, errors.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, hands every line of its standard output to `see`, shows those that are no noise, and returns whether
/// it succeeded.
pub(crate) fn watch(
    command: &mut Command,
    is_noise: impl Fn(&str) -> bool,
    mut see: impl FnMut(&str),
) -> Result<bool, String> {
    println!("$ {}", describe(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", describe(command)))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| format!("reading from {}: {error}", describe(command)))?;
            let line = String::from_utf8_lossy(&line);
            see(&line);
            if !is_noise(&line) {
                println!("{line}");
            }
        }
    }
    let status = child.wait().map_err(|error| format!("waiting for {}: {error}", describe(command)))?;
    Ok(status.success())
}

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        text.push(' ');
        if argument.is_empty() || argument.contains(' ') {
            text.extend(["'", &argument, "'"]);
        } else {
            text.push_str(&argument);
        }
    }
    text
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
        let why = run(&mut Command::new("false")).unwrap_err();
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
