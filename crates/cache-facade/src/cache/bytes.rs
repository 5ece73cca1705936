//! Bytes that are stored as they are.

use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheKey, NewEntry, Result};

use super::Cache;
use crate::form::Plain;

impl Cache {
    /// The bytes stored for `key`; they are not copied. Trouble is a miss and an event in the log.
    pub async fn get_bytes(&self, key: &CacheKey) -> Option<Bytes> {
        let key = self.readable(key)?;
        let entry = self.shared.look(&key).await;
        self.shared.hit(Plain, &key, entry)
    }

    /// Stores bytes as they are; see [`set`](Self::set) for what this does not promise.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub async fn set_bytes(&self, key: &CacheKey, value: impl Into<Bytes>) -> Result<()> {
        self.store_bytes(key, value.into(), None).await
    }

    /// The same for bytes that may be served for `expires_in` at most.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub async fn set_bytes_expiring(
        &self,
        key: &CacheKey,
        value: impl Into<Bytes>,
        expires_in: Duration,
    ) -> Result<()> {
        self.store_bytes(key, value.into(), Some(expires_in)).await
    }

    async fn store_bytes(&self, key: &CacheKey, value: Bytes, expires_in: Option<Duration>) -> Result<()> {
        if !self.shared.enabled {
            return Ok(());
        }
        self.store_entry(key, NewEntry::new(value), expires_in).await
    }
}
