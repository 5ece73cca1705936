//! [`DiskBackend`]: the asynchronous face of the engine.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheBackendExt, CacheKey, CacheStats, Entry, Error, ErrorKind,
    Explanation, Fill, FillOutcome, FillToken, Health, Invalidated, Invalidation, Lookup, NewEntry, Result,
};
use tokio::sync::oneshot;

use crate::backlog::Place;
use crate::budget;
use crate::config::DiskConfig;
use crate::engine::Engine;
use crate::files::Directory;
use crate::gate::Gate;
use crate::loader;
use crate::queue::{CounterChange, Urgent};
use crate::record::record_bytes;
use crate::recovery;
use crate::writer::Writer;

/// How long dropping the backend waits for what is queued.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A cache in a directory of this process's own; see the crate's documentation.
///
/// Reads are answered in the calling task: no hop to another thread, no write. Writes are queued, seen by every read at
/// once, and reach the file behind the caller's back. Invalidations return when they are durable.
#[derive(Debug)]
pub struct DiskBackend {
    engine: Arc<Engine>,
    finished: Arc<Gate>,
}

impl DiskBackend {
    /// Opens the cache in the configured directory, or creates one.
    ///
    /// A file that cannot be read is set aside as `cache.redb.bad`, and the cache starts empty. The index is filled in
    /// the background; lookups are answered meanwhile.
    ///
    /// # Errors
    /// `Configuration` for a limit under 8 MiB; `Locked` when another process has the directory open; `Io` when the
    /// directory or its files cannot be used.
    pub async fn open(config: DiskConfig) -> Result<Self> {
        let config = config.within_the_process();
        config.check()?;
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
        let (ack, done) = oneshot::channel();
        self.engine.queue.push_urgent(Urgent::Flush { ack });
        done.await.map_err(|_| self.unanswered())?
    }

    /// The error of a call that the writer took and did not answer.
    fn unanswered(&self) -> Error {
        if self.engine.closed.is_open() {
            return Engine::closed();
        }
        let message = "the disk cache's thread was interrupted by a panic, which `health` names; try again";
        Error::new(ErrorKind::Unavailable, message)
    }

    /// Keeps nothing from here on: every lookup is a miss, every fill is refused, and invalidations have nothing to do.
    /// `cause` is what [`health`](CacheBackend::health) says.
    ///
    /// For a directory that is not this process's any more: what another process does there is not seen here.
    ///
    /// # Cost
    /// Takes every entry out of the index. What the file holds is let go of in the background.
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
        self.engine.queue.push_urgent(Urgent::Resume { ack });
        done.blocking_recv().map_err(|_| Engine::closed())?
    }

    fn check_open(&self) -> Result<()> {
        if self.engine.closed.is_open() { Err(Engine::closed()) } else { Ok(()) }
    }

    /// A place in the queue for a record of `bytes`, for which a fill waits while not too much does; `None` when there is
    /// none in time, or at once when nothing is being written.
    async fn place(&self, bytes: usize, is_fill: bool) -> Option<Place> {
        let backlog = &self.engine.backlog;
        match backlog.place_at_once(bytes) {
            None if self.engine.has_failed() => None,
            None if is_fill => backlog.place_for_fill(bytes).await,
            None => backlog.place(bytes).await,
            place => place,
        }
    }

    async fn count(&self, key: &CacheKey, change: CounterChange) -> Result<i64> {
        let (ack, done) = oneshot::channel();
        self.engine.queue.push_urgent(Urgent::Count { key: key.clone(), change, ack });
        done.await.map_err(|_| self.unanswered())?
    }
}

fn start(config: DiskConfig, answer: oneshot::Sender<Result<DiskBackend>>) {
    let finished = Arc::new(Gate::default());
    match prepare(config) {
        Ok((engine, writer)) => {
            let ended = Ended { engine: Arc::clone(&engine), finished: Arc::clone(&finished) };
            if let Err(backend) = answer.send(Ok(DiskBackend { engine, finished })) {
                // Nobody waits any more: dropping the backend closes the queue, and must not wait for this very thread.
                ended.finished.open();
                drop(backend);
            }
            writer.run();
            drop(ended);
        }
        Err(error) => drop(answer.send(Err(error))),
    }
}

/// Says that the writer has ended, however it did: nobody may wait for an answer that will not come.
struct Ended {
    engine: Arc<Engine>,
    finished: Arc<Gate>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.engine.closed.open();
        self.engine.queue.close();
        drop(self.engine.queue.take_urgent());
        drop(self.engine.queue.lazy(std::mem::take));
        self.finished.open();
    }
}

