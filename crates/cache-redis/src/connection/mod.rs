//! [`Connection`]: one socket to a known server, and what the crate knows about it.
//!
//! `connect` makes connections, to the address that `sentinel` tells where Sentinels are named. `server_info` reads what a
//! server says about itself, and `cluster` what it says about its cluster. `server_epoch` decides which run of a server may be
//! used, with the help of `history`: `recent_removals` and `replication_history`. `watchdog` notices that a connection has
//! ended.

pub(crate) mod client;
pub(crate) mod clock_skew;
pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod history;
mod recent_removals;
mod replication_history;
pub(crate) mod sentinel;
pub(crate) mod server_epoch;
pub(crate) mod server_info;
pub(crate) mod watchdog;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use redis::aio::MultiplexedConnection;

use self::server_epoch::ServerEpoch;
use crate::error::{Fate, Fault};

/// A connection that many tasks share. Cloning it gives another handle on the same socket.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) socket: MultiplexedConnection,
    // One allocation: every operation clones it, on every core.
    pub(crate) status: Arc<Status>,
    /// Whether an `ASKING` is sent before each command, so that a node answers for slots that are being moved to it.
    pub(crate) is_asking: bool,
}

/// State that all handles on a connection share.
#[derive(Debug)]
pub(crate) struct Status {
    /// A handle for [`Status::is_over`].
    socket: MultiplexedConnection,
    pub(crate) epoch: Arc<ServerEpoch>,
    /// A hash of the server's `run_id`, which outlasts an epoch.
    pub(crate) run: u64,
    /// Whether single fields can expire (Redis from 7.4 on, Valkey from 9.0 on).
    pub(crate) expires_fields: bool,
    /// Whether the server is a node of a cluster.
    pub(crate) is_in_cluster: bool,
    is_broken: AtomicBool,
    /// Whether a reply was received that did not belong to its request.
    is_out_of_step: AtomicBool,
    /// The time limit of an operation minus the first interval of the watchdog.
    after_first_look: Duration,
    /// The value of `losses` when this connection was made.
    born: u64,
    /// How many times connections to this server were found closed.
    losses: Arc<AtomicU64>,
}

impl Deref for Connection {
    type Target = Status;

    fn deref(&self) -> &Status {
        &self.status
    }
}

impl Status {
    /// Marks the connection where `result` is a fault after which it cannot be used any more.
    pub(crate) fn noted<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.inspect_err(|fault| match fault.fate {
            Fate::Keep | Fate::Moved | Fate::Moving => {}
            Fate::Drop => self.is_broken.store(true, Ordering::Relaxed),
            Fate::OutOfStep => self.lose_step(),
            Fate::Gone => self.lose(),
        })
    }

    /// Marks that a reply did not belong to its request: other replies on their way may be shifted, too.
    pub(crate) fn lose_step(&self) {
        self.is_out_of_step.store(true, Ordering::Release);
        self.is_broken.store(true, Ordering::Relaxed);
    }

    /// Passes `read` on, unless a reply on this connection did not belong to its request: then `read` may answer an
    /// earlier request.
    pub(crate) fn in_step<T>(&self, read: T) -> Result<T, Fault> {
        if self.is_out_of_step.load(Ordering::Acquire) { Err(Fault::mismatch()) } else { Ok(read) }
    }

    /// Marks all connections that are as old as this one: the server closed this one and probably the others.
    fn lose(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
        // Fails where another connection of the same age was found closed before.
        let _ = self.losses.compare_exchange(self.born, self.born + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed) || self.born != self.losses.load(Ordering::Relaxed)
    }

    /// Whether the connection has ended, so that no reply will come.
    pub(crate) fn is_over(&self) -> bool {
        let mut socket = self.socket.clone();
        // Polled once: it is handed to the task of the connection, or refused because that task has ended.
        let ping = redis::cmd("PING");
        socket.send_packed_command(&ping).now_or_never().is_some_and(|refused| refused.is_err())
    }
}
