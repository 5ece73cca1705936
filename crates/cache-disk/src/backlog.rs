//! [`Backlog`]: how much may wait for the writer, and how much may wait to do so.
//!
//! Whoever sets a value waits with it. A value that was loaded has been handed out already when it is filled: nobody slows
//! down, and while the disk stands still ever more of them would wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that may wait for the writer.
const QUEUED_BYTES: usize = 8 << 20;
/// Bytes of filled values that may wait until there is a place among them.
const WAITING_BYTES: usize = 4 << 20;
/// About what a value takes beside its record: its key, its places in the queue and in the index.
const BESIDE: usize = 400;
/// How long a write waits for a place before it is dropped.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// A value's place in the queue; dropped once it is written.
pub(crate) type Place = OwnedSemaphorePermit;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Backlog {
    queued: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Self { queued: Arc::new(Semaphore::new(QUEUED_BYTES)), waiting: Semaphore::new(WAITING_BYTES) }
    }

    /// A place for a record of `bytes`, if there is one at once.
    pub(crate) fn place_at_once(&self, bytes: usize) -> Option<Place> {
        Arc::clone(&self.queued).try_acquire_many_owned(permits(bytes, QUEUED_BYTES)).ok()
    }

    /// Waits for a place for a record of `bytes`; `None` when there is none within the time that a write may take.
    pub(crate) async fn place(&self, bytes: usize) -> Option<Place> {
        let waiting = Arc::clone(&self.queued).acquire_many_owned(permits(bytes, QUEUED_BYTES));
        tokio::time::timeout(LONGEST_WAIT, waiting).await.ok()?.ok()
    }

    /// The same for a filled value, and `None` at once where enough of them wait.
    pub(crate) async fn place_for_fill(&self, bytes: usize) -> Option<Place> {
        let _waiting = self.waiting.try_acquire_many(permits(bytes, WAITING_BYTES)).ok()?;
        self.place(bytes).await
    }
}

/// How much of `all` a record takes; a larger one takes all.
fn permits(bytes: usize, all: usize) -> u32 {
    u32::try_from(bytes.saturating_add(BESIDE).min(all)).unwrap_or(u32::MAX)
}
