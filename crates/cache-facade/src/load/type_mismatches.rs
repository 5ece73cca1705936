//! [`TypeMismatches`]: keys whose stored value was recently found to be of another type, for `explain`.

use std::collections::VecDeque;

use cache_core::CacheKey;
use parking_lot::Mutex;

use super::hash_of;

/// Number of keys that are remembered.
const MOST: usize = 256;

/// The last keys, as hashes: a collision costs a wrong explanation, never a value.
#[derive(Debug, Default)]
pub(crate) struct TypeMismatches(Mutex<VecDeque<u64>>);

impl TypeMismatches {
    /// Remembers `key`.
    pub(crate) fn record(&self, key: &CacheKey) {
        let hash = hash_of(key);
        let mut seen = self.0.lock();
        if seen.contains(&hash) {
            return;
        }
        if seen.len() == MOST {
            seen.pop_front();
        }
        seen.push_back(hash);
    }

    /// Whether `key` is remembered.
    pub(crate) fn contains(&self, key: &CacheKey) -> bool {
        self.0.lock().contains(&hash_of(key))
    }
}
