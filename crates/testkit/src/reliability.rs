//! [`Tally`]: how often something was tried and survived, for `cargo xtask reliability` to gather.
//!
//! A test counts each attempt before it makes it; the test's own assertions decide whether it was survived. When the tally
//! is dropped, also by a panic, it prints one line: `reliability: {"row": ..., "survived": ..., "of": ..., ...}`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the seed of a run stands.
const SEED: &str = "RELIABILITY_SEED";
/// How many times as much as usual is to be tried: a number, 1 by default.
const TIMES: &str = "RELIABILITY_TIMES";

/// The seed of this run: `RELIABILITY_SEED` mixed with the test's `own`, or `own` alone. Tests that share a run's seed draw
/// different numbers.
pub fn seed(own: u64) -> u64 {
    number::<u64>(SEED).map_or(own, |run| run.wrapping_mul(1000).wrapping_add(own))
}

/// `usual`, or as many times more as `RELIABILITY_TIMES` says; at least 1.
pub fn times(usual: usize) -> usize {
    let times: f64 = number(TIMES).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of repetitions")]
    let scaled = (usual as f64 * times) as usize;
    scaled.max(1)
}

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    let Ok(number) = text.parse() else {
        // A run that silently tried something else would prove nothing.
        eprintln!("{variable}={text} is no number");
        std::process::exit(2);
    };
    Some(number)
}

/// What was tried, what was survived, and the worst that was seen.
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
    /// Nothing tried yet, for the scoreboard's row of this name. `seed` repeats it, where it depends on one.
    pub fn new(row: &'static str, seed: impl Into<Option<u64>>) -> Self {
        let (of, delay, heal, note) = Default::default();
        Self { row, seed: seed.into(), of, delay, heal, note }
    }

    /// One more is tried.
    pub fn attempt(&self) {
        self.attempts(1);
    }

    /// So many more are tried.
    pub fn attempts(&self, count: usize) {
        self.of.fetch_add(count as u64, Ordering::SeqCst);
    }

    /// A caller waited so much longer than it would have without the fault.
    pub fn delayed(&self, by: Duration) {
        raise(&self.delay, by);
    }

    /// After the fault was over it took so long until all was as before.
    pub fn healed(&self, within: Duration) {
        raise(&self.heal, within);
    }

    /// Something that readers of the scoreboard should know.
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
    fn the_line_says_what_was_tried_and_the_worst() {
        let tally = Tally::new("kills", 7);
        tally.attempts(3);
        tally.healed(Duration::from_millis(2));
        tally.healed(Duration::from_millis(1));
        tally.note("a \"word\"");
        let expected = r#"reliability: {"row": "kills", "survived": 3, "of": 3, "delay_ms": null, "heal_ms": 2.000, "seed": 7, "note": "a \"word\""}"#;
        assert_eq!(tally.line(false), expected);
    }

    #[test]
    fn the_attempt_that_fails_is_not_survived() {
        let tally = Tally::new("kills", None);
        tally.attempts(3);
        assert!(tally.line(true).contains("\"survived\": 2, \"of\": 3"));
    }
}
