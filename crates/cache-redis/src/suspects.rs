//! [`Suspects`]: keys whose last read was not answered in time, perhaps because of what they hold.
//!
//! Whoever reads may give up before this store does: what tells is how long a read took that brought nothing.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::CacheKey;
use cache_core::envelope::{HEADER_LENGTH, LARGEST_PAYLOAD};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::Fault;
use crate::manager::Connection;

/// How many keys are remembered, and for how long after the last time-out: then reads do without a look at them.
const REMEMBERED: usize = 1024;
const LASTS: Duration = Duration::from_mins(10);
/// More than any build stores: whoever reads it reads nothing else for a while.
const HUGE: usize = HEADER_LENGTH + LARGEST_PAYLOAD;

/// Most keys that are looked at ahead of one read: a batch must not come to nothing for them.
const LOOKED_AT: usize = 8;
/// A read that brought nothing in this time makes its keys suspects, also if its caller did not wait any longer.
const LONG: Duration = Duration::from_millis(200);

/// A bounded number of keys; mostly none.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    // Every read comes by here: it takes no lock where there is none.
    are_there: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    keys: HashSet<CacheKey>,
    until: Option<Instant>,
}

impl Suspects {
    /// Reads of `keys` were not answered in time.
    pub(crate) fn add(&self, keys: &[CacheKey], now: Instant) {
        let mut held = self.held.lock();
        // Where so much goes wrong it is not for what one key holds.
        if held.keys.len() + keys.len() > REMEMBERED {
            held.keys.clear();
        }
        held.keys.extend(keys.iter().take(REMEMBERED).cloned());
        held.until = Some(now + LASTS);
        self.are_there.store(true, Ordering::Relaxed);
    }

    fn among<'a>(&self, keys: &'a [CacheKey], now: impl FnOnce() -> Instant) -> Vec<&'a CacheKey> {
        if !self.are_there.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut held = self.held.lock();
        if held.until.is_some_and(|until| until <= now()) {
            held.keys.clear();
            self.are_there.store(false, Ordering::Relaxed);
        }
        keys.iter().filter(|key| held.keys.contains(*key)).take(LOOKED_AT).collect()
    }

    fn acquit(&self, key: &CacheKey) {
        let mut held = self.held.lock();
        held.keys.remove(key);
        self.are_there.store(!held.keys.is_empty(), Ordering::Relaxed);
    }
}

impl Engine {
    /// Removes what is too large to be read of those `keys` that could not be read in time, before they are read again:
    /// else each read of them would hold up all others on its connection until it is given up. A field that is removed is
    /// as one that made room: all that can come of it is that a fill is refused.
    pub(crate) async fn clear_the_way(
        &self,
        connection: &mut Connection,
        keys: &[CacheKey],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let suspects = self.suspects.among(keys, Instant::now);
        if suspects.is_empty() {
            return Ok(());
        }
        // In a box of its own: reads do not carry it about.
        Box::pin(async {
            for key in &suspects {
                let place = self.layout.place(&connection.world, key);
                if connection.length(&place, deadline).await? > HUGE {
                    cache_core::log::limited(&self.pool.address, |suppressed| tracing::warn!(%key, suppressed, "Redis: what was stored under this key is too large to be read, and is removed"));
                    connection.remove_field(&place, deadline).await?;
                    self.stats.corrupt.add(1);
                }
                self.suspects.acquit(key);
            }
            Ok(())
        })
        .await
    }
}

/// Reads of some keys that are under way.
#[derive(Debug)]
pub(crate) struct Reads<'a> {
    pub(crate) suspects: &'a Suspects,
    pub(crate) keys: &'a [CacheKey],
    /// When they have to be over, and how long after they began that is.
    pub(crate) deadline: Instant,
    pub(crate) timeout: Duration,
}

impl Reads<'_> {
    /// They brought something.
    pub(crate) fn over(mut self) {
        self.keys = &[];
    }
}

impl Drop for Reads<'_> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            let now = Instant::now();
            let left = self.deadline.saturating_duration_since(now);
            if self.timeout.saturating_sub(left) >= LONG.min(self.timeout / 5 * 4) {
                self.suspects.add(self.keys, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspects_are_bounded_acquitted_and_forgotten() {
        let (suspects, now) = (Suspects::default(), Instant::now());
        let keys: Vec<_> =
            (0..2 * REMEMBERED).map(|n| CacheKey::builder("image", n).build().unwrap()).collect();
        let (early, late) = keys.split_at(REMEMBERED);
        suspects.add(early, now);
        assert_eq!(
            (suspects.among(&keys, || now).len(), suspects.held.lock().keys.len()),
            (LOOKED_AT, REMEMBERED)
        );
        suspects.add(&late[..2], now);
        assert_eq!(suspects.among(&keys, || now), [&late[0], &late[1]]);
        suspects.acquit(&late[0]);
        assert_eq!(suspects.among(&keys, || now), [&late[1]]);
        assert!(suspects.among(&keys, || now + LASTS).is_empty());
        assert!(!suspects.are_there.load(Ordering::Relaxed));
    }
}
