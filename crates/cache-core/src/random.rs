//! Random numbers for issuers and seeds, from the standard library's own per-process secret.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU64;

/// Returns a number that another call, thread or process is most unlikely to get.
pub fn random_nonzero() -> NonZeroU64 {
    let number = RandomState::new().build_hasher().finish();
    NonZeroU64::new(number).unwrap_or(NonZeroU64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_repeat() {
        let numbers: std::collections::HashSet<_> = (0..1000).map(|_| random_nonzero()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
