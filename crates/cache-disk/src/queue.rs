//! The queue between callers and the writer thread: what is urgent, and what may wait.

use std::mem;
use std::time::Duration;

use cache_core::sync::{Condvar, Mutex};
use cache_core::{CacheKey, Invalidation, Result};
use tokio::sync::oneshot;

use crate::error::Fault;
use crate::index::Removed;
use crate::lazy::{Lazy, Value};

/// Where the writer answers.
pub(crate) type Ack<T> = oneshot::Sender<Result<T>>;

/// What somebody waits for.
#[derive(Debug)]
pub(crate) enum Urgent {
    /// Remove `what`, and the entries of `ids`, which the caller took out of the index.
    Invalidate { what: Vec<Invalidation>, ids: Vec<u64>, ack: Ack<u64> },
    /// Change the counter or claim of a key.
    Count { key: CacheKey, change: CounterChange, ack: Ack<i64> },
    /// Make everything that was queued before durable.
    Flush { ack: Ack<()> },
    /// Begin an empty database in the directory, after a suspension.
    Resume { ack: Ack<()> },
    /// A read of the database of this opening failed: reopen it.
    Reopen { opening: u64, fault: Fault },
}

/// A change to a counter or a claim.
#[derive(Debug)]
pub(crate) enum CounterChange {
    /// Add to the counter; answers the sum.
    Add(i64),
    /// Claim the key; answers 1 for the one who got it, else 0.
    Claim(bytes::Bytes),
    /// Forget counter and claim.
    Reset,
}

/// What the writer does at once.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) urgent: Vec<Urgent>,
    /// No more will come.
    pub(crate) closing: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    urgent: Vec<Urgent>,
    lazy: Lazy,
    closing: bool,
    asleep: bool,
}

impl Queue {
    /// Queues what somebody waits for; `false` once the queue is closed.
    pub(crate) fn push_urgent(&self, operation: Urgent) -> bool {
        self.push(|state| state.urgent.push(operation))
    }

    /// Queues a value; `false` once the queue is closed.
    pub(crate) fn push_value(&self, value: Value) -> bool {
        self.push(|state| state.lazy.push_value(value))
    }

    /// Queues the removal of what left the index; `false` once the queue is closed.
    pub(crate) fn push_discard(&self, removed: Removed) -> bool {
        self.push(|state| state.lazy.push_discard(removed))
    }

    /// Lets nothing in any more and tells the writer to finish.
    pub(crate) fn close(&self) {
        self.push(|state| state.closing = true);
    }

    /// Makes the writer look again.
    pub(crate) fn wake(&self) {
        self.push(|_| {});
    }

    /// Waits for work, or for `timeout`, and takes what is urgent; what may wait counts as work where `may_write`.
    pub(crate) fn wait(&self, may_write: impl FnOnce() -> bool, timeout: Duration) -> Work {
        let mut state = self.state.lock();
        // Asked under the lock, which whoever changes the answer passes to wake this thread.
        let has_work = state.closing || !state.urgent.is_empty() || (!state.lazy.is_empty() && may_write());
        if !has_work {
            state.asleep = true;
            state = self.changed.wait_for(state, timeout);
            state.asleep = false;
        }
        Work { urgent: mem::take(&mut state.urgent), closing: state.closing }
    }

    /// Looks at what may wait, or takes some of it.
    pub(crate) fn lazy<T>(&self, action: impl FnOnce(&mut Lazy) -> T) -> T {
        action(&mut self.state.lock().lazy)
    }

    /// Takes all that somebody still waits for.
    pub(crate) fn take_urgent(&self) -> Vec<Urgent> {
        mem::take(&mut self.state.lock().urgent)
    }

    fn push(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.state.lock();
        if state.closing {
            return false;
        }
        change(&mut state);
        // Waking a thread costs microseconds: only when it sleeps.
        if state.asleep {
            state.asleep = false;
            drop(state);
            self.changed.notify_all();
        }
        true
    }
}
