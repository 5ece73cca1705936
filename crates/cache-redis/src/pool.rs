//! [`Pool`]: connections that many tasks share, so that their requests travel together, and [`Attempts`]: the connections
//! that one operation tries.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bb8_redis::bb8::{self, ErrorSink, QueueStrategy, RunError};
use cache_core::{Error, ErrorKind, Result, transfer_time};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::error::{Fate, Fault};
use crate::manager::Manager;

/// Values of more bytes together are sent over a connection of their own.
const LARGE: usize = 1 << 20;

/// Connections that may be made while others still fail to be.
const SPARES: u32 = 3;

/// Connections for large values that are open at most.
const LARGE_AT_ONCE: usize = 8;

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    connections: ArcSwapOption<bb8::Pool<PoolManager>>,
    /// The connections that requests share, each filled by the first request that finds no other, or by a heartbeat.
    shared: Box<[ArcSwapOption<Connection>]>,
    pub(crate) manager: Arc<Manager>,
    /// One permit for each connection of large values.
    large: Semaphore,
    failures: Failures,
    pub(crate) address: String,
}

impl Pool {
    /// Connects once, so that wrong settings are reported at once.
    pub(crate) async fn connect(config: &RedisConfig, manager: Manager) -> Result<Self> {
        let manager = Arc::new(manager);
        let first = manager.open().await?;
        let failures = Failures::default();
        let pool = bb8::Pool::builder()
            .max_size(config.pool_size + SPARES)
            .min_idle(Some(1))
            .test_on_check_out(false)
            .retry_connection(false)
            .connection_timeout(config.timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            // The connection that was used last is used again: on fewer connections more requests travel together.
            .queue_strategy(QueueStrategy::Lifo)
            .error_sink(Box::new(failures.clone()))
            .build_unchecked(PoolManager(Arc::clone(&manager)));
        // Fails if the pool is full because it has connected by itself.
        let _ = pool.add(first);
        Ok(Self {
            connections: ArcSwapOption::from_pointee(pool),
            shared: (0..config.pool_size).map(|_| ArcSwapOption::empty()).collect(),
            manager,
            large: Semaphore::new(LARGE_AT_ONCE),
            failures,
            address: config.address(),
        })
    }

    /// Begins an operation that sends `bytes` of values: its time starts now.
    pub(crate) fn attempts(&self, bytes: usize) -> Attempts<'_> {
        let config = &self.manager.connector.config;
        let deadline = Instant::now() + config.timeout + transfer_time(bytes);
        Attempts {
            pool: self,
            deadline,
            left: config.pool_size + SPARES + 1,
            is_large: bytes > LARGE,
            permit: None,
        }
    }

    /// Drops all connections; those in use end with their last user.
    pub(crate) fn close(&self) {
        self.connections.store(None);
        self.shared.iter().for_each(|slot| slot.store(None));
        self.large.close();
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.connections.load().is_none() { Err(closed()) } else { Ok(()) }
    }

    /// Returns the shared connection with the fewest requests in flight, each of which holds a handle.
    fn least_used(&self) -> Option<Connection> {
        let mut least: Option<(usize, Connection)> = None;
        for slot in &self.shared {
            let connection = slot.load();
            let Some(connection) =
                connection.as_deref().filter(|connection| self.manager.is_usable(connection))
            else {
                continue;
            };
            let handles = Arc::strong_count(&connection.status);
            if least.as_ref().is_none_or(|(fewest, _)| handles < *fewest) {
                least = Some((handles, connection.clone()));
            }
        }
        least.map(|(_, connection)| connection)
    }

    /// Shares `connection`, if there are fewer than there may be.
    pub(crate) fn share(&self, connection: Connection) {
        let is_usable = |slot: &ArcSwapOption<Connection>| {
            slot.load().as_deref().is_some_and(|connection| self.manager.is_usable(connection))
        };
        if let Some(slot) = self.shared.iter().find(|slot| !is_usable(slot)) {
            slot.store(Some(Arc::new(connection)));
            // The pool may have been closed before the line above.
            if self.check_open().is_err() {
                slot.store(None);
            }
        }
    }

    /// Opens a connection that is not shared.
    async fn open_apart(&self, deadline: Instant) -> Result<Connection> {
        self.check_open()?;
        let late = |_| Err(self.failures.cause(None, &self.address));
        timeout_at(deadline, self.manager.open()).await.unwrap_or_else(late)
    }

    async fn check_out(&self, deadline: Instant) -> Result<Connection> {
        let asked = Instant::now();
        let late = |_| Err(self.failures.cause(Some(asked), &self.address));
        let connection = timeout_at(deadline, self.get(asked)).await.unwrap_or_else(late)?;
        self.share(connection.clone());
        self.check_open()?;
        Ok(connection)
    }

    async fn get(&self, asked: Instant) -> Result<Connection> {
        let pool = self.connections.load_full().ok_or_else(closed)?;
        loop {
            let mut failed = self.failures.0.subscribe();
            let guard = tokio::select! {
                biased;
                guard = pool.get() => guard,
                // The failure may be older than this call.
                _ = failed.changed() => return Err(self.failures.cause(None, &self.address)),
            };
            match guard {
                // The guard goes back to the pool at once; the pool drops a connection that is not usable.
                Ok(guard) if self.manager.is_usable(&guard) => return Ok(Connection::clone(&guard)),
                Ok(_) => {}
                Err(RunError::User(error)) => return Err(error),
                Err(RunError::TimedOut) => return Err(self.failures.cause(Some(asked), &self.address)),
            }
        }
    }
}

