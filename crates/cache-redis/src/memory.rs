//! Why keys missed, as far as this process can know it, for a bounded number of keys.

use std::collections::{HashMap, VecDeque};

use cache_core::{CacheKey, Invalidation, MissCause};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

/// How many keys and invalidations are remembered of each kind.
const REMEMBERED: usize = 1024;

/// Why keys missed.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Goes up with all that is remembered, so that earlier and later can be told.
    step: u64,
    stored: Recent<u64>,
    refused: Recent<u64>,
    missed: Recent<MissCause>,
    removed: VecDeque<(u64, Invalidation)>,
}

impl Memory {
    /// A value of `key` was stored, or seen.
    pub(crate) fn stored(&self, key: &CacheKey) {
        let mut memory = self.0.lock();
        memory.step += 1;
        let step = memory.step;
        memory.stored.insert(hash(key), step);
    }

    pub(crate) fn refused(&self, key: &CacheKey) {
        let mut memory = self.0.lock();
        memory.step += 1;
        let step = memory.step;
        memory.refused.insert(hash(key), step);
    }

    pub(crate) fn removed(&self, what: &[Invalidation]) {
        let mut memory = self.0.lock();
        memory.step += 1;
        let step = memory.step;
        memory.removed.extend(what.iter().cloned().map(|what| (step, what)));
        let surplus = memory.removed.len().saturating_sub(REMEMBERED);
        memory.removed.drain(..surplus);
    }

    /// A lookup of `key` found what cannot be served because of `cause`, or nothing.
    pub(crate) fn missed(&self, key: &CacheKey, cause: Option<MissCause>) {
        let mut memory = self.0.lock();
        let hash = hash(key);
        let cause = cause.unwrap_or_else(|| memory.why_absent(key, hash));
        memory.missed.insert(hash, cause);
    }

    /// Why the last lookup of `key` that missed did so.
    pub(crate) fn last_miss(&self, key: &CacheKey) -> Option<MissCause> {
        self.0.lock().missed.get(hash(key))
    }
}

impl Remembered {
    fn why_absent(&self, key: &CacheKey, hash: u64) -> MissCause {
        let stored = self.stored.get(hash);
        if self.refused.get(hash).is_some_and(|refused| Some(refused) > stored) {
            return MissCause::Refused;
        }
        let Some(stored) = stored else { return MissCause::Absent };
        let is_removed =
            self.removed.iter().rev().any(|(step, what)| *step > stored && what.matches(key.as_str()));
        // Else it made room for others, or another instance removed it: this process cannot tell.
        if is_removed { MissCause::Invalidated } else { MissCause::Absent }
    }
}

fn hash(key: &CacheKey) -> u64 {
    // Two keys of one hash may be told each other's cause: a wrong hint once in many lifetimes.
    xxh3_64(key.as_str().as_bytes())
}

/// The latest of a bounded number of keys.
#[derive(Debug)]
struct Recent<T> {
    held: HashMap<u64, T>,
    order: VecDeque<u64>,
}

impl<T: Copy> Recent<T> {
    fn insert(&mut self, hash: u64, value: T) {
        if self.held.insert(hash, value).is_none() {
            self.order.push_back(hash);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.held.remove(&oldest);
            }
        }
    }

    fn get(&self, hash: u64) -> Option<T> {
        self.held.get(&hash).copied()
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { held: HashMap::new(), order: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_event_is_the_cause() {
        let memory = Memory::default();
        let key = CacheKey::builder("image", 5).build().unwrap();
        let cause = || {
            memory.missed(&key, None);
            memory.last_miss(&key)
        };
        assert_eq!(memory.last_miss(&key), None);
        assert_eq!(cause(), Some(MissCause::Absent));
        memory.stored(&key);
        memory.removed(&[Invalidation::Key(key.clone())]);
        assert_eq!(cause(), Some(MissCause::Invalidated));
        memory.refused(&key);
        assert_eq!(cause(), Some(MissCause::Refused));
        memory.stored(&key);
        assert_eq!(cause(), Some(MissCause::Absent));
        memory.missed(&key, Some(MissCause::Expired));
        assert_eq!(memory.last_miss(&key), Some(MissCause::Expired));
    }

    #[test]
    fn the_memory_is_bounded() {
        let memory = Memory::default();
        for n in 0..3 * REMEMBERED {
            let key = CacheKey::builder("image", n).build().unwrap();
            memory.stored(&key);
            memory.removed(&[Invalidation::Key(key)]);
        }
        let memory = memory.0.lock();
        assert_eq!((memory.stored.held.len(), memory.removed.len()), (REMEMBERED, REMEMBERED));
    }
}
