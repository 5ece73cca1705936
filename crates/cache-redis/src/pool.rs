//! [`Pool`]: check out, clone, give back, send. Many tasks share a connection, so that their requests travel together.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bb8_redis::bb8::{self, ErrorSink, QueueStrategy, RunError};
use cache_core::{Error, ErrorKind, Result, transfer_time};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout_at};

use crate::config::RedisConfig;
use crate::error::{Fate, Fault};
use crate::manager::{Connection, Manager};

/// Values of more bytes together are sent over a connection of their own.
const LARGE: usize = 1 << 20;

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    connections: ArcSwapOption<bb8::Pool<Shared>>,
    /// The connection that was checked out last: what the pool would hand out next, without asking it.
    latest: ArcSwapOption<Connection>,
    pub(crate) manager: Arc<Manager>,
    failures: Failures,
    timeout: Duration,
    tries: u32,
    pub(crate) address: String,
}

impl Pool {
    /// Connects once, so that what is wrong with the settings is known at once.
    pub(crate) async fn connect(config: &RedisConfig, manager: Manager) -> Result<Self> {
        let manager = Arc::new(manager);
        let first = manager.open().await?;
        let failures = Failures::default();
        let pool = bb8::Pool::builder()
            .max_size(config.pool_size)
            .min_idle(Some(1))
            .test_on_check_out(false)
            .retry_connection(false)
            .connection_timeout(config.timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            // The connection that was used last is used again: the fewer are in use, the more travels together.
            .queue_strategy(QueueStrategy::Lifo)
            .error_sink(Box::new(failures.clone()))
            .build_unchecked(Shared(Arc::clone(&manager)));
        // Where the pool has connected by itself meanwhile, one more or less makes no difference.
        let _ = pool.add(first);
        Ok(Self {
            connections: ArcSwapOption::from_pointee(pool),
            latest: ArcSwapOption::empty(),
            manager,
            failures,
            timeout: config.timeout,
            tries: config.pool_size + 1,
            address: config.address(),
        })
    }

    /// The tries of one operation, all within its time.
    pub(crate) fn tries(&self) -> Tries<'_> {
        self.tries_to_send(0)
    }

    /// The tries of one operation that sends so many bytes of values.
    pub(crate) fn tries_to_send(&self, bytes: usize) -> Tries<'_> {
        let timeout = self.timeout + transfer_time(bytes);
        let (deadline, is_large) = (Instant::now() + timeout, bytes > LARGE);
        Tries { pool: self, deadline, timeout, left: self.tries, is_large }
    }

    /// Lets go of all connections; those in use end with their last user.
    pub(crate) fn close(&self) {
        self.connections.store(None);
        self.latest.store(None);
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.connections.load().is_none() { Err(closed()) } else { Ok(()) }
    }

    /// The connection that everybody uses, if there is one.
    fn latest(&self) -> Option<Connection> {
        let latest = self.latest.load();
        latest.as_deref().filter(|latest| self.is_usable(latest)).cloned()
    }

    /// A connection that nobody else uses.
    async fn connect_apart(&self, deadline: Instant) -> Result<Connection> {
        self.check_open()?;
        match timeout_at(deadline, self.manager.open()).await {
            Ok(connection) => connection,
            Err(_) => Err(self.failures.cause(None, &self.address)),
        }
    }

    async fn check_out(&self, deadline: Instant) -> Result<Connection> {
        let asked = Instant::now();
        let connection = match timeout_at(deadline, self.get(asked)).await {
            Ok(connection) => connection?,
            Err(_) => return Err(self.failures.cause(Some(asked), &self.address)),
        };
        self.latest.store(Some(Arc::new(connection.clone())));
        // Closing may have come between.
        self.check_open().inspect_err(|_| self.latest.store(None))?;
        Ok(connection)
    }

    async fn get(&self, asked: Instant) -> Result<Connection> {
        let pool = self.connections.load_full().ok_or_else(closed)?;
        loop {
            let failed = self.failures.notify.notified();
            let guard = tokio::select! {
                biased;
                guard = pool.get() => guard,
                // Noted before it was told, perhaps before this caller asked.
                () = failed => return Err(self.failures.cause(None, &self.address)),
            };
            match guard {
                // Given back at once, in every case; the pool drops what is not usable.
                Ok(guard) if self.is_usable(&guard) => return Ok(Connection::clone(&guard)),
                Ok(_) => {}
                Err(RunError::User(error)) => return Err(error),
                Err(RunError::TimedOut) => return Err(self.failures.cause(Some(asked), &self.address)),
            }
        }
    }

    fn is_usable(&self, connection: &Connection) -> bool {
        !connection.is_broken() && self.manager.worlds.is_current(&connection.world)
    }
}

/// The tries of one operation: another connection while there is time, if the last one was gone.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    pool: &'a Pool,
    /// When the operation has to be over.
    pub(crate) deadline: Instant,
    /// How long it may take.
    pub(crate) timeout: Duration,
    left: u32,
    /// What is sent would hold up all others on a connection that is shared.
    is_large: bool,
}

impl Tries<'_> {
    /// A connection of the current world.
    pub(crate) async fn next(&mut self) -> Result<Connection> {
        self.left = self.left.saturating_sub(1);
        if self.is_large {
            return Box::pin(self.pool.connect_apart(self.deadline)).await;
        }
        if let Some(latest) = self.pool.latest() {
            return Ok(latest);
        }
        // In a box: what runs once in a while is not carried about by every operation.
        Box::pin(self.next_of_pool()).await
    }

    async fn next_of_pool(&mut self) -> Result<Connection> {
        loop {
            match self.pool.check_out(self.deadline).await {
                // Cut off while it was made, perhaps one that the pool made for others: the next may come through.
                Err(error) if error.kind() == ErrorKind::Unavailable && self.may_go_on() => {}
                connection => return connection,
            }
            self.left = self.left.saturating_sub(1);
        }
    }

    /// Whether the operation may be tried again after `fault`: never after a time-out, which may still be carried out.
    pub(crate) fn again(&self, fault: &Fault) -> bool {
        matches!(fault.fate, Fate::Gone | Fate::OutOfStep) && self.may_go_on()
    }

    fn may_go_on(&self) -> bool {
        self.left > 0 && Instant::now() < self.deadline
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the cache was closed; open a new one")
}

/// The manager as the pool wants it: its own.
#[derive(Debug)]
struct Shared(Arc<Manager>);

impl bb8::ManageConnection for Shared {
    type Connection = Connection;
    type Error = Error;

    async fn connect(&self) -> Result<Connection> {
        self.0.connect().await
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<()> {
        self.0.is_valid(connection).await
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        self.0.has_broken(connection)
    }
}

/// Why connecting failed last: bb8 itself only says that it took too long.
#[derive(Debug, Clone, Default)]
struct Failures {
    last: Arc<Mutex<Option<(Instant, ErrorKind, String)>>>,
    notify: Arc<Notify>,
}

impl Failures {
    /// What went wrong last, if it was since `asked`.
    fn cause(&self, asked: Option<Instant>, address: &str) -> Error {
        match &*self.last.lock() {
            Some((at, kind, message)) if asked.is_none_or(|asked| *at >= asked) => {
                Error::new(*kind, message.clone())
            }
            _ => Error::new(ErrorKind::Timeout, format!("Redis at {address}: no connection within the time")),
        }
    }
}

impl ErrorSink<Error> for Failures {
    fn sink(&self, error: Error) {
        *self.last.lock() = Some((Instant::now(), error.kind(), error.to_string()));
        self.notify.notify_waiters();
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<Error>> {
        Box::new(self.clone())
    }
}
