//! [`MemoryBackend`]: the reference implementation of the contract, in the memory of this process.

mod counters;
mod entries;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use self::counters::Counters;
use self::entries::{Entries, Removed, cost};
use crate::backend::{AtomicBackend, CacheBackend};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::entry::{BackendKind, FillOutcome, FillToken, Invalidated, Lookup, NewEntry};
use crate::epochs::Epochs;
use crate::error::{Error, ErrorKind, Result};
use crate::family_counters::{FamilyCounters, FamilyNames};
use crate::health::{Explanation, Health, MissCause};
use crate::invalidation::{EpochScope, Invalidation};
use crate::key::CacheKey;
use crate::miss_log::MissLog;
use crate::stats::{CacheStats, FamilyStats, MEGABYTE};
use crate::sync::{Mutex, MutexGuard};

/// A store in the memory of this process: for tests, for small applications, and as the model for other stores.
///
/// All entries are under one lock and in exact order of last use. Every operation costs O(log n); an invalidation of a
/// group, of a deeper prefix or of a glob with a literal prefix costs O(matches), any other pattern a scan.
///
/// # Space
/// An entry costs its payload, its key and 256 bytes. The sum never exceeds the limit; expired entries are removed
/// first, then the least recently used. One entry may cost an eighth of the limit at most. Counters and claims of
/// [`AtomicBackend`] have another eighth of the limit besides.
///
/// ```
/// # mod cache_facade { pub mod backend { pub use cache_core::*; } }
/// use cache_facade::backend::MemoryBackend;
///
/// let backend = MemoryBackend::new().limit_bytes(16 * 1_048_576);
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
    entries: Entries,
    counters: Counters,
    misses: MissLog,
    /// Counts what the families do not.
    stats: CacheStats,
    family_names: FamilyNames,
    families: FamilyCounters,
    closed: bool,
}

impl MemoryBackend {
    /// Makes a store of 64 MiB with the system's clock.
    pub fn new() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            limit_bytes: 64 * MEGABYTE,
            since: SystemClock.now(),
            epochs: Epochs::new(),
            state: Mutex::new(State::default()),
        }
    }

    /// Sets the limit of its space, before anything is stored. Default: 64 MiB.
    #[must_use]
    pub fn limit_bytes(self, limit_bytes: u64) -> Self {
        Self { limit_bytes, ..self }
    }

    /// Sets the clock, before anything is stored. Default: [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { since: clock.now(), clock, ..self }
    }

    /// Locks the state, unless the store was closed.
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
            state.stats.errors += 1;
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
    /// Stores the entry, after making room: expired entries go first, then the least recently used.
    fn store(&mut self, key: &CacheKey, entry: NewEntry, now: Timestamp, limit_bytes: u64) {
        self.remove_expired(now);
        let entry = entry.stored_at(now);
        // The replaced entry goes first: no other entry has to make room for space that becomes free anyway.
        if let Some(replaced) = self.entries.remove(key.as_str()) {
            self.uncount(&replaced);
        }
        let cost = cost(key, entry.payload.len());
        // An entry costs an eighth of the limit at most, so that the loop ends with room for it.
        while self.entries.bytes().saturating_add(cost) > limit_bytes {
            let Some(evicted) = self.entries.remove_oldest() else { break };
            self.stats.evictions += 1;
            self.removed(&evicted, MissCause::Evicted);
        }
        let family = self.family(key);
        family.count += 1;
        family.bytes += cost;
        self.entries.insert(key.clone(), entry);
    }

    fn remove_expired(&mut self, now: Timestamp) {
        while let Some(expired) = self.entries.remove_expired(now) {
            self.stats.expirations += 1;
            self.removed(&expired, MissCause::Expired);
        }
    }

    fn invalidate(&mut self, what: &Invalidation) -> u64 {
        match what {
            Invalidation::Everything => self.stats.clears += 1,
            Invalidation::Key(_) | Invalidation::Group(_) | Invalidation::Pattern(_) => {
                self.stats.invalidations += 1;
            }
        }
        let removed = self.entries.remove_matches(what);
        for entry in &removed {
            self.removed(entry, MissCause::Invalidated);
        }
        self.stats.invalidated_entries += removed.len() as u64;
        removed.len() as u64
    }

    fn removed(&mut self, entry: &Removed, cause: MissCause) {
        self.uncount(entry);
        self.misses.removed(MissLog::hash(&entry.key), cause);
    }

    fn uncount(&mut self, entry: &Removed) {
        let family = self.family(&entry.key);
        family.count -= 1;
        family.bytes -= entry.bytes;
    }

    fn family(&mut self, key: &CacheKey) -> &mut FamilyStats {
        self.families.of(self.family_names.id(key.family()))
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
        state.remove_expired(now);
        let entry = state.entries.touch(key.as_str(), now).cloned();
        if entry.is_some() {
            state.family(key).hits += 1;
        } else {
            state.family(key).misses += 1;
            state.misses.missed(MissLog::hash(key), key, None);
        }
        // Read under the lock of the entry, so that the token is not newer than the entry.
        Ok(Lookup { entry, token: self.epochs.token(key), backend: self.kind() })
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        let mut state = self.open()?;
        self.check_size(&mut state, key, &entry)?;
        // Checked under the lock that also covers the insertion, and that an invalidation holds while it bumps and removes.
        if !self.epochs.is_valid(key, token) {
            state.stats.fills_refused += 1;
            state.misses.removed(MissLog::hash(key), MissCause::Refused);
            return Ok(FillOutcome::Refused);
        }
        state.store(key, entry, self.clock.now(), self.limit_bytes);
        state.stats.fills += 1;
        Ok(FillOutcome::Stored)
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        let mut state = self.open()?;
        self.check_size(&mut state, key, &entry)?;
        self.epochs.advance(EpochScope::Group(key.group()));
        state.store(key, entry, self.clock.now(), self.limit_bytes);
        Ok(())
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        let mut state = self.open()?;
        state.remove_expired(self.clock.now());
        let mut removed = 0;
        for what in what {
            self.epochs.advance(what.epoch_scope());
            removed += state.invalidate(what);
        }
        Ok(Invalidated::Applied { removed })
    }

    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        let mut state = self.open()?;
        state.remove_expired(self.clock.now());
        Ok(Some(state.entries.matching(what).len() as u64))
    }

    async fn stats(&self) -> Result<CacheStats> {
        let mut state = self.open()?;
        // Each entry expires once, so that this is O(1) for each that was stored.
        state.remove_expired(self.clock.now());
        let FamilyStats { hits, misses, count, bytes } = state.families.total();
        let families = state.families.named(&state.family_names);
        Ok(CacheStats { backend: BackendKind::Memory, count, families, ..state.stats.clone() }
            .with_size(bytes, self.limit_bytes)
            .with_lookups(hits, misses))
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let state = self.open()?;
        let now = self.clock.now();
        let entry = state.entries.peek(key.as_str()).filter(|entry| entry.is_live(now));
        let last_miss = state.misses.last_miss(MissLog::hash(key));
        Ok(Explanation { last_miss, ..Explanation::of(key, BackendKind::Memory, entry, now) })
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
        self.open()?.counters.increment(key, by, self.limit_bytes / 8)
    }

    async fn add(&self, key: &CacheKey, value: Bytes) -> Result<bool> {
        self.open()?.counters.add(key, value, self.limit_bytes / 8)
    }

    async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.open()?.counters.reset(key);
        Ok(())
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The state holds values.
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
