//! [`Latch`]: a flag that threads and tasks can wait for.

use std::time::Duration;

use cache_core::sync::atomic::{AtomicBool, Ordering};
use cache_core::sync::{Condvar, Mutex};
use cache_core::{Clock, SystemClock};
use tokio::sync::Notify;

/// A flag that starts unset; it can be set and unset again.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    is_set: AtomicBool,
    changing: Mutex<()>,
    changed: Condvar,
    changed_async: Notify,
}

impl Latch {
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self) {
        let changing = self.changing.lock();
        self.is_set.store(true, Ordering::SeqCst);
        drop(changing);
        self.changed.notify_all();
        self.changed_async.notify_waiters();
    }

    pub(crate) fn unset(&self) {
        self.is_set.store(false, Ordering::SeqCst);
    }

    /// Blocks the thread until the flag is set, or for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let deadline = SystemClock.monotonic().saturating_add(timeout);
        let mut changing = self.changing.lock();
        let left = || deadline.saturating_since(SystemClock.monotonic());
        while !self.is_set() && !left().is_zero() {
            changing = self.changed.wait_for(changing, left());
        }
    }

    /// Waits until the flag is set.
    pub(crate) async fn wait_async(&self) {
        loop {
            let changed = self.changed_async.notified();
            if self.is_set() {
                return;
            }
            changed.await;
        }
    }
}
