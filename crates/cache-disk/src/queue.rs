//! The queue between callers and the writer thread: what is urgent, and what may wait.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use crate::backlog::Place;
use crate::budget;
use crate::error::Fault;
use crate::index::Removed;
use cache_core::sync::{Condvar, Mutex};
use cache_core::{CacheKey, Entry, Invalidation, Result};
use tokio::sync::oneshot;

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

/// What may wait.
#[derive(Debug)]
pub(crate) enum Lazy {
    /// Write an entry, if the index still holds this id for it; remove the rows of the one it replaced.
    Put { key: CacheKey, hash: u64, id: u64, replaced: Option<u64>, entry: Entry, cost: u32, place: Place },
    /// Remove the rows of an entry that left the index.
    Discard(Removed),
}

impl Lazy {
    fn written(&self) -> u64 {
        match self {
            Self::Put { cost, .. } => budget::written(u64::from(*cost), 1),
            Self::Discard(_) => budget::written(0, 1),
        }
    }
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
    lazy: VecDeque<Lazy>,
    closing: bool,
    asleep: bool,
}

impl State {
    fn take_lazy(&mut self, most_bytes: u64) -> Vec<Lazy> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < MOST_OPERATIONS
            && let Some(next) = self.lazy.front()
        {
            bytes += next.written();
            if bytes > most_bytes && !taken.is_empty() {
                break;
            }
            taken.extend(self.lazy.pop_front());
        }
        taken
    }
}

/// Most lazy operations of one transaction.
const MOST_OPERATIONS: usize = 1000;

impl Queue {
    /// Queues what somebody waits for; `false` once the queue is closed.
    pub(crate) fn push_urgent(&self, operation: Urgent) -> bool {
        self.push(|state| state.urgent.push(operation))
    }

    /// Queues what may wait; `false` once the queue is closed.
    pub(crate) fn push_lazy(&self, operation: Lazy) -> bool {
        self.push(|state| state.lazy.push_back(operation))
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

    /// Takes lazy operations of up to `most_bytes`, or a single one that is larger.
    pub(crate) fn take_lazy(&self, most_bytes: u64) -> Vec<Lazy> {
        self.state.lock().take_lazy(most_bytes)
    }

    /// The hashes of keys whose values are still to be written or to be removed.
    pub(crate) fn unwritten(&self) -> Vec<u64> {
        let hash = |lazy: &Lazy| match lazy {
            Lazy::Put { hash, .. } | Lazy::Discard(Removed { hash, .. }) => *hash,
        };
        self.state.lock().lazy.iter().map(hash).collect()
    }

    /// Takes all that is left.
    pub(crate) fn drain(&self) -> (Vec<Urgent>, VecDeque<Lazy>) {
        let mut state = self.state.lock();
        (mem::take(&mut state.urgent), mem::take(&mut state.lazy))
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
