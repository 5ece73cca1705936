//! [`Attempts`]: the connections that one operation tries.

use std::sync::Arc;

use cache_core::{Error, ErrorKind, Result, transfer_time};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::connection::Connection;
use crate::error::{Fate, Fault};
use crate::pool::{Pool, UNCONFIRMED};
use crate::protocol::slot::Slot;
use crate::servers::Servers;

/// Values of more bytes together are sent over a connection of their own.
pub(crate) const LARGE: usize = 1 << 20;

/// How many times an operation follows its slot to another node.
const MOVES: u32 = 2;

/// The attempts of one operation on keys of one server: another connection while there is time, if the last one was gone;
/// another node, if the slot has moved there.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    servers: &'a Arc<Servers>,
    slot: Slot,
    /// The end of the operation.
    pub(crate) deadline: Instant,
    left: u32,
    moves: u32,
    /// The address of the node that holds the slot, by the word of the one that was asked last.
    moved_to: Option<String>,
    /// Whether the values would delay other requests on a shared connection.
    is_large: bool,
    /// The permit for a connection that is not shared, kept until the operation ends.
    permit: Option<OwnedSemaphorePermit>,
}

impl<'a> Attempts<'a> {
    /// Begins an operation in `slot` that sends `bytes` of values: its time starts now.
    pub(crate) fn new(servers: &'a Arc<Servers>, slot: Slot, bytes: usize) -> Self {
        Self {
            servers,
            slot,
            deadline: Instant::now() + servers.config.timeout + transfer_time(bytes),
            left: Pool::most_attempts(&servers.config),
            moves: MOVES,
            moved_to: None,
            is_large: bytes > LARGE,
            permit: None,
        }
    }

    /// Returns a connection of the current epoch of the server that holds the slot.
    pub(crate) async fn connection(&mut self) -> Result<Connection> {
        self.left = self.left.saturating_sub(1);
        if !self.is_large
            && self.moved_to.is_none()
            && let Some(connection) = self.servers.map().owner(self.slot).and_then(|pool| pool.least_used())
        {
            return Ok(connection);
        }
        // Boxed to keep the future of a hit small.
        Box::pin(self.new_connection()).await
    }

    async fn new_connection(&mut self) -> Result<Connection> {
        // Keeps the promise of `polled_within`: no watchdog polls a caller that waits for a connection.
        tokio::task::yield_now().await;
        loop {
            let pool = self.pool().await?;
            let connection = if self.is_large {
                if self.permit.is_none() {
                    self.permit = Some(pool.permit(self.deadline).await?);
                }
                return pool.open_apart(self.deadline).await;
            } else {
                pool.check_out(self.deadline).await
            };
            match connection {
                // The connection was cut off while it was made, perhaps for another caller: the next one may come through.
                Err(error) if error.kind() == ErrorKind::Unavailable && self.has_time() => {}
                connection => return connection,
            }
            self.left = self.left.saturating_sub(1);
        }
    }

    /// Returns the pool of the server that holds the slot.
    async fn pool(&mut self) -> Result<Arc<Pool>> {
        let late = |_| Err(Error::new(ErrorKind::Timeout, "Redis cluster: its nodes do not answer in time"));
        let pool = match self.moved_to.take() {
            None => timeout_at(self.deadline, self.servers.owner(self.slot)).await,
            Some(address) => timeout_at(self.deadline, self.servers.follow(self.slot, &address)).await,
        };
        let pool = pool.unwrap_or_else(late)?;
        if self.servers.is_confirmed(&pool) {
            return Ok(pool);
        }
        if let Some(problem) = &*pool.problem.load() {
            return Err(Error::new(problem.kind(), problem.to_string()));
        }
        let _ = timeout_at(self.deadline, self.servers.refresh()).await;
        let pool = timeout_at(self.deadline, self.servers.owner(self.slot)).await.unwrap_or_else(late)?;
        if self.servers.is_confirmed(&pool) {
            Ok(pool)
        } else {
            Err(pool.manager.error(ErrorKind::Unavailable, UNCONFIRMED))
        }
    }

    /// Whether the operation may be repeated after `fault`: never after a timeout, since the request may still be executed.
    pub(crate) fn may_retry(&mut self, fault: &Fault) -> bool {
        match fault.fate {
            Fate::Gone | Fate::OutOfStep => self.has_time(),
            Fate::Moved if self.moves > 0 => {
                self.moves -= 1;
                self.moved_to = Some(self.servers.target(self.slot, fault).address());
                self.has_time()
            }
            _ => false,
        }
    }

    fn has_time(&self) -> bool {
        self.left > 0 && Instant::now() < self.deadline
    }
}