fn prepare(config: DiskConfig) -> Result<(Arc<Engine>, Writer)> {
    let directory = Directory::open(&config.directory)?;
    let mut opened = if config.start_empty {
        recovery::start_anew(&directory, &config)?
    } else {
        recovery::open(&directory, &config)?
    };
    let snapshot = opened.store.snapshot().map_err(|fault| fault.into_error("cannot read the disk cache"))?;
    let order = std::mem::take(&mut opened.order);
    let engine = Arc::new(Engine::new(config, snapshot, Arc::clone(&opened.space), opened.next_id));
    let generation = loader::begin(&engine);
    if opened.is_new {
        loader::end(&engine, generation);
    } else {
        loader::spawn(&engine, order, generation).map_err(|fault| fault.into_error(loader::NOT_STARTED))?;
    }
    let writer = Writer::new(Arc::clone(&engine), directory, opened);
    Ok((engine, writer))
}

impl Drop for DiskBackend {
    fn drop(&mut self) {
        self.engine.closed.open();
        self.engine.queue.close();
        // Bounded: a disk that hangs must not hang whoever drops the cache.
        let _ = self.finished.wait(CLOSE_WITHIN);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheBackend for DiskBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Disk
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.check_open()?;
        Ok(self.engine.lookup(key))
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.check_open()?;
        let bytes = record_bytes(key.as_str(), &entry.payload);
        budget::check_size(key, bytes, self.engine.config.limit_bytes)?;
        let is_stored = match self.place(bytes, true).await {
            Some(place) => self.engine.admit(key, Some(token), entry, place),
            None => false,
        };
        if is_stored {
            self.engine.counters.fills.add(1);
            Ok(FillOutcome::Stored)
        } else {
            self.engine.counters.fills_refused.add(1);
            Ok(FillOutcome::Refused)
        }
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.check_open()?;
        let bytes = record_bytes(key.as_str(), &entry.payload);
        budget::check_size(key, bytes, self.engine.config.limit_bytes)?;
        if let Some(place) = self.place(bytes, false).await {
            if self.engine.admit(key, None, entry, place) {
                return Ok(());
            }
            return Err(if self.engine.is_suspended() { self.engine.suspended() } else { Engine::closed() });
        }
        // A dropped write must not leave the value before it readable.
        self.engine.counters.errors.add(1);
        let _ = self.delete(key).await?;
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the disk cache's queue is full; {key} was not stored"),
        ))
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.check_open()?;
        let (ack, done) = oneshot::channel();
        let (at_once, is_queued) = self.engine.invalidate(what, ack);
        let counters = &self.engine.counters;
        let clears = what.iter().filter(|one| **one == Invalidation::Everything).count() as u64;
        counters.clears.add(clears);
        counters.invalidations.add(what.len() as u64 - clears);
        if !is_queued {
            return Err(Engine::closed());
        }
        match done.await.map_err(|_| self.unanswered())? {
            Ok(removed) => {
                let removed = at_once + removed;
                counters.invalidated_entries.add(removed);
                Ok(Invalidated::Applied { removed })
            }
            Err(error) => {
                counters.errors.add(1);
                Err(error)
            }
        }
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.check_open()?;
        Ok(self.engine.stats())
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        self.check_open()?;
        Ok(self.engine.find(key))
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        self.check_open()?;
        Ok(keys.iter().map(|key| self.engine.lookup(key)).collect())
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        let mut outcomes = Vec::with_capacity(fills.len());
        for Fill { key, token, entry } in fills {
            outcomes.push(self.fill(&key, token, entry).await?);
        }
        Ok(outcomes)
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        self.check_open()?;
        Ok(keys.iter().map(|key| self.engine.find(key)).collect())
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        for (key, entry) in entries {
            self.set(&key, entry).await?;
        }
        Ok(())
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.check_open()?;
        let (entry, cause) = self.engine.peek(key);
        let now = self.engine.now();
        Ok(Explanation {
            key: key.to_string(),
            group: key.group().to_owned(),
            backend: BackendKind::Disk,
            found: entry.is_some(),
            size_bytes: entry.as_ref().map(|entry| entry.payload.len() as u64),
            age_ms: entry.as_ref().map(|entry| millis(now.saturating_since(entry.stored_at))),
            expires_in_ms: entry.as_ref().and_then(|e| Some(millis(e.expires_at?.saturating_since(now)))),
            codec: entry.as_ref().map(|entry| entry.codec.name()),
            last_miss: cause,
        })
    }

    async fn health(&self) -> Health {
        let condition = self.engine.condition.lock().clone();
        match condition.cause {
            None => Health::ok(BackendKind::Disk, condition.since),
            Some(cause) => Health::degraded(BackendKind::Disk, condition.since, cause),
        }
    }

    async fn close(&self) -> Result<()> {
        self.engine.closed.open();
        self.engine.queue.close();
        self.finished.passed().await;
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
