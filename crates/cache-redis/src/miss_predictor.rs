//! [`MissPredictor`]: guesses whether a lookup in a group will miss.

use std::sync::atomic::{AtomicU64, Ordering};

use twox_hash::XxHash3_64;

const WORDS: usize = 64;

/// One bit a group, shared by groups with the same hash: whether the last lookup missed, or the group was removed since.
///
/// The last outcome predicts the next. That is right for listings after a change, for a cache that fills and for one that is
/// warm. A wrong prediction costs one script call too many, or one round trip.
#[derive(Debug)]
pub(crate) struct MissPredictor([AtomicU64; WORDS]);

impl Default for MissPredictor {
    fn default() -> Self {
        // Nothing is known to be cached yet.
        Self(std::array::from_fn(|_| AtomicU64::new(u64::MAX)))
    }
}

impl MissPredictor {
    /// Whether a lookup in `group` is likely to miss.
    pub(crate) fn expects_miss(&self, group: &str) -> bool {
        let (word, bit) = self.bit(group);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Notes that a lookup in `group` hit or missed.
    pub(crate) fn record(&self, group: &str, is_hit: bool) {
        let (word, bit) = self.bit(group);
        let was_miss = word.load(Ordering::Relaxed) & bit != 0;
        // Written only when the outcome changes: a write is visible to the other cores, and costs them.
        if is_hit && was_miss {
            word.fetch_and(!bit, Ordering::Relaxed);
        } else if !is_hit && !was_miss {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn bit(&self, group: &str) -> (&AtomicU64, u64) {
        let [word, bit, ..] = XxHash3_64::oneshot(group.as_bytes()).to_le_bytes();
        let words = &self.0;
        (words.get(usize::from(word) % WORDS).unwrap_or(&words[0]), 1 << (bit % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_outcome_predicts_the_next() {
        let predictor = MissPredictor::default();
        assert!(predictor.expects_miss("image:5"), "nothing is known");
        predictor.record("image:5", true);
        assert!(!predictor.expects_miss("image:5"));
        assert!(predictor.expects_miss("image:6"), "another group");
        predictor.record("image:5", false);
        assert!(predictor.expects_miss("image:5"));
    }
}
