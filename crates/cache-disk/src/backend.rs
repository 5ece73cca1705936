//! [`DiskBackend`]: the asynchronous interface of the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::panics::contained;
use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Error, ErrorKind, Explanation,
    FillOutcome, FillToken, Health, Invalidated, Invalidation, Lookup, NewEntry, Result,
};
use tokio::sync::oneshot;

use crate::budget;
use crate::config::DiskConfig;
use crate::database_file::OpenDatabase;
use crate::engine::DiskEngine;
use crate::fs::Directory;
use crate::latch::Latch;
use crate::queue::{Ack, Command, CounterChange, Permit};
use crate::store::record_bytes;
use crate::write::Writer;

/// How long dropping the backend waits for the writer to finish.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A cache in a directory of this process; see the documentation of the crate.
///
/// Reads are answered in the calling task: no hop to another thread, no write. Writes are queued: every read sees them at
/// once, and they reach the file in the background. Invalidations return when they are durable.
#[derive(Debug)]
pub struct DiskBackend {
    engine: Arc<DiskEngine>,
    finished: Arc<Latch>,
}

impl DiskBackend {
    /// Opens the cache in the configured directory, or creates one.
    ///
    /// A file that cannot be read is set aside as `cache.redb.bad`, and the cache starts empty. The index is loaded in the
    /// background; lookups are answered meanwhile.
    ///
    /// # Errors
    /// `Configuration` for a limit under 8 MiB; `Locked` when another process has the directory open; `Io` when the
    /// directory or its files cannot be used.
    pub async fn open(config: DiskConfig) -> Result<Self> {
        let config = config.checked()?;
        let (answer, opened) = oneshot::channel();
        let started = cache_core::sync::spawn("cache-disk", move || start(config, answer));
        started.map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot start the disk cache's thread: {error}"))
                .with_source(error)
        })?;
        opened
            .await
            .map_err(|_| Error::new(ErrorKind::Io, "the disk cache's thread ended while it was opening"))?
    }

    /// Waits until every write so far is on the disk.
    ///
    /// # Errors
    /// `Unavailable` while the database cannot be opened, `Closed` after closing.
    pub async fn flush(&self) -> Result<()> {
        self.command(Command::Flush).await
    }

    /// Stops serving and storing: every lookup is a miss, every fill is refused, and invalidations have nothing to remove.
    /// [`health`](CacheBackend::health) reports `cause`.
    ///
    /// For a directory that another process may have taken: changes made there are not seen here.
    ///
    /// # Cost
    /// Removes every entry from the index. The file is closed in the background.
    pub fn suspend(&self, cause: &Error) {
        self.engine.suspend(&cause.to_string());
        self.engine.queue.wake();
    }

    /// Ends a suspension: begins an empty database in the directory, which is created and locked as by
    /// [`open`](Self::open). Values that were loaded before are not stored.
    ///
    /// Blocks the thread for a few writes to disk: not for asynchronous callers.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and `Closed`; the cache then stays suspended.
    pub fn resume(&self) -> Result<()> {
        let (ack, done) = oneshot::channel();
        self.engine.queue.push(Command::Resume(ack));
        done.blocking_recv().map_err(|_| DiskEngine::closed())?
    }

    /// Queues a command and waits for its answer.
    async fn command<T>(&self, command: impl FnOnce(Ack<T>) -> Command) -> Result<T> {
        let (ack, done) = oneshot::channel();
        self.engine.queue.push(command(ack));
        done.await.map_err(|_| self.unanswered())?
    }

    /// The error of a command that the writer took and did not answer.
    fn unanswered(&self) -> Error {
        let panicked = || {
            let message =
                "the disk cache's thread was interrupted by a panic, which `health` names; try again";
            Error::new(ErrorKind::Unavailable, message)
        };
        self.check_open().err().unwrap_or_else(panicked)
    }

    fn check_open(&self) -> Result<()> {
        if self.engine.is_closed.load(Ordering::SeqCst) { Err(DiskEngine::closed()) } else { Ok(()) }
    }

    /// Waits for the permit to queue `entry`; `None` if there is none in time, or at once if nothing is being written.
    async fn permit(&self, key: &CacheKey, entry: &NewEntry, is_fill: bool) -> Result<Option<Permit>> {
        self.check_open()?;
        let bytes = record_bytes(key.as_str(), &entry.payload);
        budget::check_size(key, bytes, self.engine.config.limit_bytes)?;
        let backpressure = &self.engine.backpressure;
        Ok(match backpressure.try_acquire(bytes) {
            None if self.engine.has_failed() => None,
            None if is_fill => backpressure.acquire_for_fill(bytes).await,
            None => backpressure.acquire(bytes).await,
            permit => permit,
        })
    }

    async fn count(&self, key: &CacheKey, change: CounterChange) -> Result<i64> {
        self.command(|ack| Command::Count { key: key.clone(), change, ack }).await
    }
}

