//! Why keys miss, remembered for a bounded number of them.

use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::xxh3_64;

use crate::health::MissCause;
use crate::key::CacheKey;

/// How many keys each of the two memories holds: about 200 KiB together.
const REMEMBERED: usize = 4096;

/// Why keys are gone, and why their last lookup missed.
#[derive(Default)]
pub(super) struct Misses {
    gone: Recent,
    last: Recent,
}

impl Misses {
    /// `key` was taken away because of `cause`.
    pub(super) fn gone(&mut self, key: &CacheKey, cause: MissCause) {
        self.gone.remember(hash(key), cause);
    }

    /// A fill of `key` was refused.
    pub(super) fn refused(&mut self, key: &CacheKey) {
        self.gone.remember(hash(key), MissCause::Refused);
    }

    /// `key` is there again.
    pub(super) fn stored(&mut self, key: &CacheKey) {
        self.gone.forget(hash(key));
    }

    /// A lookup of `key` missed.
    pub(super) fn missed(&mut self, key: &CacheKey) {
        let hash = hash(key);
        self.last.remember(hash, self.gone.recall(hash).unwrap_or(MissCause::Absent));
    }

    /// Why the last lookup of `key` that missed did so.
    pub(super) fn last(&self, key: &CacheKey) -> Option<MissCause> {
        self.last.recall(hash(key))
    }
}

fn hash(key: &CacheKey) -> u64 {
    // Two keys of one hash may be told each other's cause: a wrong hint once in many lifetimes.
    xxh3_64(key.as_str().as_bytes())
}

/// The causes remembered last, by the key's hash.
#[derive(Default)]
struct Recent {
    causes: HashMap<u64, (MissCause, u64)>,
    order: VecDeque<(u64, u64)>,
    next: u64,
}

impl Recent {
    fn remember(&mut self, hash: u64, cause: MissCause) {
        self.next += 1;
        self.causes.insert(hash, (cause, self.next));
        self.order.push_back((hash, self.next));
        while self.order.len() > REMEMBERED {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            // A hash that was remembered again since has a later place in the queue.
            if self.causes.get(&oldest).is_some_and(|(_, current)| *current == number) {
                self.causes.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, hash: u64) {
        self.causes.remove(&hash);
    }

    fn recall(&self, hash: u64) -> Option<MissCause> {
        self.causes.get(&hash).map(|(cause, _)| *cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_keeps_the_latest() {
        let mut recent = Recent::default();
        for hash in 0..2 * REMEMBERED as u64 {
            recent.remember(hash, MissCause::Evicted);
            recent.remember(0, MissCause::Expired);
        }
        assert!(recent.order.len() <= REMEMBERED && recent.causes.len() <= REMEMBERED);
        assert_eq!(recent.recall(0), Some(MissCause::Expired));
        assert_eq!(recent.recall(1), None);
    }
}
