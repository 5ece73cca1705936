//! [`Pool`]: connections to one server that many tasks share, so that their requests travel together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bb8_redis::bb8::{self, ErrorSink, QueueStrategy, RunError};
use cache_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::RedisConfig;
use crate::connection::Connection;
use crate::manager::Manager;

/// Why a node of a cluster is not used although it answers.
pub(crate) const UNCONFIRMED: &str = "no other node of the cluster confirms that it still holds its slots";

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
    large: Arc<Semaphore>,
    failures: Failures,
    pub(crate) address: String,
    /// Why the last heartbeat did not find the server fit for use.
    pub(crate) problem: ArcSwapOption<Error>,
    /// How many times it was greeted while there was a problem.
    pub(crate) greeted: AtomicU32,
}

impl Pool {
    /// Makes a pool that begins with the connection `first`.
    pub(crate) fn new(manager: Arc<Manager>, first: Connection) -> Self {
        let (config, failures) = (&manager.connector.config, Failures::default());
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
        Self {
            connections: ArcSwapOption::from_pointee(pool),
            shared: (0..config.pool_size).map(|_| ArcSwapOption::empty()).collect(),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            failures,
            address: config.address(),
            problem: ArcSwapOption::empty(),
            greeted: AtomicU32::new(0),
            manager,
        }
    }

    /// How many connections an operation tries at most.
    pub(crate) fn most_attempts(config: &RedisConfig) -> u32 {
        config.pool_size + SPARES + 1
    }

    /// Notes why the server cannot be used, or that it can.
    pub(crate) fn note(&self, problem: Option<&Error>) {
        self.problem.store(problem.map(|problem| Arc::new(Error::new(problem.kind(), problem.to_string()))));
    }

    /// How long the server may take to answer a greeting. One that is away does not hold up the others for long, except now
    /// and then: it may be far away.
    pub(crate) fn patience(&self) -> Duration {
        let RedisConfig { connect_timeout, .. } = self.manager.connector.config;
        let is_away = self.problem.load().is_some();
        let is_short = is_away && self.greeted.fetch_add(1, Ordering::Relaxed) % 4 != 3;
        if is_short { connect_timeout / 2 } else { connect_timeout }
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
    pub(crate) fn least_used(&self) -> Option<Connection> {
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
    pub(crate) async fn open_apart(&self, deadline: Instant) -> Result<Connection> {
        self.check_open()?;
        let late = |_| Err(self.failures.cause(None, &self.address));
        timeout_at(deadline, self.manager.open()).await.unwrap_or_else(late)
    }

    /// Waits until a connection for large values may be opened.
    pub(crate) async fn permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit> {
        let permit = timeout_at(deadline, Arc::clone(&self.large).acquire_owned()).await;
        let busy = || format!("Redis at {}: all connections for large values are busy", self.address);
        permit.map_err(|_| Error::new(ErrorKind::Timeout, busy()))?.map_err(|_| closed())
    }

    /// Returns a connection of the pool, and shares it.
    pub(crate) async fn check_out(&self, deadline: Instant) -> Result<Connection> {
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
                // A new connection to a node of a cluster does not renew its lease.
                Ok(guard) if guard.is_in_cluster && !self.manager.epochs.is_lease_valid() => {
                    return Err(self.manager.error(ErrorKind::Unavailable, UNCONFIRMED));
                }
                Ok(_) => {}
                Err(RunError::User(error)) => return Err(error),
                Err(RunError::TimedOut) => return Err(self.failures.cause(Some(asked), &self.address)),
            }
        }
    }
}

pub(crate) fn closed() -> Error {
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
    use crate::attempts::{Attempts, LARGE};
    use crate::engine::RedisEngine;
    use crate::protocol::slot::Slot;

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_are_spread_over_the_connections_that_are_shared_by_what_is_in_flight() {
        let server = RedisServer::start().unwrap();
        let config = RedisConfig::new("127.0.0.1").port(server.port()).pool_size(3);
        let engine = Arc::new(RedisEngine::connect(&config).await.unwrap());
        let connection =
            async || Attempts::new(&engine.servers, Slot::default(), 0).connection().await.unwrap();
        let (first, again) = (connection().await, connection().await);
        assert!(Arc::ptr_eq(&first.status, &again.status), "one until a heartbeat has made others");
        for _ in 0..4 {
            engine.probe().await.unwrap();
        }
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(connection().await);
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
        let servers = RedisEngine::connect(&config).await.unwrap().servers;
        let attempts = || Attempts::new(&servers, Slot::default(), 2 * LARGE);
        let mut large: Vec<Attempts<'_>> = (0..LARGE_AT_ONCE).map(|_| attempts()).collect();
        for attempts in &mut large {
            attempts.connection().await.unwrap();
        }
        servers.pools()[0].failures.sink(Error::new(ErrorKind::Unavailable, "refused, an hour ago"));
        let error = attempts().connection().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        large.pop();
        attempts().connection().await.unwrap();
        servers.close();
        let error = attempts().connection().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
}
