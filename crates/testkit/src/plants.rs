//! Tests that must fail while a bug is planted.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `test`, which must succeed, or fail with a message that contains `stale` if `is_planted`.
///
/// # Panics
/// As [`fails_only_if`].
pub fn stale_only_if(is_planted: bool, test: impl FnOnce()) {
    fails_only_if(is_planted, "stale", test);
}

/// Runs `test`, which must succeed, or fail with a message that contains `expected` if `is_planted`.
///
/// # Panics
/// As `test` does without the bug; with it, when `test` succeeds or fails for another reason.
pub fn fails_only_if(is_planted: bool, expected: &str, test: impl FnOnce()) {
    if !is_planted {
        return test();
    }
    let found = catch_unwind(AssertUnwindSafe(test)).expect_err("the planted bug was not found");
    let message = found.downcast_ref::<String>().expect("an assertion failed with a message");
    assert!(message.contains(expected), "the test failed for another reason: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_bug_must_fail_the_test_with_the_expected_message() {
        stale_only_if(false, || {});
        stale_only_if(true, || assert_eq!(1, 2, "stale: {}", 3));
        for wrong in [(|| {}) as fn(), || assert_eq!(1, 2, "something else: {}", 3)] {
            assert!(catch_unwind(|| stale_only_if(true, wrong)).is_err());
        }
    }
}
