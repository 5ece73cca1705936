//! Batches: split by zone between the primary and the fallback store while some zones are away, and joined in order.

use std::borrow::Cow;
use std::sync::Arc;

use cache_core::{CacheBackend, CacheKey, Error, ErrorKind, Fill, FillOutcome, NewEntry, Result};

use super::router::{Route, Routes};
use super::{FallbackBackend, Primary};
use crate::durability::zones::ZoneSet;

/// A batch in two parts.
struct Split<T> {
    /// For each item, in order, whether its zone is away.
    is_away: Vec<bool>,
    away: Vec<T>,
    in_use: Vec<T>,
}

impl<T> Split<T> {
    fn new(items: impl IntoIterator<Item = T>, is_away: impl Fn(&T) -> bool) -> Self {
        let mut split = Self { is_away: Vec::new(), away: Vec::new(), in_use: Vec::new() };
        for item in items {
            let is_away = is_away(&item);
            split.is_away.push(is_away);
            if is_away { split.away.push(item) } else { split.in_use.push(item) }
        }
        split
    }
}

/// Joins the answers to the parts of a [`Split`] in the order of its items.
///
/// # Errors
/// `Unavailable` if a store gave too few answers.
fn joined<T>(is_away: &[bool], away: Vec<T>, in_use: Vec<T>) -> Result<Vec<T>> {
    let (mut away, mut in_use) = (away.into_iter(), in_use.into_iter());
    let answers = is_away.iter().map(|is_away| if *is_away { away.next() } else { in_use.next() });
    let answers: Option<Vec<_>> = answers.collect();
    answers.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the store did not answer for every key"))
}

fn zones_of<'a>(primary: &dyn Primary, keys: impl IntoIterator<Item = &'a CacheKey>) -> ZoneSet {
    keys.into_iter().map(|key| primary.zone_of(key.group())).collect()
}

impl FallbackBackend {
    /// Reads `keys` from the stores in use for them. Those of the primary's whose zone turns out to be away are read
    /// from the fallback store.
    pub(super) async fn read_many<'a, T, F>(
        &self,
        keys: &'a [CacheKey],
        call: impl Fn(Arc<dyn CacheBackend>, Cow<'a, [CacheKey]>) -> F + Send + Sync,
    ) -> Result<Vec<T>>
    where
        T: Send,
        F: Future<Output = Result<Vec<T>>> + Send,
    {
        let routes = self.router.routes()?;
        let away = routes.away();
        match self.read_parts(routes, keys, &call).await {
            Err(_) if self.router.is_away(|primary| zones_of(primary, keys) - away) => {
                self.read_parts(self.router.routes()?, keys, &call).await
            }
            outcome => outcome,
        }
    }

    async fn read_parts<'a, T, F>(
        &self,
        routes: Routes,
        keys: &'a [CacheKey],
        call: impl Fn(Arc<dyn CacheBackend>, Cow<'a, [CacheKey]>) -> F + Send + Sync,
    ) -> Result<Vec<T>>
    where
        T: Send,
        F: Future<Output = Result<Vec<T>>> + Send,
    {
        let away = routes.away();
        let zones = |primary: &dyn Primary| zones_of(primary, keys) - away;
        let (primary, losses, store) = match routes {
            Routes::One(Route::Fallback(store)) => return call(store, Cow::Borrowed(keys)).await,
            Routes::One(Route::Primary(primary, losses)) => {
                return self.router.watched(losses, zones, call(primary, Cow::Borrowed(keys))).await;
            }
            Routes::Both(primary, losses, store, _) => (primary, losses, store),
        };
        let is_away = |key: &CacheKey| away.contains(primary.zone_of(key.group()));
        let Split { is_away, away, in_use } = Split::new(keys.iter().cloned(), is_away);
        let (mut found_away, mut found_in_use) = (Vec::new(), Vec::new());
        if !away.is_empty() {
            found_away = call(store, Cow::Owned(away)).await?;
        }
        if !in_use.is_empty() {
            let found = self.router.watched(losses, zones, call(primary, Cow::Owned(in_use)));
            found_in_use = found.await?;
        }
        joined(&is_away, found_away, found_in_use)
    }

    /// Fills each key in the store in use for it.
    pub(super) async fn fill_parts(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        let (away, primary, losses) = match self.router.routes()? {
            Routes::One(Route::Fallback(_)) => return self.fill_each(fills).await,
            Routes::One(Route::Primary(primary, losses)) => (ZoneSet::EMPTY, primary, losses),
            Routes::Both(primary, losses, _, away) => (away, primary, losses),
        };
        let zones = zones_of(&*primary, fills.iter().map(|fill| &fill.key));
        if !zones.meets(away) {
            return self.router.watched(losses, |_| zones, primary.fill_many(fills)).await;
        }
        let is_away = |fill: &Fill| away.contains(primary.zone_of(fill.key.group()));
        let Split { is_away, away: fills_away, in_use } = Split::new(fills, is_away);
        let filled_away = self.fill_each(fills_away).await?;
        let mut filled_in_use = Vec::new();
        if !in_use.is_empty() {
            let filled = self.router.watched(losses, |_| zones - away, primary.fill_many(in_use));
            filled_in_use = filled.await?;
        }
        joined(&is_away, filled_away, filled_in_use)
    }

    async fn fill_each(&self, fills: Vec<Fill>) -> Result<Vec<FillOutcome>> {
        let mut outcomes = Vec::with_capacity(fills.len());
        for Fill { key, token, entry } in fills {
            outcomes.push(self.fill(&key, token, entry).await?);
        }
        Ok(outcomes)
    }

    /// Sets each key in the store in use for it.
    pub(super) async fn set_parts(&self, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        let (primary, losses, store, away) = match self.router.routes()? {
            Routes::One(Route::Fallback(store)) => return self.set_away(store, entries).await,
            Routes::One(Route::Primary(primary, losses)) => {
                let zones = zones_of(&*primary, entries.iter().map(|(key, _)| key));
                return self.router.watched(losses, |_| zones, primary.set_many(entries)).await;
            }
            Routes::Both(primary, losses, store, away) => (primary, losses, store, away),
        };
        let zones = zones_of(&*primary, entries.iter().map(|(key, _)| key)) - away;
        let is_away = |(key, _): &(CacheKey, NewEntry)| away.contains(primary.zone_of(key.group()));
        let split = Split::new(entries, is_away);
        if !split.away.is_empty() {
            self.set_away(store, split.away).await?;
        }
        if split.in_use.is_empty() {
            return Ok(());
        }
        self.router.watched(losses, |_| zones, primary.set_many(split.in_use)).await
    }

    async fn set_away(&self, store: Arc<dyn CacheBackend>, entries: Vec<(CacheKey, NewEntry)>) -> Result<()> {
        self.invalidate_keys(entries.iter().map(|(key, _)| key)).await?;
        let limited = |(key, entry)| Some((key, self.limited(entry)?));
        store.set_many(entries.into_iter().filter_map(limited).collect()).await
    }
}
