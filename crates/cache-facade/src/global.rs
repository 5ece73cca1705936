//! The cache of the process.

use cache_core::Result;
use tokio::sync::OnceCell;

use crate::cache::Cache;

/// The cache of this process, opened once, from the environment.
///
/// For programs where handing a handle around is a burden; everybody else opens a [`Cache`] at the start and passes it
/// on.
///
/// # Errors
/// As for [`Cache::from_env`]; the next call tries again.
///
/// # Cancellation
/// Nothing stays open; the next call opens it.
pub async fn get_cache() -> Result<Cache> {
    static CACHE: OnceCell<Cache> = OnceCell::const_new();
    CACHE.get_or_try_init(Cache::from_env).await.cloned()
}
