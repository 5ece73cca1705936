//! [`Probe`]: a store under test, with the assertions of the laws.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::subject::{Opened, Promises, Subject};
use cache_core::{
    AtomicBackend, CacheBackend, CacheKey, CacheStats, Entry, Error, FillOutcome, FillToken, Invalidated,
    Invalidates, Invalidation, Lookup, ManualClock, NewEntry, Result,
};

/// Attempts of a call to a store that may fail, before the law gives up.
const TRIES: usize = 1000;
/// Attempts of a fill that a reliable store may refuse because it cannot keep up.
const FLOODED_TRIES: usize = 50;

/// An open store. Its `must_` methods require hits and successes of reliable stores only, but an old or a wrong value is a
/// failure of every store.
#[derive(Debug)]
pub struct Probe {
    /// The store itself.
    pub cache: Arc<dyn CacheBackend>,
    /// Its promises.
    pub promises: Promises,
    atomic: Option<Arc<dyn AtomicBackend>>,
    clock: Arc<ManualClock>,
    place: String,
}

impl Probe {
    /// Opens the subject's main store.
    pub async fn open(subject: &dyn Subject) -> Self {
        Self::open_at(subject, "main").await
    }

    /// Opens the store at `place`.
    pub async fn open_at(subject: &dyn Subject, place: &str) -> Self {
        let Opened { cache, atomic } = subject.open(place).await;
        Self {
            cache,
            atomic,
            promises: subject.promises(),
            clock: Arc::clone(subject.clock()),
            place: place.to_owned(),
        }
    }

    /// Closes this store and opens it again.
    pub async fn reopen(self, subject: &dyn Subject) -> Self {
        self.close().await;
        let Self { cache, atomic, place, .. } = self;
        drop((cache, atomic));
        Self::open_at(subject, &place).await
    }

    /// Crashes this store and opens it again.
    pub async fn crash(self, subject: &dyn Subject) -> Self {
        let Self { cache, atomic, place, .. } = self;
        subject.crash(&place, Opened { cache, atomic }).await;
        Self::open_at(subject, &place).await
    }

    /// Closes the store.
    pub async fn close(&self) {
        for _ in 0..TRIES {
            if self.accept(self.cache.close().await).is_some() {
                return;
            }
        }
        unreachable!("a store that fails at random did not close in {TRIES} tries");
    }

    /// The store's counters, if it has them.
    pub fn atomic(&self) -> Option<&dyn AtomicBackend> {
        self.atomic.as_deref()
    }

