//! Which keys' loads in the background have just failed: the next one waits a little.

use std::time::Duration;

use cache_core::{CacheKey, Clock, Monotonic};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

/// How long after a load in the background has failed none is begun for its key.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

const PLACES: usize = 1024;

/// When the pause of each key ends. Keys that share a place by chance share its pause: their old values are served for a
/// second longer, where they may be.
#[derive(Debug)]
pub(crate) struct Pauses(Mutex<Box<[Option<Monotonic>]>>);

impl Default for Pauses {
    fn default() -> Self {
        Self(Mutex::new(vec![None; PLACES].into()))
    }
}

impl Pauses {
    /// The load of `key` has failed.
    pub(crate) fn begin(&self, clock: &dyn Clock, key: &CacheKey) {
        if let Some(place) = self.0.lock().get_mut(place(key)) {
            *place = Some(clock.monotonic().saturating_add(PAUSE));
        }
    }

    /// Whether that was a short time ago.
    pub(crate) fn holds(&self, clock: &dyn Clock, key: &CacheKey) -> bool {
        let until = self.0.lock().get(place(key)).copied().flatten();
        until.is_some_and(|until| clock.monotonic() < until)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "reduced to 10 bits first")]
fn place(key: &CacheKey) -> usize {
    (xxh3_64(key.as_str().as_bytes()) % PLACES as u64) as usize
}
