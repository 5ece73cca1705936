//! Statistics, health and closing of a cache.

use cache_core::{CacheKey, CacheStats, Explanation, Health, MissCause, Result};

use super::Cache;
use crate::catch_panic::catch_panic;
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