    /// Advances the clock by `duration`.
    pub fn wait(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// Looks `key` up.
    pub async fn lookup(&self, key: &CacheKey) -> Lookup {
        self.accept(self.cache.lookup(key).await).unwrap_or_else(|| Lookup {
            entry: None,
            token: FillToken::never(),
            backend: self.cache.kind(),
        })
    }

    /// The token of a lookup of `key`.
    pub async fn token(&self, key: &CacheKey) -> FillToken {
        self.lookup(key).await.token
    }

    /// Fills `key`; `None` when the call failed, as it may in an unreliable store.
    pub async fn fill(&self, key: &CacheKey, token: FillToken, entry: impl Value) -> Option<FillOutcome> {
        self.accept(self.cache.fill(key, token, entry.into_entry()).await)
    }

    /// Fills `key`, which a reliable store must accept.
    pub async fn must_store(&self, key: &CacheKey, token: FillToken, entry: impl Value) {
        let outcome = self.fill(key, token, entry).await;
        if self.promises.is_reliable() {
            assert_eq!(outcome, Some(FillOutcome::Stored), "the fill of {key} by a valid token");
        }
    }

    /// Fills `key`, which no store may accept.
    pub async fn must_refuse(&self, key: &CacheKey, token: FillToken, entry: impl Value) {
        let outcome = self.fill(key, token, entry).await;
        assert_ne!(outcome, Some(FillOutcome::Stored), "the fill of {key} by a revoked token");
    }

    /// Looks `key` up and fills it, and repeats this while an overloaded store refuses the fill.
    ///
    /// After a failure of an unreliable store the key is invalidated, so that its old value is gone in any case.
    pub async fn load(&self, key: &CacheKey, entry: impl Value) {
        let entry = entry.into_entry();
        for _ in 0..FLOODED_TRIES {
            let token = self.token(key).await;
            if self.fill(key, token, entry.clone()).await == Some(FillOutcome::Stored) {
                return;
            }
            if !self.promises.is_reliable() {
                self.invalidate(key).await;
                return;
            }
        }
        unreachable!("the fill of {key} by a valid token was refused {FLOODED_TRIES} times");
    }

    /// Sets `key`, and repeats this if the store may fail.
    pub async fn set(&self, key: &CacheKey, entry: impl Value) {
        let entry = entry.into_entry();
        for _ in 0..TRIES {
            if self.accept(self.cache.set(key, entry.clone()).await).is_some() {
                return;
            }
        }
        unreachable!("a store that fails at random did not set {key} in {TRIES} tries");
    }

    /// Invalidates `what`, and repeats this if the store may fail. Returns how many entries were removed.
    pub async fn invalidate(&self, what: &(impl Invalidates + ?Sized)) -> u64 {
        let what = what.invalidations();
        for _ in 0..TRIES {
            match self.accept(self.cache.invalidate(&what).await) {
                Some(Invalidated::Applied { removed } | Invalidated::Journaled { removed }) => {
                    return removed;
                }
                None => {}
            }
        }
        unreachable!("a store that fails at random did not invalidate {what:?} in {TRIES} tries");
    }

    /// Asserts that `key` is a hit with `payload`, or a miss in an unreliable store.
    pub async fn must_hit(&self, key: &CacheKey, payload: impl AsRef<[u8]>) -> Option<Entry> {
        let entry = self.lookup(key).await.entry;
        match &entry {
            Some(entry) => assert!(
                entry.payload == payload.as_ref(),
                "{key} is {}, not {}",
                shown(&entry.payload),
                shown(payload.as_ref())
            ),
            None => assert!(!self.promises.is_reliable(), "{key} is a miss, not {}", shown(payload.as_ref())),
        }
        entry
    }

    /// Asserts that `key` is a miss.
    pub async fn must_miss(&self, key: &CacheKey) {
        let entry = self.lookup(key).await.entry;
        assert!(
            entry.is_none(),
            "{key} is {}, not a miss",
            shown(&entry.map(|e| e.payload).unwrap_or_default())
        );
    }

    /// The store's statistics.
    pub async fn stats(&self) -> CacheStats {
        for _ in 0..TRIES {
            if let Some(stats) = self.accept(self.cache.stats().await) {
                return stats;
            }
        }
        unreachable!("a store that fails at random gave no statistics in {TRIES} tries");
    }

    /// Returns the value of `result`. Panics on an error of a reliable store.
    pub fn accept<T>(&self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                assert!(!self.promises.is_reliable(), "a reliable store failed: {error}: {error:?}");
                None
            }
        }
    }
}

/// Parses a key.
pub fn key(text: &str) -> CacheKey {
    CacheKey::parse(text).expect("laws write their keys in the canonical form")
}

/// Parses an invalidation, such as `group image:5`.
pub fn what(text: &str) -> Invalidation {
    text.parse::<Invalidation>()
        .map_err(|error: Error| error.to_string())
        .expect("laws write invalidations in their text form")
}

/// Makes `length` incompressible bytes that differ for every `seed`.
pub fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// A few bytes of a payload, for messages.
fn shown(payload: &[u8]) -> String {
    let mut text = format!("{} bytes ", payload.len());
    for byte in payload.iter().take(24) {
        write!(text, "{}", byte.escape_ascii()).expect("writing to a String cannot fail");
    }
    text
}

/// A value for a law to store: text, bytes, or an entry with all its fields.
pub trait Value {
    /// The entry to store.
    fn into_entry(self) -> NewEntry;
}

impl Value for &str {
    fn into_entry(self) -> NewEntry {
        NewEntry::new(self.to_owned())
    }
}

impl Value for Bytes {
    fn into_entry(self) -> NewEntry {
        NewEntry::new(self)
    }
}

impl Value for NewEntry {
    fn into_entry(self) -> NewEntry {
        self
    }
}
