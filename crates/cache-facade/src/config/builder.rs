//! [`CacheConfigBuilder`]: settings from code, checked by the same rules as variables.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Result, Steady};

use super::{CacheConfig, Fallback, RedisConfig, rules};
use crate::lifetime::Lifetime;

/// Builds a [`CacheConfig`] from code; made by [`CacheConfig::builder`]. It never reads the environment.
///
/// ```
/// use cache_facade::CacheConfig;
///
/// let config = CacheConfig::builder().directory("/var/cache/pictures").size_mb(4000).build()?;
/// assert_eq!(config.size_mb(), 4000);
/// # Ok::<(), cache_facade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct CacheConfigBuilder {
    config: CacheConfig,
}

impl CacheConfigBuilder {
    pub(super) fn new() -> Self {
        Self { config: CacheConfig::default() }
    }

    /// Sets whether values are cached at all. Default: true.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.config.enabled = enabled;
        self
    }

    /// Sets the directory of the disk cache, the journal and the trust record. Default: `_cache`.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.directory = directory.into();
        self
    }

    /// Sets the most megabytes that this process may take in the directory, at least 8. Default: 1000.
    pub fn size_mb(mut self, size_mb: u64) -> Self {
        self.config.size_mb = size_mb;
        self
    }

    /// Sets the prefix of everything stored: 1 to 64 of the characters `a-z A-Z 0-9 - _ .`. Default: `app`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = namespace.into();
        self
    }

    /// Sets how long an entry lives that says nothing itself, at least a second. Default: until it is invalidated or
    /// evicted.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.config.lifetimes.default.expire = Some(ttl);
        self
    }

    /// Sets how long an entry of `family` (a key's first segment) lives that says nothing itself. Default: as
    /// [`default_ttl`](Self::default_ttl).
    pub fn family_ttl(mut self, family: impl Into<String>, ttl: Duration) -> Self {
        self.config.lifetimes.family(family).expire = Some(ttl);
        self
    }

    /// Sets how long an entry lives that says nothing itself, and what becomes of it then. Default: it lives until it is
    /// invalidated or evicted.
    pub fn default_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.config.lifetimes.default = lifetime;
        self
    }

    /// The same for entries of `family` (a key's first segment). Default: as
    /// [`default_lifetime`](Self::default_lifetime), point by point.
    pub fn family_lifetime(mut self, family: impl Into<String>, lifetime: Lifetime) -> Self {
        *self.config.lifetimes.family(family) = lifetime;
        self
    }

    /// Sets what answers while Redis is away. Default: disk.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.config.fallback = fallback;
        self
    }

    /// Sets how long, from the start of its load, an entry may be served while other instances' invalidations cannot
    /// arrive. Default: 30 seconds.
    pub fn fallback_max_age(mut self, age: Duration) -> Self {
        self.config.fallback_max_age = age;
        self
    }

    /// Sets whether the store is emptied at start, for all instances: right after restoring a database. Default: false.
    pub fn clear_on_start(mut self, clear: bool) -> Self {
        self.config.clear_on_start = clear;
        self
    }

    /// Sets whether Redis is cleared, for all instances, at a start that finds no record of an earlier run in the cache
    /// directory: for directories that go away with their container. Default: false.
    pub fn clear_without_record(mut self, clear: bool) -> Self {
        self.config.clear_without_record = clear;
        self
    }

    /// Sets the share of hits, 0 to 1, that are loaded again in the background and compared. Default: 0.
    pub fn verify(mut self, share: f64) -> Self {
        self.config.verify = share;
        self
    }

    /// Sets the memory for pages of the disk cache in megabytes. Default: 32.
    pub fn page_cache_mb(mut self, size_mb: u64) -> Self {
        self.config.page_cache_mb = size_mb;
        self
    }

    /// Sets how long after its start a load can still be joined by other callers. Default: 30 seconds.
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.config.load_timeout = timeout;
        self
    }

    /// Sets the settings of Redis; [`RedisConfig::at`] makes it the wanted backend. Default: not used.
    pub fn redis(mut self, redis: RedisConfig) -> Self {
        self.config.redis = redis;
        self
    }

    /// Sets where the time comes from, for tests. One that panics stands still meanwhile. Default: the operating system.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.config.clock = Steady::wrap(clock);
        self
    }

    /// The finished settings.
    ///
    /// # Errors
    /// `Configuration`, naming every setting that is out of its range, by the name of its variable.
    pub fn build(self) -> Result<CacheConfig> {
        let mut config = self.config;
        config.warnings = config.lifetimes.idle();
        let redis = if config.redis.enabled { rules::redis_problems(&config.redis) } else { Vec::new() };
        let problems = rules::cache_problems(&config).into_iter().chain(redis);
        let sentences: Vec<_> =
            problems.map(|problem| format!("{} takes {}", problem.name, problem.takes)).collect();
        rules::error(&sentences).map_or(Ok(config), Err)
    }
}

#[cfg(test)]
mod tests {
    use cache_core::ErrorKind;

    use super::*;

    #[test]
    fn every_setting_out_of_range_is_named_in_one_error() {
        let error = CacheConfig::builder()
            .size_mb(7)
            .namespace("a:b")
            .verify(f64::NAN)
            .redis(RedisConfig::at("").with_pool_size(0))
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        for name in ["CACHE_SIZE_MB", "CACHE_NAMESPACE", "CACHE_VERIFY", "REDIS_HOST", "REDIS_POOL_SIZE"] {
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn what_is_set_is_what_is_read() {
        let config = CacheConfig::builder()
            .enabled(false)
            .directory("x")
            .size_mb(8)
            .default_ttl(Duration::from_secs(9))
            .family_ttl("thumbnail", Duration::from_secs(5))
            .fallback(Fallback::None)
            .clear_on_start(true)
            .build()
            .unwrap();
        assert!(!config.enabled() && config.clear_on_start());
        assert_eq!((config.size_mb(), config.limit_bytes()), (8, 8 * 1_048_576));
        assert_eq!(config.ttl("thumbnail"), Some(Duration::from_secs(5)));
        assert_eq!(config.ttl("image"), Some(Duration::from_secs(9)));
        assert_eq!(config.fallback(), Fallback::None);
    }
}