fn start(config: DiskConfig, answer: oneshot::Sender<Result<DiskBackend>>) {
    let finished = Arc::new(Latch::default());
    match prepare(config) {
        Ok((engine, writer)) => {
            let backend = DiskBackend { engine: Arc::clone(&engine), finished: Arc::clone(&finished) };
            if let Err(backend) = answer.send(Ok(backend)) {
                // The caller went away. Dropping the backend closes the queue, and must not wait for this very thread.
                finished.set();
                drop(backend);
            }
            contained(|| writer.run());
            // However the writer ended, no caller waits for an answer any more.
            engine.close();
            drop(engine.queue.take_commands());
            drop(engine.queue.write_behind(std::mem::take));
            finished.set();
        }
        Err(error) => drop(answer.send(Err(error))),
    }
}

fn prepare(config: DiskConfig) -> Result<(Arc<DiskEngine>, Writer)> {
    let directory = Directory::open(&config.directory)?;
    let opened = if config.start_empty {
        OpenDatabase::replace(&directory, &config)?
    } else {
        OpenDatabase::open(&directory, &config)?
    };
    if !opened.store.values.bits().is_sparse() {
        cache_core::log::info!(
            directory = %directory.path().display(),
            "disk cache keeps each large value in a file of its own: the file system cannot punch holes"
        );
    }
    let engine = Arc::new(DiskEngine::new(config, &opened));
    let writer = Writer::start(Arc::clone(&engine), directory, opened);
    Ok((engine, writer.map_err(|fault| fault.into_error("cannot start the disk cache"))?))
}

impl Drop for DiskBackend {
    fn drop(&mut self) {
        self.engine.close();
        // Bounded: a disk that hangs must not hang the caller.
        self.finished.wait(CLOSE_WITHIN);
    }
}

#[async_trait]
impl CacheBackend for DiskBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Disk
    }

    fn polled_within(&self) -> Option<Duration> {
        // Lookups are ready when they are polled first.
        None
    }

    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        self.engine.at_hand(key)
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.check_open()?;
        Ok(self.engine.lookup(key))
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        let permit = self.permit(key, &entry, true).await?;
        if permit.is_some_and(|permit| self.engine.store(key, Some(token), entry, permit)) {
            self.engine.stats.lock().fills += 1;
            Ok(FillOutcome::Stored)
        } else {
            self.engine.stats.lock().fills_refused += 1;
            Ok(FillOutcome::Refused)
        }
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        if let Some(permit) = self.permit(key, &entry, false).await? {
            if self.engine.store(key, None, entry, permit) {
                return Ok(());
            }
            return Err(if self.engine.is_suspended() {
                self.engine.suspended()
            } else {
                DiskEngine::closed()
            });
        }
        // A dropped write must not leave the value before it readable.
        self.engine.stats.lock().errors += 1;
        let _ = self.invalidate(&[Invalidation::Key(key.clone())]).await?;
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the disk cache's queue is full; {key} was not stored"),
        ))
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.check_open()?;
        let (ack, done) = oneshot::channel();
        let at_once = self.engine.invalidate(what, ack);
        let stats = &self.engine.stats;
        for one in what {
            let mut stats = stats.lock();
            if *one == Invalidation::Everything { stats.clears += 1 } else { stats.invalidations += 1 }
        }
        let done = done.await.map_err(|_| self.unanswered())?;
        let removed = at_once + done.inspect_err(|_| stats.lock().errors += 1)?;
        stats.lock().invalidated_entries += removed;
        Ok(Invalidated::Applied { removed })
    }

    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        self.check_open()?;
        let (ack, counted) = oneshot::channel();
        let (engine, what) = (Arc::clone(&self.engine), what.clone());
        // On a thread of its own: it may read millions of keys.
        let started = cache_core::sync::spawn("cache-disk-count", move || {
            let count = engine.count_matches(&what, || !ack.is_closed());
            // The caller may have gone away.
            drop(ack.send(count));
        });
        started.map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot start a thread to count: {error}")).with_source(error)
        })?;
        counted
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "counting panicked; try again")))
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.check_open()?;
        Ok(self.engine.stats())
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.check_open()?;
        Ok(self.engine.get(key))
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.check_open()?;
        Ok(keys.iter().map(|key| self.engine.lookup(key)).collect())
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.check_open()?;
        Ok(keys.iter().map(|key| self.engine.get(key)).collect())
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.check_open()?;
        let (entry, last_miss) = self.engine.peek(key);
        Ok(Explanation {
            last_miss,
            in_memory: self.engine.is_at_hand(key),
            ..Explanation::of(key, BackendKind::Disk, entry.as_ref(), self.engine.now())
        })
    }

    async fn health(&self) -> Health {
        let condition = self.engine.condition.lock().clone();
        let health = match condition.cause {
            None => Health::ok(BackendKind::Disk, condition.since),
            Some(cause) => Health::degraded(BackendKind::Disk, condition.since, cause),
        };
        Health { near: self.engine.near_health(), ..health }
    }

    async fn close(&self) -> Result<()> {
        self.engine.close();
        self.finished.wait_async().await;
        Ok(())
    }
}

#[async_trait]
impl AtomicBackend for DiskBackend {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.count(key, CounterChange::Add(by)).await
    }

    async fn add(&self, key: &CacheKey, value: bytes::Bytes) -> Result<bool> {
        Ok(self.count(key, CounterChange::Claim(value)).await? == 1)
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.count(key, CounterChange::Reset).await.map(drop)
    }
}
