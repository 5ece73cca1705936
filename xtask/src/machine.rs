//! What a page of figures says of the machine, the day and the commit.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::process::{output, root};

/// One line: day, commit, cores and how busy they were for the last five minutes, system, compiler.
pub(crate) fn describe() -> String {
    let line = |program: &str, arguments: &[&str]| {
        first_line(Command::new(program).args(arguments).current_dir(root()))
    };
    let commit = line("git", &["rev-parse", "--short", "HEAD"]).map_or_else(
        || "no commit".to_owned(),
        |commit| match line("git", &["status", "--porcelain", "--untracked-files=no"]) {
            Some(_) => format!("commit {commit} with changes"),
            None => format!("commit {commit}"),
        },
    );
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let system = line("uname", &["-sr"]).unwrap_or_else(|| std::env::consts::OS.to_owned());
    let compiler = line("rustc", &["--version"]).unwrap_or_else(|| "an unknown compiler".to_owned());
    let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    // How busy others kept the machine says how much absolute times are worth.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(1).map_or_else(String::new, |load| format!(" at a load of {load}"));
    format!("{}, {commit}, {cores} cores{load}, {system}, {compiler}", day(today))
}

/// The first line that a program prints; none where it cannot be run, fails or prints nothing.
pub(crate) fn first_line(command: &mut Command) -> Option<String> {
    let text = output(command).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The date `days` after 1970-01-01.
///
/// Howard Hinnant, "chrono-compatible low-level date algorithms", 2013: `civil_from_days`.
fn day(days: u64) -> String {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A whole number with a comma at each thousand.
pub(crate) fn thousands(whole: impl std::fmt::Display) -> String {
    let digits = whole.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(
            [0, 59, 11_016, 20_513].map(day),
            ["1970-01-01", "1970-03-01", "2000-02-29", "2026-03-01"]
        );
    }

    #[test]
    fn a_program_that_is_not_there_says_nothing() {
        assert_eq!(first_line(&mut Command::new("/nowhere/program")), None);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
