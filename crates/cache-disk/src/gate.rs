//! [`Gate`]: a condition that threads and tasks can wait for.

use std::time::Duration;

use cache_core::sync::atomic::{AtomicBool, Ordering};
use cache_core::sync::{Condvar, Mutex};
use cache_core::{Clock, SystemClock};
use tokio::sync::Notify;

/// Shut at first; can be opened and shut again.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_open: AtomicBool,
    changing: Mutex<()>,
    opened: Condvar,
    opened_async: Notify,
}

impl Gate {
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) {
        let changing = self.changing.lock();
        self.is_open.store(true, Ordering::SeqCst);
        drop(changing);
        self.opened.notify_all();
        self.opened_async.notify_waiters();
    }

    pub(crate) fn shut(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    /// Blocks the thread until the gate is open, or for `timeout`; whether it is open.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let deadline = SystemClock.monotonic().saturating_add(timeout);
        let mut changing = self.changing.lock();
        while !self.is_open() {
            let left = deadline.saturating_since(SystemClock.monotonic());
            if left.is_zero() {
                return false;
            }
            changing = self.opened.wait_for(changing, left);
        }
        true
    }

    /// Waits until the gate is open.
    pub(crate) async fn passed(&self) {
        loop {
            let opened = self.opened_async.notified();
            if self.is_open() {
                return;
            }
            opened.await;
        }
    }
}
