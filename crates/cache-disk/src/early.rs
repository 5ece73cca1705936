//! [`Early`]: what happens before the index knows every entry, while the database itself has to be asked.
//!
//! Until then it is not known either whether the file is sound. A damaged one may hide an entry from the removal of its
//! group, so that a value found in it must not be one that was swept away. Afterwards it is the index that knows: a reader
//! who comes late, with what was noted forgotten, is served nothing here and looks there again.

use std::collections::HashSet;

use cache_core::Invalidation;
use cache_core::sync::Mutex;

/// Most sweeps that are remembered one by one; after more of them nothing is served until the index is complete.
const MOST_SWEEPS: usize = 256;
/// Most early uses that are remembered.
const MOST_USES: usize = 100_000;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Early(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether the database may be asked at all.
    is_on: bool,
    /// Hashes of keys of which the index held, or holds, a newer value than the database, or that left it.
    superseded: HashSet<u64>,
    /// Groups and patterns that were invalidated.
    swept: Vec<Invalidation>,
    /// Hashes of keys that were found in the database, in the order of their use.
    used: Vec<u64>,
}

impl Early {
    /// Begins anew; the keys with these hashes have values that are still to be written or to be removed.
    pub(crate) fn begin(&self, unwritten: impl IntoIterator<Item = u64>) {
        let superseded = unwritten.into_iter().collect();
        *self.0.lock() = State { is_on: true, superseded, ..State::default() };
    }

    /// It is over, the index being complete; the hashes that were used meanwhile.
    pub(crate) fn end(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock()).used
    }

    /// The index got a newer value for the key with this hash, or gave it up.
    pub(crate) fn supersede(&self, hash: u64) {
        self.0.lock().superseded.insert(hash);
    }

    /// A group or a pattern was invalidated.
    pub(crate) fn sweep(&self, what: &Invalidation) {
        let mut state = self.0.lock();
        if state.swept.len() == MOST_SWEEPS {
            state.swept = vec![Invalidation::Everything];
        }
        state.swept.push(what.clone());
    }

    /// Whether what the database holds for the key with this hash is out of date.
    pub(crate) fn is_superseded(&self, hash: u64) -> bool {
        self.0.lock().superseded.contains(&hash)
    }

    /// Whether what the database holds for `key` may be served: not what is out of date, and nothing once it is over.
    pub(crate) fn may_serve(&self, key: &str, hash: u64) -> bool {
        let state = self.0.lock();
        state.is_on && !state.superseded.contains(&hash) && !state.swept.iter().any(|what| what.matches(key))
    }

    /// A value was found in the database.
    pub(crate) fn used(&self, hash: u64) {
        let mut state = self.0.lock();
        if state.used.len() < MOST_USES {
            state.used.push(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_swept_or_replaced_is_not_served() {
        let early = Early::default();
        early.begin([7]);
        early.supersede(8);
        early.sweep(&"group image:5".parse().unwrap());
        assert!(!early.may_serve("image:6:a", 7) && !early.may_serve("image:6:a", 8));
        assert!(!early.may_serve("image:5:a", 9) && early.may_serve("image:50:a", 9));
        early.begin([]);
        assert!(early.may_serve("image:5:a", 7));
    }

    #[test]
    fn what_was_noted_is_not_served_when_it_is_over() {
        let early = Early::default();
        assert!(!early.may_serve("image:6:a", 7));
        early.begin([7]);
        early.used(8);
        assert_eq!(early.end(), [8]);
        assert!(!early.may_serve("image:6:a", 7) && !early.may_serve("image:6:a", 8));
    }

    #[test]
    fn after_too_many_sweeps_nothing_is_served() {
        let early = Early::default();
        early.begin([]);
        for n in 0..1000 {
            early.sweep(&format!("group image:{n}").parse().unwrap());
        }
        assert!(!early.may_serve("thumbnail:1:a", 1));
    }
}
