//! [`ChaosBackend`]: a wrapper that fails, forgets and dawdles at random, and [`Chaotic`], a subject full of them.
//!
//! Whatever it does is allowed by the contract: what must hold over it are the laws of truth and freshness.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::subject::{Keeping, Law, Opened, Promises, Subject};
use cache_core::{
    BackendKind, CacheBackend, CacheKey, CacheStats, Entry, Error, ErrorKind, Explanation, Fill, FillOutcome,
    FillToken, Health, Invalidated, Invalidation, Lookup, ManualClock, NewEntry, Result,
};

/// How much trouble a [`ChaosBackend`] makes: each a probability in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// A call fails and did nothing. Default: 10.
    pub fail_before: u8,
    /// A call fails and was carried out all the same. Default: 10.
    pub fail_after: u8,
    /// An entry that is there is not found. Default: 10.
    pub forget: u8,
    /// A call yields to other tasks before it goes on. Default: 20.
    pub dawdle: u8,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { fail_before: 10, fail_after: 10, forget: 10, dawdle: 20 }
    }
}

/// A backend that passes calls on to another and makes trouble on the way; the same seed and calls, the same trouble.
#[derive(Debug)]
pub struct ChaosBackend<B: CacheBackend + ?Sized> {
    inner: Arc<B>,
    trouble: Trouble,
    dice: AtomicU64,
}

impl<B: CacheBackend + ?Sized> ChaosBackend<B> {
    /// Trouble on the way to `inner`.
    pub fn new(inner: Arc<B>, trouble: Trouble, seed: u64) -> Self {
        Self { inner, trouble, dice: AtomicU64::new(seed) }
    }

    /// Passes `call` on, or fails before or after.
    async fn pass<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.rolls(self.trouble.dawdle) {
            yield_once().await;
        }
        if self.rolls(self.trouble.fail_before) {
            return Err(Error::new(ErrorKind::Unavailable, "chaos: the call was not carried out"));
        }
        let result = call.await;
        if self.rolls(self.trouble.dawdle) {
            yield_once().await;
        }
        if self.rolls(self.trouble.fail_after) {
            return Err(Error::new(
                ErrorKind::Timeout,
                "chaos: the call was carried out, its answer is lost",
            ));
        }
        result
    }

    fn forget(&self, entry: Option<Entry>) -> Option<Entry> {
        entry.filter(|_| !self.rolls(self.trouble.forget))
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

/// A subject whose stores make trouble: for the laws that must hold all the same.
#[derive(Debug)]
pub struct Chaotic<S> {
    subject: S,
    seed: u64,
    /// The stores behind the trouble, by their places, so that a crash is one of the store itself.
    opened: Mutex<HashMap<String, Opened>>,
}

impl<S: Subject> Chaotic<S> {
    /// The stores of `subject`, each behind a [`ChaosBackend`] with its default trouble.
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
        // What was opened here before is closed by now; it must be gone before it is opened again.
        drop(self.take(place));
        let store = self.subject.open(place).await;
        let chaos = ChaosBackend::new(Arc::clone(&store.cache), Trouble::default(), self.seed);
        self.opened.lock().insert(place.to_owned(), store);
        // Without counters: an increment whose answer is lost cannot be repeated, so that no law holds over it.
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

    /// What a thousand lookups of a stored key say, in short.
    fn answers(seed: u64) -> Vec<&'static str> {
        let inner = Arc::new(MemoryBackend::new());
        block_on(inner.set(&key("a:b"), NewEntry::new("x"))).unwrap();
        let chaos = ChaosBackend::new(inner, Trouble::default(), seed);
        let answer = |result: Result<Lookup>| match result {
            Ok(Lookup { entry: Some(_), .. }) => "hit",
            Ok(Lookup { entry: None, .. }) => "forgotten",
            Err(error) if error.kind() == ErrorKind::Unavailable => "not done",
            Err(_) => "answer lost",
        };
        (0..1_000).map(|_| answer(block_on(chaos.lookup(&key("a:b"))))).collect()
    }

    #[test]
    fn every_kind_of_trouble_happens_and_most_calls_succeed() {
        let answers = answers(3);
        let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
        assert!(count("hit") > 500, "{answers:?}");
        for trouble in ["forgotten", "not done", "answer lost"] {
            assert!(count(trouble) > 30, "{trouble}: {answers:?}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_trouble() {
        assert_eq!(answers(3), answers(3));
        assert_ne!(answers(3), answers(4));
    }
}
