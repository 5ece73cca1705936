//! The cache of the process.

use cache_core::Result;
use tokio::sync::OnceCell;

use crate::cache::Cache;

/// Filled by [`get_cache`].
pub(crate) static CACHE: OnceCell<Cache> = OnceCell::const_new();

/// The cache of this process, opened once, from the environment.
///
/// For programs in which it is a burden to pass a [`Cache`] on; others open one at the start.
///
/// # Errors
/// As for [`Cache::from_env`]; the next call tries again.
///
/// # Cancellation
/// Nothing stays open; the next call opens it.
pub async fn get_cache() -> Result<Cache> {
    CACHE.get_or_try_init(Cache::from_env).await.cloned()
}
