//! [`Outlook`]: which groups are likely to miss.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

const WORDS: usize = 64;

/// One bit a group (groups of one hash share it): whether the last lookup there missed, or the group was removed since.
///
/// The last outcome is the guess for the next: right for listings after a change, for a cache that fills up and for one
/// that is warm. A wrong guess costs one script too many, or one round trip.
pub(crate) struct Outlook([AtomicU64; WORDS]);

impl Default for Outlook {
    fn default() -> Self {
        // Nobody has seen anything yet, so nothing is known to be there.
        Self(std::array::from_fn(|_| AtomicU64::new(u64::MAX)))
    }
}

impl fmt::Debug for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cold: u32 = self.0.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
        f.debug_struct("Outlook").field("cold", &cold).finish_non_exhaustive()
    }
}

impl Outlook {
    /// Whether a lookup in `group` is likely to miss.
    pub(crate) fn is_cold(&self, group: &str) -> bool {
        let (word, bit) = self.place(group);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// A lookup in `group` hit or missed.
    pub(crate) fn looked_up(&self, group: &str, is_hit: bool) {
        let (word, bit) = self.place(group);
        let was_cold = word.load(Ordering::Relaxed) & bit != 0;
        // Most lookups turn out as the last one did: only a surprise is written, which other cores have to see.
        if is_hit && was_cold {
            word.fetch_and(!bit, Ordering::Relaxed);
        } else if !is_hit && !was_cold {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn place(&self, group: &str) -> (&AtomicU64, u64) {
        let [word, bit, ..] = xxh3_64(group.as_bytes()).to_le_bytes();
        let words = &self.0;
        (words.get(usize::from(word) % WORDS).unwrap_or(&words[0]), 1 << (bit % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_outcome_is_the_guess() {
        let outlook = Outlook::default();
        assert!(outlook.is_cold("image:5"), "nothing is known");
        outlook.looked_up("image:5", true);
        assert!(!outlook.is_cold("image:5"));
        assert!(outlook.is_cold("image:6"), "another group");
        outlook.looked_up("image:5", false);
        assert!(outlook.is_cold("image:5"));
    }
}
