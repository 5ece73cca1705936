//! Counters and claims, where the store can do them atomically.

use bytes::Bytes;
use cache_core::{AtomicBackend, CacheKey, Error, ErrorKind, Result};

use super::Cache;

impl Cache {
    /// Adds `by` to the counter `key`, which begins at 0, and returns the sum.
    ///
    /// Counters have a name space of their own: no [`get`](Self::get) sees them and no pattern clears them;
    /// [`reset`](Self::reset) does. They may be lost with the store.
    ///
    /// # Errors
    /// `Unsupported` where the store has no counters, `Unavailable` while it is away or caching is switched off:
    /// another store's answer would be wrong.
    ///
    /// # Cancellation
    /// The counter may or may not have been increased.
    pub async fn increment(&self, key: &CacheKey, by: i64) -> Result<i64> {
        self.atomic()?.increment(&*self.place(key)?, by).await
    }

    /// Claims `key` with `value` if nobody has; `true` for the one who got it.
    ///
    /// # Errors
    /// As for [`increment`](Self::increment).
    ///
    /// # Cancellation
    /// The claim may or may not have been made.
    pub async fn add(&self, key: &CacheKey, value: impl Into<Bytes>) -> Result<bool> {
        self.atomic()?.add(&*self.place(key)?, value.into()).await
    }

    /// Removes the counter and the claim of `key`.
    ///
    /// # Errors
    /// As for [`increment`](Self::increment).
    pub async fn reset(&self, key: &CacheKey) -> Result<()> {
        self.atomic()?.reset(&*self.place(key)?).await
    }

    fn atomic(&self) -> Result<&dyn AtomicBackend> {
        if !self.shared.enabled {
            return Err(Error::new(ErrorKind::Unavailable, "caching is switched off, and counters with it"));
        }
        self.shared.atomic.as_deref().ok_or_else(|| {
            let kind = self.shared.kind();
            Error::new(ErrorKind::Unsupported, format!("the {kind} cache has no counters and claims"))
        })
    }
}
