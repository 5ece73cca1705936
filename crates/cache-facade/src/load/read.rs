//! Reads of the backend: from the memory of this process where the value is at hand, else within the time budget.

use std::borrow::Cow;

use cache_core::{CacheKey, Entry, FillToken, Lookup, Result};

use super::engine::CacheEngine;
use crate::catch_panic::catch_panic_in;
use crate::observe::events::Operation;
use crate::rt;
use crate::time_budget::TimeBudget;

/// A batch of keys, of which some are at hand.
struct Batch<'k> {
    /// For each key, in their order, what is at hand.
    at_hand: Vec<Option<Lookup>>,
    /// The other keys.
    rest: Cow<'k, [CacheKey]>,
}

impl<'k> Batch<'k> {
    fn new(engine: &CacheEngine, keys: &'k [CacheKey]) -> Self {
        let at_hand: Vec<_> = keys.iter().map(|key| engine.at_hand(key)).collect();
        if at_hand.iter().all(Option::is_none) {
            return Self { at_hand, rest: Cow::Borrowed(keys) };
        }
        let rest = keys.iter().zip(&at_hand).filter(|(_, found)| found.is_none());
        let rest = rest.map(|(key, _)| key.clone()).collect();
        Self { at_hand, rest }
    }

    /// Joins what is at hand, as `of` takes it from the lookup, and the answers for the other keys, in the order of all keys.
    fn joined<T>(self, answers: Vec<Option<T>>, of: fn(Lookup) -> T) -> impl Iterator<Item = Option<T>> {
        let mut answers = answers.into_iter();
        self.at_hand.into_iter().map(move |found| found.map(of).or_else(|| answers.next().flatten()))
    }
}

impl CacheEngine {
    /// Finds the value of `key` in the memory of this process: no wait, and so neither a budget nor a duration to record.
    pub(crate) fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        let found = catch_panic_in(|| self.backend.at_hand(key));
        let found = found.inspect_err(|error| self.report(Operation::Lookup, key, error)).ok()?;
        found.filter(|found| found.entry.is_some())
    }

    /// Looks `key` up; a miss without a token after an error.
    pub(crate) async fn lookup(&self, key: &CacheKey, budget: &mut TimeBudget) -> Lookup {
        if let Some(found) = self.at_hand(key) {
            return found;
        }
        let found = self.call(Operation::Lookup, key, budget, self.backend.lookup(key)).await;
        found.unwrap_or_else(|| self.no_answer())
    }

    /// Reads the entry of `key` without a token; `None` after an error, too.
    pub(crate) async fn get(&self, key: &CacheKey) -> Option<Entry> {
        if let Some(found) = self.at_hand(key) {
            return found.entry;
        }
        self.call(Operation::Lookup, key, &mut TimeBudget::new(), self.backend.get(key)).await.flatten()
    }

    /// Looks `keys` up, in their order; a miss without a token for each that is not answered.
    pub(crate) async fn lookup_many(&self, keys: &[CacheKey], budget: &mut TimeBudget) -> Vec<Lookup> {
        let batch = Batch::new(self, keys);
        let found = self.in_parts(&batch.rest, budget, |part| self.backend.lookup_many(part)).await;
        let found = batch.joined(found, |found| found);
        found.map(|found| found.unwrap_or_else(|| self.no_answer())).collect()
    }

    /// Reads the entries of `keys` without tokens, in their order.
    pub(crate) async fn get_many(&self, keys: &[CacheKey]) -> Vec<Option<Entry>> {
        let batch = Batch::new(self, keys);
        let get = |part| self.backend.get_many(part);
        let found = self.in_parts(&batch.rest, &mut TimeBudget::new(), get).await;
        batch.joined(found, |found| found.entry).map(Option::flatten).collect()
    }

    fn no_answer(&self) -> Lookup {
        Lookup { entry: None, token: FillToken::never(), backend: self.kind() }
    }

    /// Calls the backend for parts of `keys`, in their order, with `None` for each key of a part that is not answered within
    /// the budget, which is renewed for each part. Two such parts in a row, or the first one, end it: the backend is
    /// unreachable.
    async fn in_parts<'k, T, F>(
        &self,
        keys: &'k [CacheKey],
        budget: &mut TimeBudget,
        call: impl Fn(&'k [CacheKey]) -> F,
    ) -> Vec<Option<T>>
    where
        F: Future<Output = Result<Vec<T>>>,
    {
        let mut found = Vec::with_capacity(keys.len());
        let (mut left, mut has_answered) = (keys, false);
        while let Some(first) = left.first() {
            let (part, rest) = self.part_size.split(left);
            let started = rt::now();
            let answers = self.call(Operation::Lookup, first, budget, call(part)).await;
            self.part_size.took(part.len(), rt::now().duration_since(started));
            match answers {
                // Answers of another number cannot be told apart.
                Some(answers) if answers.len() == part.len() => {
                    found.extend(answers.into_iter().map(Some));
                    has_answered = true;
                }
                _ if has_answered => {
                    found.extend(part.iter().map(|_| None));
                    has_answered = false;
                }
                _ => break,
            }
            left = rest;
            if !left.is_empty() {
                budget.renew();
            }
        }
        found
    }
}
