//! [`NullBackend`]: caching switched off.

use async_trait::async_trait;

use crate::backend::CacheBackend;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::entry::{BackendKind, FillOutcome, FillToken, Invalidated, Lookup, NewEntry};
use crate::epochs::Epochs;
use crate::error::{Error, ErrorKind, Result};
use crate::health::Health;
use crate::invalidation::{EpochScope, Invalidation};
use crate::key::CacheKey;
use crate::stats::CacheStats;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A store that keeps nothing.
///
/// It issues tokens nevertheless: concurrent lookups of one key get equal tokens, so that their callers share a load, and
/// an invalidation revokes them, so that a later caller does not join an older load. Every fill is refused, and every
/// figure is zero.
#[derive(Debug)]
pub struct NullBackend {
    epochs: Epochs,
    since: Timestamp,
    closed: AtomicBool,
}

impl NullBackend {
    /// Makes a store that keeps nothing.
    pub fn new() -> Self {
        Self { epochs: Epochs::new(), since: SystemClock.now(), closed: AtomicBool::new(false) }
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the cache was closed; open a new one"));
        }
        Ok(())
    }
}

impl Default for NullBackend {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl CacheBackend for NullBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Null
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.check_open()?;
        Ok(Lookup { entry: None, token: self.epochs.token(key), backend: self.kind() })
    }

    async fn fill(&self, _key: &CacheKey, _token: FillToken, _entry: NewEntry) -> Result<FillOutcome> {
        self.check_open()?;
        Ok(FillOutcome::Refused)
    }

    async fn set(&self, key: &CacheKey, _entry: NewEntry) -> Result<()> {
        self.check_open()?;
        self.epochs.advance(EpochScope::Group(key.group()));
        Ok(())
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.check_open()?;
        for what in what {
            self.epochs.advance(what.epoch_scope());
        }
        Ok(Invalidated::Applied { removed: 0 })
    }

    async fn count_matches(&self, _what: &Invalidation) -> Result<Option<u64>> {
        self.check_open()?;
        Ok(Some(0))
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.check_open()?;
        Ok(CacheStats::empty(BackendKind::Null))
    }

    async fn health(&self) -> Health {
        Health::ok(BackendKind::Null, self.since)
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::CacheBackendExt;

    fn key() -> CacheKey {
        CacheKey::builder("image", 5).part("metadata").build().unwrap()
    }

    #[tokio::test]
    async fn a_fill_by_a_valid_token_is_refused_and_nothing_is_found() {
        let null = NullBackend::new();
        let token = null.lookup(&key()).await.unwrap().token;
        assert!(!token.is_never());
        assert_eq!(null.fill(&key(), token, NewEntry::new("x")).await.unwrap(), FillOutcome::Refused);
        null.set(&key(), NewEntry::new("x")).await.unwrap();
        assert_eq!(null.get(&key()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn callers_share_a_token_until_an_invalidation() {
        let null = NullBackend::new();
        let token = async || null.lookup(&key()).await.unwrap().token;
        let before = token().await;
        assert_eq!(token().await, before);
        let outcome = null.invalidate(&[Invalidation::Group(key().to_group())]).await.unwrap();
        assert_eq!(outcome, Invalidated::Applied { removed: 0 });
        assert_ne!(token().await, before);
    }

    #[tokio::test]
    async fn all_figures_are_zero_and_the_name_is_none() {
        let null = NullBackend::new();
        null.get(&key()).await.unwrap();
        let _ = null.clear().await.unwrap();
        let stats = null.stats().await.unwrap();
        assert_eq!(stats, CacheStats::empty(BackendKind::Null));
        assert_eq!(stats.backend.as_str(), "none");
    }
}
