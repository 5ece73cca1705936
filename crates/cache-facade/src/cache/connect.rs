//! From a configuration to a cache.

use std::sync::Arc;

use cache_core::Result;

use super::{Cache, CacheBuilder};
use crate::config::CacheConfig;
use crate::select;

impl Cache {
    /// Opens the cache that `config` asks for.
    ///
    /// Caches of one process over one directory share its store. A store that cannot be used makes a cache that keeps
    /// nothing, with a warning and a cause in [`health`](Self::health): a broken disk does not keep the application from
    /// starting.
    ///
    /// # Errors
    /// `Configuration` for settings that contradict each other or this build, and for a directory that is not this
    /// user's; `Locked` after 45 seconds when another process holds the directory; `Io` when it holds a cache and
    /// cannot be written: going on could make the next run serve old values.
    ///
    /// # Cancellation
    /// Nothing stays open.
    pub async fn connect(config: CacheConfig) -> Result<Self> {
        let selected = select::connect(&config).await?;
        let builder = CacheBuilder {
            atomic: selected.atomic.clone(),
            selected: Some(Arc::clone(&selected)),
            config,
            ..Self::builder(Arc::clone(&selected.backend))
        };
        Ok(builder.build())
    }

    /// Opens the cache that the environment asks for; see [`CacheConfig::from_env`].
    ///
    /// # Errors
    /// `Configuration` for settings that do not parse, and as for [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self> {
        Self::connect(CacheConfig::from_env()?).await
    }
}
