//! [`Tally`]: counts faults injected and survived, for `cargo xtask reliability`.
//!
//! A test counts each attempt before it makes it, and its assertions decide whether the attempt was survived. When the
//! tally is dropped, even by a panic, it prints one line: `reliability: {"row": ..., "survived": ..., "of": ..., ...}`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The variable with the seed of a run.
const SEED: &str = "RELIABILITY_SEED";
/// The variable with the factor by which the usual number of attempts is multiplied, 1 by default.
const TIMES: &str = "RELIABILITY_TIMES";

/// Returns the seed of this run: `RELIABILITY_SEED` mixed with the test's `own`, or `own` alone. Tests of one run draw
/// different numbers.
pub fn seed(own: u64) -> u64 {
    number::<u64>(SEED).map_or(own, |run| run.wrapping_mul(1000).wrapping_add(own))
}

/// Returns `usual` multiplied by `RELIABILITY_TIMES`; at least 1.
pub fn times(usual: usize) -> usize {
    let times: f64 = number(TIMES).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of repetitions")]
    let scaled = (usual as f64 * times) as usize;
    scaled.max(1)
}

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    let Ok(number) = text.parse() else {
        // Running with another number than asked for would prove nothing.
        eprintln!("{variable}={text} is not a number");
        std::process::exit(2);
    };
    Some(number)
}

/// The attempts of one row, and the worst delays seen.
#[derive(Debug)]
pub struct Tally {
    row: &'static str,
    seed: Option<u64>,
    of: AtomicU64,
    delay: Mutex<Option<Duration>>,
    heal: Mutex<Option<Duration>>,
    note: Mutex<String>,
}

impl Tally {
    /// Makes a tally without attempts for `row` of the scoreboard. `seed` repeats the test, if it depends on one.
    pub fn new(row: &'static str, seed: impl Into<Option<u64>>) -> Self {
        let (of, delay, heal, note) = Default::default();
        Self { row, seed: seed.into(), of, delay, heal, note }
    }

    /// Counts an attempt.
    pub fn attempt(&self) {
        self.attempts(1);
    }

    /// Counts `count` attempts.
    pub fn attempts(&self, count: usize) {
        self.of.fetch_add(count as u64, Ordering::SeqCst);
    }

    /// Notes by how much longer a caller waited because of the fault.
    pub fn delayed(&self, by: Duration) {
        raise(&self.delay, by);
    }

    /// Notes how long the recovery took after the fault was over.
    pub fn healed(&self, within: Duration) {
        raise(&self.heal, within);
    }

    /// Sets the remark that the scoreboard shows.
    pub fn note(&self, text: impl Into<String>) {
        let mut note = self.note.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *note = text.into();
    }

    fn line(&self, is_failing: bool) -> String {
        let of = self.of.load(Ordering::SeqCst);
        let survived = of.saturating_sub(u64::from(is_failing));
        let millis = |worst: &Mutex<Option<Duration>>| {
            let worst = worst.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            worst.map_or("null".to_owned(), |worst| format!("{:.3}", worst.as_secs_f64() * 1e3))
        };
        let (delay, heal) = (millis(&self.delay), millis(&self.heal));
        let seed = self.seed.map_or("null".to_owned(), |seed| seed.to_string());
        let note = self.note.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let row = self.row;
        format!(
            "reliability: {{\"row\": {row:?}, \"survived\": {survived}, \"of\": {of}, \"delay_ms\": {delay}, \
             \"heal_ms\": {heal}, \"seed\": {seed}, \"note\": {note:?}}}"
        )
    }
}

fn raise(worst: &Mutex<Option<Duration>>, to: Duration) {
    let mut worst = worst.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *worst = (*worst).max(Some(to));
}

impl Drop for Tally {
    fn drop(&mut self) {
        println!("{}", self.line(std::thread::panicking()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_attempts_and_the_worst_times() {
        let tally = Tally::new("kills", 7);
        tally.attempts(3);
        tally.healed(Duration::from_millis(2));
        tally.healed(Duration::from_millis(1));
        tally.note("a \"word\"");
        let expected = r#"reliability: {"row": "kills", "survived": 3, "of": 3, "delay_ms": null, "heal_ms": 2.000, "seed": 7, "note": "a \"word\""}"#;
        assert_eq!(tally.line(false), expected);
    }

    #[test]
    fn an_attempt_that_fails_does_not_count_as_survived() {
        let tally = Tally::new("kills", None);
        tally.attempts(3);
        assert!(tally.line(true).contains("\"survived\": 2, \"of\": 3"));
    }
}
