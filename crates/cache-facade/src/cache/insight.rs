//! Statistics, health and closing of a cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use cache_core::{CacheKey, CacheStats, Explanation, Health, Invalidation, MissCause, Result};

use super::Cache;
use crate::catch_panic::catch_panic;
use crate::doctor::{self, Report};
use crate::observe::feed::{CacheEvents, InvalidationEvent};
use crate::observe::loads::LoadStats;
use crate::observe::metrics::Metrics;
use crate::time_budget::TimeBudget;

impl Cache {
    /// Returns the statistics of the backend, for all scopes. With caching switched off all figures are zero.
    ///
    /// `errors` counts the errors that no caller got, too.
    ///
    /// # Errors
    /// `Unavailable` or `Closed`, where the backend has none.
    ///
    /// # Cost
    /// O(1): no scan.
    pub async fn stats(&self) -> Result<CacheStats> {
        if !self.engine.enabled {
            return Ok(CacheStats::empty(self.engine.kind()));
        }
        let mut stats = catch_panic(self.engine.backend.stats()).await?;
        stats.errors = stats.errors.saturating_add(self.engine.errors.errors());
        Ok(stats)
    }

    /// Sets the metrics of [`stats`](Self::stats): call it before the exporter is read. The counters and histograms of loads
    /// need no such call. In a build without the feature `metrics` it does nothing.
    ///
    /// A backend that does not answer within 250 ms leaves them as they were.
    pub async fn show_stats(&self) {
        if !Metrics::ENABLED {
            return;
        }
        let read = Box::pin(async { (self.stats().await, self.health().await.near) });
        if let Some((Ok(stats), near)) = TimeBudget::new().wait(&*self.engine.backend, read).await {
            self.engine.metrics.show(&stats, near.map(|near| near.sessions));
        }
    }

    /// Returns the state of the cache: the configured backend, the one that answers, and why.
    pub async fn health(&self) -> Health {
        match &self.engine.selected {
            Some(selected) => selected.health().await,
            None => self.engine.backend.health().await,
        }
    }

    /// Returns figures of loads by key family, for all scopes: the first 32 families of this process by name, the rest as
    /// `other`.
    pub fn load_stats(&self) -> BTreeMap<String, LoadStats> {
        self.engine.loads.named()
    }

    /// Begins to receive events: invalidations and refused fills of all scopes, as this process asks for them. Invalidations by
    /// other instances, and those that are replayed after an outage, are not among them.
    ///
    /// # Cost
    /// An event costs its receivers a copy of a few words. Without a receiver nothing is sent.
    pub fn events(&self) -> CacheEvents {
        self.engine.feed.subscribe()
    }

    /// Returns the latest invalidations that this process asked for, in all scopes, the oldest first: at most 256, with at
    /// most 1,024 keys, groups and patterns together.
    pub fn recent_invalidations(&self) -> Vec<Arc<InvalidationEvent>> {
        self.engine.feed.remembered()
    }

    /// Returns the latest of the [`recent_invalidations`](Self::recent_invalidations) that removed `key`, or would have if it
    /// had been there.
    ///
    /// # Errors
    /// `InvalidKey` when the scope makes the key too long.
    pub fn last_invalidation(&self, key: &CacheKey) -> Result<Option<Arc<InvalidationEvent>>> {
        let key = self.scoped_key(key)?;
        let remembered = self.recent_invalidations();
        Ok(remembered.into_iter().rev().find(|event| event.outcome.is_ok() && event.matches(key.as_str())))
    }

    /// Counts the entries that an invalidation of `what` would remove now; `None` where the backend cannot tell. Removes nothing.
    ///
    /// # Errors
    /// Those of the backend.
    ///
    /// # Cancellation
    /// The count ends.
    ///
    /// # Cost
    /// O(matches) for a key or a group, on disk also for a pattern with a literal prefix; else a scan. With Redis the count of
    /// several groups is approximate, and takes as long as its scan.
    pub async fn count_matches(&self, what: &Invalidation) -> Result<Option<u64>> {
        let mut total = Some(0);
        for what in self.scoped_invalidations(vec![what.clone()]) {
            let count = catch_panic(self.engine.backend.count_matches(&what)).await?;
            total = total.zip(count).map(|(total, count)| total + count);
        }
        Ok(total)
    }

    /// Checks this cache while it runs: its state and errors, and what [`diagnose`](crate::diagnose) checks where it was opened
    /// from a configuration.
    ///
    /// # Cost
    /// As for [`diagnose`](crate::diagnose).
    pub async fn diagnose(&self) -> Report {
        let mut report = doctor::running(&self.health().await, self.stats().await.as_ref().ok());
        if self.engine.selected.is_some() {
            report.checks.extend(doctor::diagnose(&self.engine.config).await.checks);
        }
        report
    }

    /// Explains the state of `key`: size, age, expiry, and why its last lookup missed.
    ///
    /// # Errors
    /// `InvalidKey` when the scope makes the key too long, and those of the backend.
    pub async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let key = self.scoped_key(key)?;
        let mut explanation = catch_panic(self.engine.backend.explain(&key)).await?;
        if explanation.found && self.engine.type_mismatches.contains(&key) {
            explanation.last_miss = Some(MissCause::ShapeChanged);
        }
        Ok(explanation)
    }

    /// Writes pending entries and releases files and connections. Later reads are misses, later changes are refused before
    /// they are committed; closing twice is no error.
    ///
    /// Every view and clone of this cache is closed with it. Running changes are waited for, 5 seconds at most. Those that
    /// could not be invalidated are replayed at the next start, which waits until their commits have ended: until then the
    /// cache directory stays locked.
    ///
    /// # Errors
    /// Those of the backend; it is closed all the same.
    pub async fn close(&self) -> Result<()> {
        self.engine.changes.settle().await;
        if let Some(selected) = &self.engine.selected {
            return selected.close().await;
        }
        let closed = self.engine.backend.close().await;
        self.engine.journal.close().await;
        closed
    }
}
