//! [`ChaosBackend`]: a wrapper that fails, forgets and yields at random, and [`Chaotic`], a subject of such backends.
//!
//! The contract allows all of this; the laws of truth and freshness must still hold.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::subject::{Keeping, Law, Opened, Promises, Subject};
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Error, ErrorKind, Explanation, Fill, FillOutcome,
    FillToken, Health, Invalidated, Invalidation, Lookup, ManualClock, NewEntry, Result,
};

/// The faults of a [`ChaosBackend`]: each a probability in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// A call fails without an effect. Default: 10.
    pub fail_before: u8,
    /// A call fails after it was carried out. Default: 10.
    pub fail_after: u8,
    /// An entry is not found. Default: 10.
    pub forget: u8,
    /// A call yields to other tasks. Default: 20.
    pub yields: u8,
}

impl Default for Faults {
    fn default() -> Self {
        Self { fail_before: 10, fail_after: 10, forget: 10, yields: 20 }
    }
}

/// A backend that passes calls on to another, with faults that depend only on the seed and the calls.
#[derive(Debug)]
pub struct ChaosBackend<B: CacheBackend + ?Sized> {
    inner: Arc<B>,
    faults: Faults,
    dice: AtomicU64,
}

impl<B: CacheBackend + ?Sized> ChaosBackend<B> {
    /// Wraps `inner`.
    pub fn new(inner: Arc<B>, faults: Faults, seed: u64) -> Self {
        Self { inner, faults, dice: AtomicU64::new(seed) }
    }

    /// Passes `call` on, or fails before or after it.
    async fn pass<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.rolls(self.faults.yields) {
            yield_once().await;
        }
        if self.rolls(self.faults.fail_before) {
            return Err(Error::new(ErrorKind::Unavailable, "chaos: the call was not carried out"));
        }
        let result = call.await;
        if self.rolls(self.faults.yields) {
            yield_once().await;
        }
        if self.rolls(self.faults.fail_after) {
            return Err(Error::new(
                ErrorKind::Timeout,
                "chaos: the call was carried out, its answer is lost",
            ));
        }
        result
    }

    fn forget(&self, entry: Option<Entry>) -> Option<Entry> {
        entry.filter(|_| !self.rolls(self.faults.forget))
    }

    fn rolls(&self, percent: u8) -> bool {
        // splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.dice.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % 100 < u64::from(percent)
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: CacheBackend + ?Sized> CacheBackend for ChaosBackend<B> {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn polled_within(&self) -> Option<Duration> {
        // A fault may delay a call without a watchdog.
        None
    }

    fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        let found = self.inner.at_hand(key)?;
        self.forget(found.entry.clone()).map(|_| found)
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        let found = self.pass(self.inner.lookup(key)).await?;
        Ok(Lookup { entry: self.forget(found.entry), ..found })
    }

    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        self.pass(self.inner.fill(key, token, entry)).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.pass(self.inner.set(key, entry)).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.pass(self.inner.invalidate(what)).await
    }

    async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        self.pass(self.inner.count_matches(what)).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.pass(self.inner.stats()).await
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Entry>> {
        Ok(self.forget(self.pass(self.inner.get(key)).await?))
    }

    async fn lookup_many(&self, keys: &[CacheKey]) -> Result<Vec<Lookup>> {
        let found = self.pass(self.inner.lookup_many(keys)).await?;
        Ok(found
            .into_iter()
            .map(|Lookup { entry, token, backend }| Lookup { entry: self.forget(entry), token, backend })
            .collect())
    }

    async fn fill_many(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        self.pass(self.inner.fill_many(fills)).await
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>> {
        let found = self.pass(self.inner.get_many(keys)).await?;
        Ok(found.into_iter().map(|entry| self.forget(entry)).collect())
    }

    async fn set_many(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.pass(self.inner.set_many(entries)).await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.pass(self.inner.explain(key)).await
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self) -> Result<()> {
        self.pass(self.inner.close()).await
    }
}

/// A subject whose stores have faults, for the laws that must hold in spite of them.
#[derive(Debug)]
pub struct Chaotic<S> {
    subject: S,
    seed: u64,
    /// The inner stores by place, so that a crash is one of the store itself.
    opened: Mutex<HashMap<String, Opened>>,
}

impl<S: Subject> Chaotic<S> {
    /// Wraps each store of `subject` in a [`ChaosBackend`] with the default faults.
    pub fn new(subject: S, seed: u64) -> Self {
        Self { subject, seed, opened: Mutex::new(HashMap::new()) }
    }

    fn take(&self, place: &str) -> Option<Opened> {
        self.opened.lock().remove(place)
    }
}

#[async_trait]
impl<S: Subject> Subject for Chaotic<S> {
    fn promises(&self) -> Promises {
        Promises { keeping: Keeping::AtWill, ..self.subject.promises() }
    }

    fn clock(&self) -> &Arc<ManualClock> {
        self.subject.clock()
    }

    async fn open(&self, place: &str) -> Opened {
        // The previous store of this place is closed by now, and must be dropped before it is opened again.
        drop(self.take(place));
        let store = self.subject.open(place).await;
        let chaos = ChaosBackend::new(Arc::clone(&store.cache), Faults::default(), self.seed);
        self.opened.lock().insert(place.to_owned(), store);
        // Without counters: an increment whose answer is lost cannot be repeated, so that no law holds.
        Opened::cache(chaos)
    }

    async fn crash(&self, place: &str, store: Opened) {
        drop(store);
        if let Some(store) = self.take(place) {
            self.subject.crash(place, store).await;
        }
    }

    fn run(&self, law: Law<'_>) {
        self.subject.run(law);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{block_on, key};
    use cache_core::MemoryBackend;

    /// The outcomes of a thousand lookups of a stored key.
    fn answers(seed: u64) -> Vec<&'static str> {
        let inner = Arc::new(MemoryBackend::new());
        block_on(inner.set(&key("a:b"), NewEntry::new("x"))).unwrap();
        let chaos = ChaosBackend::new(inner, Faults::default(), seed);
        let answer = |result: Result<Lookup>| match result {
            Ok(Lookup { entry: Some(_), .. }) => "hit",
            Ok(Lookup { entry: None, .. }) => "forgotten",
            Err(error) if error.kind() == ErrorKind::Unavailable => "not done",
            Err(_) => "answer lost",
        };
        (0..1_000).map(|_| answer(block_on(chaos.lookup(&key("a:b"))))).collect()
    }

    #[test]
    fn every_kind_of_fault_happens_and_most_calls_succeed() {
        let answers = answers(3);
        let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
        assert!(count("hit") > 500, "{answers:?}");
        for fault in ["forgotten", "not done", "answer lost"] {
            assert!(count(fault) > 30, "{fault}: {answers:?}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_faults() {
        assert_eq!(answers(3), answers(3));
        assert_ne!(answers(3), answers(4));
    }
}