/// The attempts of one operation: another connection while there is time, if the last one was gone.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    pool: &'a Pool,
    /// The end of the operation.
    pub(crate) deadline: Instant,
    left: u32,
    /// Whether the values would delay other requests on a shared connection.
    is_large: bool,
    /// The permit for a connection that is not shared, kept until the operation ends.
    permit: Option<SemaphorePermit<'a>>,
}

impl Attempts<'_> {
    /// Returns a connection of the current epoch.
    pub(crate) async fn connection(&mut self) -> Result<Connection> {
        self.left = self.left.saturating_sub(1);
        if !self.is_large
            && let Some(connection) = self.pool.least_used()
        {
            return Ok(connection);
        }
        // Boxed to keep the future of a hit small.
        Box::pin(self.new_connection()).await
    }

    async fn new_connection(&mut self) -> Result<Connection> {
        // Keeps the promise of `polled_within`: no watchdog polls a caller that waits for a connection.
        tokio::task::yield_now().await;
        if self.is_large {
            if self.permit.is_none() {
                let permit = timeout_at(self.deadline, self.pool.large.acquire()).await;
                let busy =
                    || format!("Redis at {}: all connections for large values are busy", self.pool.address);
                let permit = permit.map_err(|_| Error::new(ErrorKind::Timeout, busy()))?;
                self.permit = Some(permit.map_err(|_| closed())?);
            }
            return self.pool.open_apart(self.deadline).await;
        }
        loop {
            match self.pool.check_out(self.deadline).await {
                // The connection was cut off while it was made, perhaps for another caller: the next one may come through.
                Err(error) if error.kind() == ErrorKind::Unavailable && self.has_time() => {}
                connection => return connection,
            }
            self.left = self.left.saturating_sub(1);
        }
    }

    /// Whether the operation may be repeated after `fault`: never after a timeout, since the request may still be executed.
    pub(crate) fn may_retry(&self, fault: &Fault) -> bool {
        matches!(fault.fate, Fate::Gone | Fate::OutOfStep) && self.has_time()
    }

    fn has_time(&self) -> bool {
        self.left > 0 && Instant::now() < self.deadline
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the cache was closed; open a new one")
}

/// The manager that the pool owns.
#[derive(Debug)]
struct PoolManager(Arc<Manager>);

impl bb8::ManageConnection for PoolManager {
    type Connection = Connection;
    type Error = Error;

    async fn connect(&self) -> Result<Connection> {
        self.0.open().await
    }

    async fn is_valid(&self, _connection: &mut Connection) -> Result<()> {
        // Not called, and no PING: it would double every round trip and proves nothing about the next one.
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        !self.0.is_usable(connection)
    }
}

/// The last failure to connect: bb8 itself only reports that connecting took too long.
#[derive(Debug, Clone, Default)]
struct Failures(watch::Sender<Option<(Instant, ErrorKind, String)>>);

impl Failures {
    /// Returns the last failure, if it is not older than `asked`.
    fn cause(&self, asked: Option<Instant>, address: &str) -> Error {
        match &*self.0.borrow() {
            Some((at, kind, message)) if asked.is_none_or(|asked| *at >= asked) => {
                Error::new(*kind, message.clone())
            }
            _ => Error::new(ErrorKind::Timeout, format!("Redis at {address}: no connection in time")),
        }
    }
}

impl ErrorSink<Error> for Failures {
    fn sink(&self, error: Error) {
        self.0.send_replace(Some((Instant::now(), error.kind(), error.to_string())));
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<Error>> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use testkit::RedisServer;

    use super::*;
    use crate::engine::RedisEngine;

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_are_spread_over_the_connections_that_are_shared_by_what_is_in_flight() {
        let server = RedisServer::start().unwrap();
        let config = RedisConfig::new("127.0.0.1").port(server.port()).pool_size(3);
        let engine = RedisEngine::connect(&config).await.unwrap();
        let pool = &engine.pool;
        let first = pool.attempts(0).connection().await.unwrap();
        let again = pool.attempts(0).connection().await.unwrap();
        assert!(Arc::ptr_eq(&first.status, &again.status), "one until a heartbeat has made others");
        for _ in 0..4 {
            engine.probe().await.unwrap();
        }
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(pool.attempts(0).connection().await.unwrap());
        }
        held.extend([first, again]);
        let mut used: Vec<_> = held.iter().map(|connection| Arc::as_ptr(&connection.status)).collect();
        used.sort_unstable();
        let mut counts: Vec<usize> = used.chunk_by(|one, other| one == other).map(<[_]>::len).collect();
        counts.sort_unstable();
        assert_eq!(counts, [2, 3, 3]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn waiting_for_a_connection_of_large_values_is_a_time_out_also_after_an_outage() {
        let server = RedisServer::start().unwrap();
        let config = RedisConfig::new("127.0.0.1").port(server.port());
        let pool = RedisEngine::connect(&config).await.unwrap().pool;
        let mut large: Vec<Attempts<'_>> = (0..LARGE_AT_ONCE).map(|_| pool.attempts(2 * LARGE)).collect();
        for attempts in &mut large {
            attempts.connection().await.unwrap();
        }
        pool.failures.sink(Error::new(ErrorKind::Unavailable, "refused, an hour ago"));
        let error = pool.attempts(2 * LARGE).connection().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        large.pop();
        pool.attempts(2 * LARGE).connection().await.unwrap();
        pool.close();
        let error = pool.attempts(2 * LARGE).connection().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
}
