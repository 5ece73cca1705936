//! [`Probe`]: a store under test, with the assertions that laws are made of.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::subject::{Opened, Promises, Subject};
use cache_core::{
    AtomicBackend, CacheBackend, CacheKey, CacheStats, Entry, Error, FillOutcome, FillToken, Invalidated,
    Invalidates, Invalidation, Lookup, ManualClock, NewEntry, Result,
};

/// How often a call to a store that may fail is repeated before the law gives up.
const TRIES: usize = 1000;
/// How often a reliable store may refuse a fill because it cannot keep up.
const FLOODED_TRIES: usize = 50;

/// An open store. Its `must_` methods demand hits and successes of a reliable store only; what no store may do, an old
/// or a wrong value, they never let pass.
#[derive(Debug)]
pub struct Probe {
    /// The store itself.
    pub cache: Arc<dyn CacheBackend>,
    /// What it promises.
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

    /// Ends this store as the death of its process would, and opens it again.
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

    /// Lets `duration` pass.
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

    /// Fills `key`; `None` when a store that may fail did.
    pub async fn fill(&self, key: &CacheKey, token: FillToken, entry: impl Value) -> Option<FillOutcome> {
        self.accept(self.cache.fill(key, token, entry.into_entry()).await)
    }

    /// Fills `key`, which a reliable store must accept.
    pub async fn must_store(&self, key: &CacheKey, token: FillToken, entry: impl Value) {
        let outcome = self.fill(key, token, entry).await;
        if self.promises.is_reliable() {
            assert_eq!(outcome, Some(FillOutcome::Stored), "the fill of {key} by a token that stands");
        }
    }

    /// Fills `key`, which no store may accept.
    pub async fn must_refuse(&self, key: &CacheKey, token: FillToken, entry: impl Value) {
        let outcome = self.fill(key, token, entry).await;
        assert_ne!(outcome, Some(FillOutcome::Stored), "the fill of {key} by a token that was taken away");
    }

    /// Looks `key` up and fills it, again and again while a store that is flooded refuses.
    ///
    /// Where a store that may fail did, the key is invalidated: whatever it was before, it is not that afterwards.
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
        unreachable!("the fill of {key} by a token that stands was refused {FLOODED_TRIES} times");
    }

    /// Sets `key`, again and again if the store may fail.
    pub async fn set(&self, key: &CacheKey, entry: impl Value) {
        let entry = entry.into_entry();
        for _ in 0..TRIES {
            if self.accept(self.cache.set(key, entry.clone()).await).is_some() {
                return;
            }
        }
        unreachable!("a store that fails at random did not set {key} in {TRIES} tries");
    }

    /// Invalidates `what`, again and again if the store may fail, and says how many entries were removed.
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

    /// `key` must be a hit with `payload`; in a store that may forget, nothing else.
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

    /// `key` must be a miss.
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

    /// The value of `result`; an error is accepted of a store that may fail.
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

/// The key whose text is `text`.
pub fn key(text: &str) -> CacheKey {
    CacheKey::parse(text).expect("laws write their keys in the canonical form")
}

/// The invalidation whose text is `text`.
pub fn what(text: &str) -> Invalidation {
    text.parse::<Invalidation>()
        .map_err(|error: Error| error.to_string())
        .expect("laws write what they remove as journals do")
}

/// `length` bytes that look different for every `seed` and do not compress.
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

/// What a law stores: text, bytes, or an entry with all its fields.
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
