//! [`LoadState`]: whether the index knows every entry of the database, and what may be read from the database until it does.
//!
//! While the index is loaded, a key that it does not know is looked up in the database itself. The file is not checked yet
//! then: in a damaged file an entry can be hidden from the invalidation of its group, so invalidations are remembered here
//! and compared with every key. Once the load has ended, nothing is read this way any more: a reader that comes late looks
//! into the index again.

use std::collections::HashSet;
use std::time::Duration;

use cache_core::Invalidation;
use cache_core::sync::Mutex;

use crate::latch::Latch;

/// The most invalidations that are remembered one by one; after more of them nothing is read from the database.
const MOST_INVALIDATIONS: usize = 256;
/// The most uses that are remembered.
const MOST_USES: usize = 100_000;

/// The state of the load of the index; at first none has begun, and the index is incomplete.
#[derive(Debug, Default)]
pub(crate) struct LoadState {
    is_complete: Latch,
    load: Mutex<Load>,
}

#[derive(Debug, Default)]
struct Load {
    number: u64,
    /// Whether keys may be looked up in the database.
    is_running: bool,
    /// Hashes of keys for which the index holds, or held, a newer value than the database, or that left the index.
    superseded: HashSet<u64>,
    /// Groups and patterns that were invalidated.
    invalidated: Vec<Invalidation>,
    /// Hashes of keys that were found in the database, in the order of their use.
    used: Vec<u64>,
}

impl LoadState {
    /// Begins a load, and returns its number; the index is incomplete, and an earlier load inserts nothing any more.
    ///
    /// `unwritten` returns the hashes of keys whose values are still to be written or removed; no load can end meanwhile.
    pub(crate) fn begin(&self, unwritten: impl FnOnce() -> Vec<u64>) -> u64 {
        let mut load = self.load.lock();
        self.is_complete.unset();
        let (number, superseded) = (load.number + 1, unwritten().into_iter().collect());
        *load = Load { number, is_running: true, superseded, ..Load::default() };
        number
    }

    /// Ends load `number` unless another has begun: the index is complete. Returns the hashes that were used meanwhile.
    pub(crate) fn end(&self, number: u64) -> Vec<u64> {
        let mut load = self.load.lock();
        if load.number != number {
            return Vec::new();
        }
        self.is_complete.set();
        std::mem::replace(&mut *load, Load { number, ..Load::default() }).used
    }

    /// Whether the database is out of date for the key with this hash; `None` if a load after `number` has begun.
    pub(crate) fn is_superseded(&self, number: u64, hash: u64) -> Option<bool> {
        let load = self.load.lock();
        (load.number == number).then(|| load.superseded.contains(&hash))
    }

    /// Notes that the index got a newer value for the key with this hash, or lost it.
    pub(crate) fn supersede(&self, hash: u64) {
        self.load.lock().superseded.insert(hash);
    }

    /// Notes the invalidation of a group or a pattern.
    pub(crate) fn invalidate(&self, what: &Invalidation) {
        let mut load = self.load.lock();
        if load.invalidated.len() == MOST_INVALIDATIONS {
            load.invalidated = vec![Invalidation::Everything];
        }
        load.invalidated.push(what.clone());
    }

    /// Whether the value that the database holds for `key` may be served; never once the load has ended.
    pub(crate) fn may_serve(&self, key: &str, hash: u64) -> bool {
        let load = self.load.lock();
        load.is_running
            && !load.superseded.contains(&hash)
            && !load.invalidated.iter().any(|what| what.matches(key))
    }

    /// Notes that the key with this hash was found in the database.
    pub(crate) fn used(&self, hash: u64) {
        let mut load = self.load.lock();
        if load.used.len() < MOST_USES {
            load.used.push(hash);
        }
    }

    /// Whether the index knows every entry of the database.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete.is_set()
    }

    /// Blocks the thread until the index is complete, or for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        self.is_complete.wait(timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_ends_late_does_not_end_the_next() {
        let state = LoadState::default();
        let first = state.begin(Vec::new);
        let second = state.begin(Vec::new);
        state.used(7);
        assert!(state.end(first).is_empty());
        assert!(!state.is_complete() && state.is_superseded(first, 7).is_none());
        assert_eq!((state.end(second), state.is_complete()), (vec![7], true));
    }

    #[test]
    fn invalidated_and_replaced_values_are_not_served() {
        let state = LoadState::default();
        state.begin(|| vec![7]);
        state.supersede(8);
        state.invalidate(&"group image:5".parse().unwrap());
        assert!(!state.may_serve("image:6:a", 7) && !state.may_serve("image:6:a", 8));
        assert!(!state.may_serve("image:5:a", 9) && state.may_serve("image:50:a", 9));
        state.begin(Vec::new);
        assert!(state.may_serve("image:5:a", 7));
    }

    #[test]
    fn nothing_is_served_before_a_load_and_after_it() {
        let state = LoadState::default();
        assert!(!state.may_serve("image:6:a", 7));
        let load = state.begin(|| vec![7]);
        assert!(state.end(load).is_empty());
        assert!(!state.may_serve("image:6:a", 7) && !state.may_serve("image:6:a", 8));
    }

    #[test]
    fn after_too_many_invalidations_nothing_is_served() {
        let state = LoadState::default();
        state.begin(Vec::new);
        for n in 0..1000 {
            state.invalidate(&format!("group image:{n}").parse().unwrap());
        }
        assert!(!state.may_serve("thumbnail:1:a", 1));
    }
}
