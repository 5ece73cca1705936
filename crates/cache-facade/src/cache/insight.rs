//! What a cache says about itself.

use cache_core::{CacheKey, CacheStats, Explanation, Health, MissCause, Result};

use super::Cache;
use crate::asked::asked;
use crate::patience;

impl Cache {
    /// How full and how good the store is; with its name spaces, whatever this view's scope. Without a cache all
    /// figures are zero.
    ///
    /// `errors` holds the trouble that callers did not hear of.
    ///
    /// # Errors
    /// `Unavailable` or `Closed`, when the store cannot say.
    ///
    /// # Cost
    /// O(1): no scan.
    pub async fn stats(&self) -> Result<CacheStats> {
        if !self.shared.enabled {
            return Ok(CacheStats::empty(self.shared.kind()));
        }
        let mut stats = asked(self.shared.backend.stats()).await?;
        stats.errors = stats.errors.saturating_add(self.shared.trouble.errors());
        Ok(stats)
    }

    /// Shows the figures of [`stats`](Self::stats) as metrics: call it before an exporter is read. The counters and
    /// histograms of loads need no such call. In a build without the feature `metrics` it does nothing.
    ///
    /// A store that cannot say within 250 ms leaves the figures as they were.
    pub async fn show_stats(&self) {
        if self.shared.meter.shows()
            && let Some(Ok(stats)) = patience::wait(Box::pin(self.stats())).await
        {
            self.shared.meter.show(&stats);
        }
    }

    /// The state of the cache: which store was configured, which one answers, and why.
    pub async fn health(&self) -> Health {
        match &self.shared.selected {
            Some(selected) => selected.health().await,
            None => self.shared.backend.health().await,
        }
    }

    /// Where `key` stands: size, age, expiry, and why its last lookup missed.
    ///
    /// # Errors
    /// `InvalidKey` when the scope makes the key too long, else as the store says.
    pub async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        let key = self.place(key)?;
        let mut explanation = asked(self.shared.backend.explain(&key)).await?;
        if explanation.found && self.shared.strangers.has_seen(&key) {
            explanation.last_miss = Some(MissCause::ShapeChanged);
        }
        Ok(explanation)
    }

    /// Writes what is pending and lets go of files and connections. Later reads are misses, later changes are
    /// refused before they are committed; closing twice is no error.
    ///
    /// Every view and clone of this cache is closed with it. Changes that are under way are waited for, 5 seconds at
    /// most; what they could not invalidate is made up for at the next start, which waits until their commits have ended:
    /// until then the cache directory stays locked.
    ///
    /// # Errors
    /// As the store says; it is closed all the same.
    pub async fn close(&self) -> Result<()> {
        self.shared.changes.settle().await;
        if let Some(selected) = &self.shared.selected {
            return selected.close().await;
        }
        let closed = self.shared.backend.close().await;
        self.shared.journal.close().await;
        closed
    }
}
