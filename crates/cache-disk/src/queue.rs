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

/// A value to write, if the index still holds this id for it; the rows of the one it replaced are to be removed.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) key: CacheKey,
    pub(crate) hash: u64,
    pub(crate) id: u64,
    pub(crate) replaced: Option<u64>,
    pub(crate) entry: Entry,
    pub(crate) cost: u32,
    pub(crate) place: Place,
}

/// What may wait.
#[derive(Debug, Default)]
pub(crate) struct Lazy {
    /// Entries that left the index, whose rows are to be removed.
    pub(crate) discards: VecDeque<Removed>,
    pub(crate) values: VecDeque<Value>,
}

impl Lazy {
    pub(crate) fn is_empty(&self) -> bool {
        self.discards.is_empty() && self.values.is_empty()
    }

    /// Takes what [`budget::written`] counts as up to `most` bytes, or a single value that is larger.
    ///
    /// All that leaves goes before anything that comes: until it is gone there may be no room, and pages that many
    /// entries share are free only when the last of them has left.
    fn take(&mut self, most: u64) -> Self {
        let a_discard = budget::written(0, 1);
        let count = usize::try_from(most / a_discard).unwrap_or(usize::MAX).clamp(1, MOST_OPERATIONS);
        let mut taken = Self::default();
        taken.discards.extend(self.discards.drain(..count.min(self.discards.len())));
        let mut bytes = a_discard * taken.discards.len() as u64;
        while taken.discards.len() + taken.values.len() < MOST_OPERATIONS
            && let Some(next) = self.values.front()
        {
            bytes += budget::written(u64::from(next.cost), 1);
            if bytes > most && !taken.is_empty() {
                break;
            }
            taken.values.extend(self.values.pop_front());
        }
        taken
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
    lazy: Lazy,
    closing: bool,
    asleep: bool,
}

/// Most lazy operations of one transaction.
const MOST_OPERATIONS: usize = 1000;

impl Queue {
    /// Queues what somebody waits for; `false` once the queue is closed.
    pub(crate) fn push_urgent(&self, operation: Urgent) -> bool {
        self.push(|state| state.urgent.push(operation))
    }

    /// Queues a value; `false` once the queue is closed.
    pub(crate) fn push_value(&self, value: Value) -> bool {
        self.push(|state| state.lazy.values.push_back(value))
    }

    /// Queues the removal of what left the index; `false` once the queue is closed.
    pub(crate) fn push_discard(&self, removed: Removed) -> bool {
        self.push(|state| state.lazy.discards.push_back(removed))
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

    /// Takes some of what may wait, up to `most` bytes; see [`Lazy::take`].
    pub(crate) fn take_lazy(&self, most: u64) -> Lazy {
        self.state.lock().lazy.take(most)
    }

    /// The hashes of keys whose values are still to be written or to be removed.
    pub(crate) fn unwritten(&self) -> Vec<u64> {
        let Lazy { discards, values } = &self.state.lock().lazy;
        let discards = discards.iter().map(|removed| removed.hash);
        discards.chain(values.iter().map(|value| value.hash)).collect()
    }

    /// Takes all that is left.
    pub(crate) fn drain(&self) -> (Vec<Urgent>, Lazy) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_is_taken_before_what_comes() {
        let queue = Queue::default();
        let backlog = crate::backlog::Backlog::new();
        for id in 1..=10 {
            let key = CacheKey::parse(&format!("image:{id}")).unwrap();
            let entry = cache_core::NewEntry::new("a value").stored_at(cache_core::Timestamp::from_millis(1));
            let place = backlog.place_at_once(7).unwrap();
            assert!(queue.push_value(Value { key, hash: id, id, replaced: None, entry, cost: 100, place }));
            assert!(queue.push_discard(Removed { hash: id, id: id + 100, unwritten: None }));
        }
        let counts = || {
            let taken = queue.take_lazy(8 * budget::written(0, 1));
            (taken.discards.len(), taken.values.len())
        };
        assert_eq!([counts(), counts(), counts(), counts()], [(8, 0), (2, 5), (0, 5), (0, 0)]);
    }

    #[test]
    fn a_value_larger_than_a_batch_is_taken_alone() {
        let queue = Queue::default();
        let backlog = crate::backlog::Backlog::new();
        for id in 1..=2 {
            let key = CacheKey::parse(&format!("image:{id}")).unwrap();
            let entry = cache_core::NewEntry::new("a value").stored_at(cache_core::Timestamp::from_millis(1));
            let place = backlog.place_at_once(7).unwrap();
            queue.push_value(Value { key, hash: id, id, replaced: None, entry, cost: 1_000_000, place });
        }
        assert_eq!(queue.take_lazy(10_000).values.len(), 1);
    }
}
