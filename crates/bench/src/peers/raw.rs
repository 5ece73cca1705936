//! Raw redb as a [`Store`]: each write a durable commit, or a durable commit once a second.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::CacheKey;
use redb::Durability;

use super::store::{MEMORY, Place, Store};
use crate::Outcome;
use crate::case::{check, timed};
use crate::raw_redb::{Change, RawRedb};

struct Raw {
    redb: RawRedb,
    /// The time between two durable commits.
    durable_every: Duration,
    durable_at: Instant,
}

fn open_with(place: Place<'_>, durable_every: Duration) -> Outcome<Box<dyn Store>> {
    let redb = RawRedb::create(place.directory, MEMORY)?;
    Ok(Box::new(Raw { redb, durable_every, durable_at: Instant::now() }))
}

pub(super) fn open(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    open_with(place, Duration::ZERO)
}

pub(super) fn open_lazy(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    open_with(place, Duration::from_secs(1))
}

impl Raw {
    fn apply(&mut self, change: Change<'_>) -> Outcome<()> {
        let is_due = self.durable_at.elapsed() >= self.durable_every;
        let durability = if is_due { Durability::Immediate } else { Durability::None };
        self.redb.apply(&[change], durability)?;
        if is_due {
            self.durable_at = Instant::now();
        }
        Ok(())
    }
}

impl Store for Raw {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        timed(keys, |key| check(self.redb.get(key)?.map(|value| value.len()), expected))
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        timed(entries, |(key, value)| self.apply(Change::Put(key, value)))
    }

    fn settle(&mut self) -> Outcome<()> {
        self.redb.apply(&[], Durability::Immediate)
    }

    fn remove(&mut self, key: &CacheKey) -> Outcome<()> {
        self.apply(Change::Remove(key))
    }

    fn holds(&mut self, key: &CacheKey) -> Outcome<bool> {
        Ok(self.redb.get(key)?.is_some())
    }
}
