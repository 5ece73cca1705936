//! [`Cooldown`]: a pause between background loads of a key after one failed.

use std::time::Duration;

use cache_core::{CacheKey, Clock, Monotonic};
use parking_lot::Mutex;

use super::hash_of;

/// Pause after a background load failed.
const PAUSE: Duration = Duration::from_secs(1);

const SLOTS: usize = 1024;

/// End of the pause of each key, by hash. Keys that share a slot share its pause: their stale values are served a second
/// longer, within their window.
#[derive(Debug)]
pub(crate) struct Cooldown(Mutex<Box<[Option<Monotonic>]>>);

impl Default for Cooldown {
    fn default() -> Self {
        Self(Mutex::new(vec![None; SLOTS].into()))
    }
}

impl Cooldown {
    /// Begins the pause of `key`.
    pub(crate) fn begin(&self, clock: &dyn Clock, key: &CacheKey) {
        if let Some(end) = self.0.lock().get_mut(slot(key)) {
            *end = Some(clock.monotonic().saturating_add(PAUSE));
        }
    }

    /// Whether the pause of `key` lasts.
    pub(crate) fn lasts(&self, clock: &dyn Clock, key: &CacheKey) -> bool {
        let end = self.0.lock().get(slot(key)).copied().flatten();
        end.is_some_and(|end| clock.monotonic() < end)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "reduced to 10 bits first")]
fn slot(key: &CacheKey) -> usize {
    (hash_of(key) % SLOTS as u64) as usize
}
