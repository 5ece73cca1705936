//! [`Primary`]: the shared store as the fallback sees it, and [`Connector`]: how it is reached the first time.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{AtomicBackend, CacheBackend, Result};

/// A store that several instances share and that may be away.
#[async_trait]
pub(crate) trait Primary: CacheBackend + AtomicBackend {
    /// Whether it may be used now.
    ///
    /// # Errors
    /// Whatever keeps it from being used.
    async fn probe(&self) -> Result<()>;

    /// Whether it holds anything, of this process or of others.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    async fn is_in_use(&self) -> Result<bool> {
        Ok(self.stats().await?.count > 0)
    }
}

/// Connects to a store that may be away.
#[async_trait]
pub(crate) trait Connector: Debug + Send + Sync + 'static {
    /// Connects for the first time; a store that was reached once connects anew by itself.
    ///
    /// # Errors
    /// Whatever keeps it from being used.
    async fn connect(&self) -> Result<Arc<dyn Primary>>;

    /// Called when the store has been used for the last time.
    fn ended(&self);
}
