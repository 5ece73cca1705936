//! [`MemoryBackend`]: the reference implementation of the contract, in the memory of this process.

mod atoms;
mod misses;
mod shelf;
mod tally;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::atoms::Atoms;
use self::misses::Misses;
use self::shelf::{Gone, Shelf, cost};
use self::tally::Tally;
use crate::backend::{AtomicBackend, CacheBackend};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::entry::{BackendKind, FillOutcome, FillToken, Invalidated, Lookup, NewEntry};
use crate::epochs::Epochs;
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Explanation, Health, MissCause};
use crate::invalidation::{EpochScope, Invalidation};
use crate::key::CacheKey;
use crate::stats::{CacheStats, MEGABYTE};
use crate::sync::{Mutex, MutexGuard};

/// A store in the memory of this process: for tests, for small applications, and as the model of what others promise.
///
/// It keeps an exact least-recently-used order over all entries under one lock: right before fast. Every operation
/// costs O(log n); an invalidation of a group, of a deeper prefix or of a glob with a literal beginning costs
/// O(matches), one without a scan.
///
/// # Space
/// An entry costs its payload, its key and 256 bytes for its places in the maps. The sum never exceeds the limit;
/// expired entries make room first, then the least recently used. One entry may cost an eighth of the limit at most.
/// Counters and claims of [`AtomicBackend`] stand beside it, bounded by another eighth of the limit.
///
/// ```
/// use cache_core::MemoryBackend;
///
/// let backend = MemoryBackend::with_limit(16 * 1_048_576);
/// ```
pub struct MemoryBackend {
    clock: Arc<dyn Clock>,
    limit_bytes: u64,
    since: Timestamp,
    epochs: Epochs,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shelf: Shelf,
    misses: Misses,
    tally: Tally,
    atoms: Atoms,
    closed: bool,
}

impl MemoryBackend {
    /// A store of 64 MiB on the system's clock.
    pub fn new() -> Self {
        Self::with_limit(64 * MEGABYTE)
    }

    /// A store of `limit_bytes` on the system's clock.
    pub fn with_limit(limit_bytes: u64) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            limit_bytes,
            since: SystemClock.now(),
            epochs: Epochs::new(),
            state: Mutex::new(State::default()),
        }
    }

    /// The same store, still empty, on another clock. Default: [`SystemClock`].
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { since: clock.now(), clock, ..self }
    }

    /// The state, unless the store was closed.
    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the memory cache was closed; open a new one"));
        }
        Ok(state)
    }

    fn check_size(&self, state: &mut State, key: &CacheKey, entry: &NewEntry) -> Result<()> {
        let (cost, most) = (cost(key, entry.payload.len()), self.limit_bytes / 8);
        if cost > most {
            state.tally.errors += 1;
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the value of {key} costs {cost} bytes; one entry may cost {most}, an eighth of the limit"
                ),
            ));
        }
        Ok(())
    }
}

impl State {
    /// Puts the entry in, after making room: expired entries first, then the least recently used.
    fn store(&mut self, key: &CacheKey, entry: NewEntry, now: Timestamp, limit_bytes: u64) {
        self.drop_expired(now);
        let entry = entry.stored_at(now);
        // What it replaces goes first, so that nobody else makes room for space that becomes free anyway.
        if let Some(old) = self.shelf.take(key.as_str()) {
            self.tally.removed(&old);
        }
        let cost = cost(key, entry.payload.len());
        // An entry costs an eighth of the limit at most, so that the loop ends with room for it.
        while self.shelf.bytes().saturating_add(cost) > limit_bytes {
            let Some(gone) = self.shelf.take_least_recent() else { break };
            self.tally.removed(&gone);
            self.tally.evictions += 1;
            self.misses.gone(&gone.key, MissCause::Evicted);
        }
        self.misses.stored(key);
        self.tally.added(key, cost);
        self.shelf.put(key.clone(), entry);
    }

    fn drop_expired(&mut self, now: Timestamp) {
        while let Some(gone) = self.shelf.take_expired(now) {
            self.expired(&gone);
        }
    }

    fn expired(&mut self, gone: &Gone) {
        self.tally.removed(gone);
        self.tally.expirations += 1;
        self.misses.gone(&gone.key, MissCause::Expired);
    }

