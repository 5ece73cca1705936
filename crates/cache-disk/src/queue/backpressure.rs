//! [`Backpressure`]: how many bytes may be queued for the writer, and how many may wait for that.
//!
//! A caller of `set` waits with its value. A value that is filled was returned to its caller already, so nothing slows the
//! callers down: while the disk stalls, ever more fills would wait. Their number is limited, too.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that may be queued.
const QUEUED_BYTES: usize = 8 << 20;
/// Bytes of filled values that may wait for a permit.
const WAITING_BYTES: usize = 4 << 20;
/// About the memory of a value beside its record: its key, its entries in the queue and in the index.
const BESIDE: usize = 400;
/// How long a write waits for a permit before it is dropped.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// The permit to be queued; dropped once the value is written.
pub(crate) type Permit = OwnedSemaphorePermit;

/// See the documentation of the module.
#[derive(Debug)]
pub(crate) struct Backpressure {
    queued: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self { queued: Arc::new(Semaphore::new(QUEUED_BYTES)), waiting: Semaphore::new(WAITING_BYTES) }
    }
}

impl Backpressure {
    /// Returns a permit for a record of `bytes` if it is free at once.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        Arc::clone(&self.queued).try_acquire_many_owned(permits(bytes, QUEUED_BYTES)).ok()
    }

    /// Waits for a permit for a record of `bytes`; `None` if there is none in time.
    pub(crate) async fn acquire(&self, bytes: usize) -> Option<Permit> {
        let waiting = Arc::clone(&self.queued).acquire_many_owned(permits(bytes, QUEUED_BYTES));
        tokio::time::timeout(LONGEST_WAIT, waiting).await.ok()?.ok()
    }

    /// Waits like [`acquire`](Self::acquire) for a filled value; `None` at once if enough of them wait.
    pub(crate) async fn acquire_for_fill(&self, bytes: usize) -> Option<Permit> {
        let _waiting = self.waiting.try_acquire_many(permits(bytes, WAITING_BYTES)).ok()?;
        self.acquire(bytes).await
    }
}

/// The permits for a record of `bytes`; at most `all` of them.
fn permits(bytes: usize, all: usize) -> u32 {
    u32::try_from(bytes.saturating_add(BESIDE).min(all)).unwrap_or(u32::MAX)
}
