//! [`Passes`]: keys whose responses were not stored a moment ago.
//!
//! Requests for one key wait for the first of them. Where its response is not stored, each then calls the handler, after it has
//! waited in vain. Without a memory of it, a page that is never stored would be answered one request at a time.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cache_core::{CacheKey, Clock, Monotonic};
use parking_lot::Mutex;

use crate::verdict::Reason;

/// How long the requests for a key do not wait for each other.
const PERIOD: Duration = Duration::from_secs(1);

const SLOTS: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Pass {
    hash: u64,
    end: Monotonic,
    reason: Reason,
}

/// Keys by hash, each with the end of its period. A later one may take the place of an earlier one, which costs a wait.
#[derive(Debug)]
pub(crate) struct Passes {
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    /// Made for the first key: most services have none.
    slots: OnceLock<Box<[Mutex<Option<Pass>>]>>,
}

impl Passes {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, hasher: RandomState::new(), slots: OnceLock::new() }
    }

    /// Begins the period of `key`, whose response was not stored for `reason`.
    pub(crate) fn begin(&self, key: &CacheKey, reason: Reason) {
        let slots = self.slots.get_or_init(|| (0..SLOTS).map(|_| Mutex::default()).collect());
        let hash = self.hasher.hash_one(key);
        if let Some(slot) = slot(slots, hash) {
            *slot.lock() = Some(Pass { hash, end: self.clock.monotonic().saturating_add(PERIOD), reason });
        }
    }

    /// Ends the period of `key`.
    pub(crate) fn end(&self, key: &CacheKey) {
        let Some(slots) = self.slots.get() else { return };
        let hash = self.hasher.hash_one(key);
        if let Some(slot) = slot(slots, hash) {
            slot.lock().take_if(|pass| pass.hash == hash);
        }
    }

    /// The reason why the last response of `key` was not stored, while its period lasts.
    pub(crate) fn reason(&self, key: &CacheKey) -> Option<Reason> {
        let slots = self.slots.get()?;
        let hash = self.hasher.hash_one(key);
        let pass = (*slot(slots, hash)?.lock())?;
        (pass.hash == hash && self.clock.monotonic() < pass.end).then_some(pass.reason)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "reduced to 8 bits first")]
fn slot(slots: &[Mutex<Option<Pass>>], hash: u64) -> Option<&Mutex<Option<Pass>>> {
    slots.get((hash % SLOTS as u64) as usize)
}

#[cfg(test)]
mod tests {
    use cache_core::ManualClock;

    use super::*;

    #[test]
    fn a_key_passes_for_a_second_and_others_do_not() {
        let clock = Arc::new(ManualClock::new());
        let passes = Passes::new(clock.clone());
        let (key, other) = (CacheKey::parse("a:1").unwrap(), CacheKey::parse("a:2").unwrap());
        passes.begin(&key, Reason::Private);
        passes.end(&other);
        assert_eq!((passes.reason(&key), passes.reason(&other)), (Some(Reason::Private), None));
        clock.advance(PERIOD);
        assert_eq!(passes.reason(&key), None);
        passes.begin(&key, Reason::Private);
        passes.end(&key);
        assert_eq!(passes.reason(&key), None);
    }
}
