//! The keys whose stored value was lately found to be of another type, so that `explain` can say so.

use std::collections::VecDeque;

use cache_core::CacheKey;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

/// How many keys are remembered.
const MOST: usize = 256;

/// The last keys, as hashes: a mistake costs a wrong word in an explanation, never a value.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<VecDeque<u64>>);

impl Strangers {
    /// Remembers that the value of `key` was of another type.
    pub(crate) fn saw(&self, key: &CacheKey) {
        let hash = hash(key);
        let mut seen = self.0.lock();
        if seen.contains(&hash) {
            return;
        }
        if seen.len() == MOST {
            seen.pop_front();
        }
        seen.push_back(hash);
    }

    /// Whether the value of `key` was lately found to be of another type.
    pub(crate) fn has_seen(&self, key: &CacheKey) -> bool {
        self.0.lock().contains(&hash(key))
    }
}

fn hash(key: &CacheKey) -> u64 {
    xxh3_64(key.as_str().as_bytes())
}
