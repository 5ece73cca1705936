//! Counters and claims of [`AtomicBackend`](crate::AtomicBackend), which are never evicted and match no pattern.

use std::collections::HashMap;

use bytes::Bytes;

use super::entries::cost;
use crate::error::{Error, ErrorKind, Result};
use crate::key::CacheKey;

/// Counters and claims by key.
#[derive(Default)]
pub(super) struct Counters {
    counters: HashMap<CacheKey, Counter>,
    bytes: u64,
}

#[derive(Default)]
struct Counter {
    sum: i64,
    claim: Option<Bytes>,
}

impl Counters {
    /// Adds `by` to the counter of `key`.
    pub(super) fn increment(&mut self, key: &CacheKey, by: i64, limit_bytes: u64) -> Result<i64> {
        let counter = self.counter(key, 0, limit_bytes)?;
        counter.sum = counter.sum.saturating_add(by);
        Ok(counter.sum)
    }

    /// Claims `key` with `value`, unless it is claimed.
    pub(super) fn add(&mut self, key: &CacheKey, value: Bytes, limit_bytes: u64) -> Result<bool> {
        if self.counters.get(key).is_some_and(|counter| counter.claim.is_some()) {
            return Ok(false);
        }
        let counter = self.counter(key, value.len(), limit_bytes)?;
        counter.claim = Some(value);
        Ok(true)
    }

    /// Removes the counter and the claim of `key`.
    pub(super) fn reset(&mut self, key: &CacheKey) {
        if let Some(counter) = self.counters.remove(key) {
            let claimed = counter.claim.map_or(0, |claim| claim.len());
            self.bytes = self.bytes.saturating_sub(cost(key, claimed));
        }
    }

    /// The counter of `key`, made if there is none, with `more` bytes of claim added to the space.
    fn counter(&mut self, key: &CacheKey, more: usize, limit_bytes: u64) -> Result<&mut Counter> {
        let is_new = !self.counters.contains_key(key);
        let cost_added = if is_new { cost(key, more) } else { more as u64 };
        let bytes = self.bytes.saturating_add(cost_added);
        // Evicting a counter or a claim would make later answers wrong: a full store refuses new ones instead.
        if cost_added > 0 && bytes > limit_bytes {
            return Err(Error::new(
                ErrorKind::WritesRefused,
                format!(
                    "counters and claims take {} of {limit_bytes} bytes; reset those no longer needed",
                    self.bytes
                ),
            ));
        }
        self.bytes = bytes;
        Ok(self.counters.entry(key.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_of_counters_is_bounded_and_freed_by_a_reset() {
        let mut counters = Counters::default();
        let key = |n: u32| CacheKey::builder("counter", n).build().unwrap();
        let fitting = (0..100).take_while(|n| counters.increment(&key(*n), 1, 4096).is_ok()).count();
        assert!(fitting > 4 && counters.bytes <= 4096);
        assert_eq!(counters.increment(&key(0), 1, 4096).unwrap(), 2);
        assert_eq!(
            counters.add(&key(0), Bytes::from(vec![0; 4096]), 4096).unwrap_err().kind(),
            ErrorKind::WritesRefused
        );
        for n in 0..100 {
            counters.reset(&key(n));
        }
        assert_eq!(counters.bytes, 0);
    }
}
