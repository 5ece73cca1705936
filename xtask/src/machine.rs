//! What a page of figures says of the machine, the day and the commit.

use std::fmt::Display;
use std::process::Command;

use crate::process::{output, root};

/// Describes the machine in one line: day, commit, cores and their load over the last five minutes, system, compiler.
pub(crate) fn describe() -> String {
    let line = |words: &str| {
        let mut words = words.split(' ');
        first_line(Command::new(words.next()?).args(words).current_dir(root()))
    };
    let day = line("date -u +%F").unwrap_or_default();
    let commit = match line("git rev-parse --short HEAD") {
        None => "no commit".to_owned(),
        Some(commit) if line("git status --porcelain --untracked-files=no").is_none() => {
            format!("commit {commit}")
        }
        Some(commit) => format!("commit {commit} with changes"),
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    // The load of other programs says how much absolute times are worth.
    let load = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(1).map_or_else(String::new, |load| format!(" at a load of {load}"));
    let system = line("uname -sr").unwrap_or_else(|| std::env::consts::OS.to_owned());
    let compiler = line("rustc --version").unwrap_or_else(|| "an unknown compiler".to_owned());
    format!("{day}, {commit}, {cores} cores{load}, {system}, {compiler}")
}

/// Returns the first line that a program prints; none if it cannot be run, fails or prints nothing.
pub(crate) fn first_line(command: &mut Command) -> Option<String> {
    let text = output(command).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// Writes a whole number with a comma at each thousand.
pub(crate) fn thousands(whole: impl Display) -> String {
    let digits = whole.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_says_nothing() {
        assert_eq!(first_line(&mut Command::new("/nowhere/program")), None);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
