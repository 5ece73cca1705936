//! [`Queue`]: the work for the writer thread: commands that callers wait for, and values and removals that are written
//! behind them.

mod backpressure;
mod write_behind;

use std::mem;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use cache_core::sync::{Condvar, Mutex};
use cache_core::{CacheKey, Invalidation, Result};
use tokio::sync::oneshot;

pub(crate) use self::backpressure::{Backpressure, Permit};
pub(crate) use self::write_behind::{Most, QueuePosition, QueuedValue, WriteBatch, WriteBehind};
use crate::error::Fault;
use crate::index::PendingRemoval;
use crate::store::Location;

/// The channel for the answer of the writer.
pub(crate) type Ack<T> = oneshot::Sender<Result<T>>;

/// A command that its caller waits for.
#[derive(Debug)]
pub(crate) enum Command {
    Invalidate(Invalidate),
    /// Change the counter or claim of a key.
    Count {
        key: CacheKey,
        change: CounterChange,
        ack: Ack<i64>,
    },
    /// Make everything durable that was queued before.
    Flush(Ack<()>),
    /// Begin an empty database in the directory, after a suspension.
    Resume(Ack<()>),
    /// Free blocks to which nothing of this opening of the database leads.
    Free {
        opening: u64,
        blocks: Vec<Range<u64>>,
    },
    /// Reopen the database: a read from this opening of it failed.
    Reopen {
        opening: u64,
        fault: Fault,
    },
}

/// Remove `what`, and the `entries` that the caller removed from the index.
#[derive(Debug)]
pub(crate) struct Invalidate {
    pub(crate) what: Vec<Invalidation>,
    pub(crate) entries: Vec<Location>,
    /// Where to begin.
    pub(crate) from: Cursor,
    /// How many entries were removed before that.
    pub(crate) removed: u64,
    pub(crate) ack: Ack<u64>,
}

/// A place among the keys that a list of invalidations covers.
#[derive(Debug, Default, Clone)]
pub(crate) struct Cursor {
    /// Which of the list.
    pub(crate) at: usize,
    /// The first key of it.
    pub(crate) key: String,
}

impl Cursor {
    pub(crate) fn is_start(&self) -> bool {
        self.at == 0 && self.key.is_empty()
    }
}

/// A change of a counter or a claim.
#[derive(Debug)]
pub(crate) enum CounterChange {
    /// Add to the counter; returns the sum.
    Add(i64),
    /// Claim the key; returns 1 for the first caller, else 0.
    Claim(bytes::Bytes),
    /// Remove counter and claim.
    Reset,
}

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    commands: Vec<Command>,
    write_behind: WriteBehind,
    is_closed: bool,
    is_writer_asleep: bool,
}

impl Queue {
    /// Queues a command; `false` if the queue is closed.
    pub(crate) fn push(&self, command: Command) -> bool {
        self.change(|state| state.commands.push(command))
    }

    /// Queues a value; `false` if the queue is closed.
    pub(crate) fn push_value(&self, value: QueuedValue) -> bool {
        self.change(|state| state.write_behind.push_value(value))
    }

    /// Queues the removal of an entry that left the index; `false` if the queue is closed.
    pub(crate) fn push_removal(&self, removal: PendingRemoval) -> bool {
        self.change(|state| state.write_behind.push_removal(removal))
    }

    /// Accepts nothing any more; the writer finishes.
    pub(crate) fn close(&self) {
        self.change(|state| state.is_closed = true);
    }

    /// Wakes the writer.
    pub(crate) fn wake(&self) {
        self.change(|_| {});
    }

    /// Waits for work, or for `timeout`, and takes the commands; breaks if the queue is closed.
    ///
    /// Queued values and removals count as work if `may_write`.
    pub(crate) fn wait(
        &self,
        may_write: impl FnOnce() -> bool,
        timeout: Duration,
    ) -> ControlFlow<Vec<Command>, Vec<Command>> {
        let mut state = self.state.lock();
        // `may_write` is called under the lock, which a thread that changes its result passes to wake the writer.
        let has_work =
            state.is_closed || !state.commands.is_empty() || (!state.write_behind.is_empty() && may_write());
        if !has_work {
            state.is_writer_asleep = true;
            state = self.changed.wait_for(state, timeout);
            state.is_writer_asleep = false;
        }
        let commands = mem::take(&mut state.commands);
        if state.is_closed { ControlFlow::Break(commands) } else { ControlFlow::Continue(commands) }
    }

    /// Calls `action` with the queued values and removals, under the lock.
    pub(crate) fn write_behind<T>(&self, action: impl FnOnce(&mut WriteBehind) -> T) -> T {
        action(&mut self.state.lock().write_behind)
    }

    /// Takes the commands.
    pub(crate) fn take_commands(&self) -> Vec<Command> {
        mem::take(&mut self.state.lock().commands)
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.state.lock();
        if state.is_closed {
            return false;
        }
        change(&mut state);
        // Waking a thread costs microseconds: only if it sleeps.
        if state.is_writer_asleep {
            state.is_writer_asleep = false;
            drop(state);
            self.changed.notify_all();
        }
        true
    }
}
