//! [`Unopened`]: the store of an outage until its fallback store is open.

use async_trait::async_trait;
use cache_core::{
    BackendKind, CacheBackend, CacheKey, FillOutcome, FillToken, Invalidated, Invalidation, Lookup, NewEntry,
    Result,
};

/// A store that holds nothing: every lookup is a miss without a token, every fill is refused.
#[derive(Debug)]
pub(super) struct Unopened;

#[async_trait]
impl CacheBackend for Unopened {
    fn kind(&self) -> BackendKind {
        BackendKind::Fallback
    }

    async fn lookup(&self, _key: &CacheKey) -> Result<Lookup> {
        Ok(Lookup { entry: None, token: FillToken::never(), backend: self.kind() })
    }

    async fn fill(&self, _key: &CacheKey, _token: FillToken, _entry: NewEntry) -> Result<FillOutcome> {
        Ok(FillOutcome::Refused)
    }

    async fn set(&self, _key: &CacheKey, _entry: NewEntry) -> Result<()> {
        Ok(())
    }

    async fn invalidate(&self, _what: &[Invalidation]) -> Result<Invalidated> {
        Ok(Invalidated::Applied { removed: 0 })
    }
}