    fn remove(&mut self, what: &Invalidation) -> u64 {
        match what {
            Invalidation::Everything => self.tally.clears += 1,
            Invalidation::Key(_) | Invalidation::Group(_) | Invalidation::Pattern(_) => {
                self.tally.invalidations += 1;
            }
        }
        let gone = self.shelf.take_matches(what);
        for gone in &gone {
            self.tally.removed(gone);
            self.misses.gone(&gone.key, MissCause::Invalidated);
        }
        let removed = gone.len() as u64;
        self.tally.invalidated_entries += removed;
        removed
    }
}

#[async_trait]
impl CacheBackend for MemoryBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Memory
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let mut state = self.open()?;
        let now = self.clock.now();
        if let Some(gone) = state.shelf.take_if_expired(key.as_str(), now) {
            state.expired(&gone);
        }
        let entry = state.shelf.touch(key.as_str(), now).cloned();
        state.tally.looked_up(key, entry.is_some());
        if entry.is_none() {
            state.misses.missed(key);
        }
        // Read under the same lock as the entry: nothing came between the two.
        Ok(Lookup { entry, token: self.epochs.token(key), backend: self.kind() })
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        let mut state = self.open()?;
        self.check_size(&mut state, key, &entry)?;
        // Checked under the lock under which it is inserted, and which an invalidation holds while it bumps and removes.
        if !self.epochs.stands(key, token) {
            state.tally.fills_refused += 1;
            state.misses.refused(key);
            return Ok(FillOutcome::Refused);
        }
        state.store(key, entry, self.clock.now(), self.limit_bytes);
        state.tally.fills += 1;
        Ok(FillOutcome::Stored)
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        let mut state = self.open()?;
        self.check_size(&mut state, key, &entry)?;
        self.epochs.bump(EpochScope::Group(key.group()));
        state.store(key, entry, self.clock.now(), self.limit_bytes);
        Ok(())
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let mut state = self.open()?;
        state.drop_expired(self.clock.now());
        let mut removed = 0;
        for what in what {
            self.epochs.bump(what.epoch_scope());
            removed += state.remove(what);
        }
        Ok(Invalidated::Applied { removed })
    }

    async fn stats(&self) -> Result<CacheStats> {
        let mut state = self.open()?;
        // Each entry expires once, so that this stays O(1) for each that was stored.
        state.drop_expired(self.clock.now());
        Ok(state.tally.stats(state.shelf.bytes(), state.shelf.count(), self.limit_bytes))
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let state = self.open()?;
        let now = self.clock.now();
        let entry = state.shelf.peek(key.as_str()).filter(|entry| entry.is_live(now));
        Ok(Explanation {
            key: key.as_str().to_owned(),
            group: key.group().to_owned(),
            backend: BackendKind::Memory,
            found: entry.is_some(),
            size_bytes: entry.map(|entry| entry.payload.len() as u64),
            age_ms: entry.map(|entry| millis(now.saturating_since(entry.stored_at))),
            expires_in_ms: entry.and_then(|entry| Some(millis(entry.expires_at?.saturating_since(now)))),
            codec: entry.map(|entry| entry.codec.name()),
            last_miss: state.misses.last(key),
        })
    }

    async fn health(&self) -> Health {
        match self.open() {
            Ok(_) => Health::ok(BackendKind::Memory, self.since),
            Err(closed) => Health::degraded(BackendKind::Memory, self.since, closed.to_string()),
        }
    }

    async fn close(&self) -> Result<()> {
        *self.state.lock() = State { closed: true, ..State::default() };
        Ok(())
    }
}

#[async_trait]
impl AtomicBackend for MemoryBackend {
    async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.open()?.atoms.increment(key, by, self.limit_bytes / 8)
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        self.open()?.atoms.add(key, value, self.limit_bytes / 8)
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.open()?.atoms.reset(key);
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the state: it holds values.
        f.debug_struct("MemoryBackend")
            .field("limit_bytes", &self.limit_bytes)
            .field("epochs", &self.epochs)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let backend = MemoryBackend::new();
        let key = CacheKey::builder("a", "b").build().unwrap();
        backend.state.lock().store(&key, NewEntry::new("secret"), SystemClock.now(), 1 << 20);
        assert!(!format!("{backend:?}").contains("secret"));
    }
}
