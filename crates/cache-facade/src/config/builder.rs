//! [`CacheConfigBuilder`]: settings from code, checked by the same rules as variables.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Eviction, Result, Steady};

use super::{CacheConfig, Fallback, RedisConfigBuilder, settings};
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
    pub fn enabled(self, enabled: bool) -> Self {
        Self { config: CacheConfig { enabled, ..self.config } }
    }

    /// Sets the directory of the disk cache, the journal and the record of the last run. Default: `_cache`.
    pub fn directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { config: CacheConfig { directory: directory.into(), ..self.config } }
    }

    /// Sets the most megabytes that this process may take in the directory, at least 8. Default: 1000.
    pub fn size_mb(self, size_mb: u64) -> Self {
        Self { config: CacheConfig { size_mb, ..self.config } }
    }

    /// Sets the prefix of everything stored: 1 to 64 of the characters `a-z A-Z 0-9 - _ .`. Default: `app`.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { config: CacheConfig { namespace: namespace.into(), ..self.config } }
    }

    /// Sets the time to live of entries whose load or call gives none, at least a second. Default: until they are
    /// invalidated or evicted.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.config.lifetimes.default.ttl = Some(ttl);
        self
    }

    /// Sets the time to live of entries of `family` (a key's first segment) whose load or call gives none. Default: as
    /// [`default_ttl`](Self::default_ttl).
    pub fn family_ttl(mut self, family: impl Into<String>, ttl: Duration) -> Self {
        self.config.lifetimes.family(family).ttl = Some(ttl);
        self
    }

    /// Sets the lifetime of entries, as far as their load or call says nothing. Default: until they are invalidated or
    /// evicted.
    pub fn default_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.config.lifetimes.default = lifetime;
        self
    }

    /// Sets the lifetime of entries of `family` (a key's first segment). Each field that is
    /// unset is that of [`default_lifetime`](Self::default_lifetime).
    pub fn family_lifetime(mut self, family: impl Into<String>, lifetime: Lifetime) -> Self {
        *self.config.lifetimes.family(family) = lifetime;
        self
    }

    /// Sets the store used while Redis is unreachable. Default: disk.
    pub fn fallback(self, fallback: Fallback) -> Self {
        Self { config: CacheConfig { fallback, ..self.config } }
    }

    /// Sets how long, from the start of its load, an entry may be served while other instances' invalidations cannot
    /// arrive. Default: 30 seconds.
    pub fn fallback_max_age(self, age: Duration) -> Self {
        Self { config: CacheConfig { fallback_max_age: age, ..self.config } }
    }

    /// Sets whether the store is emptied at start, for all instances: right after restoring a database. Default: false.
    pub fn clear_on_start(self, clear: bool) -> Self {
        Self { config: CacheConfig { clear_on_start: clear, ..self.config } }
    }

    /// Sets whether Redis is cleared, for all instances, at a start that finds no record of an earlier run in the cache
    /// directory: for directories that go away with their container. Default: false.
    pub fn clear_without_record(self, clear: bool) -> Self {
        Self { config: CacheConfig { clear_without_record: clear, ..self.config } }
    }

    /// Sets the share of hits, 0 to 1, that are loaded again in the background and compared. Default: 0.
    pub fn verify(self, share: f64) -> Self {
        Self { config: CacheConfig { verify: share, ..self.config } }
    }

    /// Sets the memory for pages of the disk cache in megabytes. Default: 32.
    pub fn page_cache_mb(self, size_mb: u64) -> Self {
        Self { config: CacheConfig { page_cache_mb: size_mb, ..self.config } }
    }

    /// Sets the order in which the disk cache evicts. Default: the least recently used entry first.
    pub fn eviction(self, eviction: Eviction) -> Self {
        Self { config: CacheConfig { eviction, ..self.config } }
    }

    /// Sets the memory for values that were read, in megabytes: a hit there asks neither the disk nor Redis, and is as fresh as
    /// the store. Default: 0, nothing is kept in memory.
    ///
    /// A quarter is for values that are kept decoded, by [`Cache::get_or_load_shared`](crate::Cache::get_or_load_shared).
    pub fn memory_mb(mut self, size_mb: u64) -> Self {
        self.config.memory.mb = size_mb;
        self
    }

    /// Sets the size in kilobytes of the largest value that is kept in memory: at most 24 for each megabyte of
    /// [`memory_mb`](Self::memory_mb). Default: 12 for each.
    pub fn memory_max_kb(mut self, size_kb: u64) -> Self {
        self.config.memory.max_kb = Some(size_kb);
        self
    }

    /// Keeps no values of `family` (a key's first segment) in memory. Default: those of all families are kept.
    pub fn not_in_memory(mut self, family: impl Into<String>) -> Self {
        self.config.memory.except.push(family.into());
        self
    }

    /// Sets how long after its start a load can still be joined by other callers. Default: 30 seconds.
    pub fn load_timeout(self, timeout: Duration) -> Self {
        Self { config: CacheConfig { load_timeout: timeout, ..self.config } }
    }

    /// Sets the connection to Redis: [`RedisConfig::at`](crate::RedisConfig::at) a host, or
    /// [`RedisConfig::from_url`](crate::RedisConfig::from_url). Default: not used.
    pub fn redis(self, redis: RedisConfigBuilder) -> Self {
        Self { config: CacheConfig { redis: redis.0, ..self.config } }
    }

    /// Sets the clock, for tests. A clock that panics stands still meanwhile. Default: the operating system's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { config: CacheConfig { clock: Steady::wrap(clock), ..self.config } }
    }

    /// Checks the settings and returns the configuration.
    ///
    /// # Errors
    /// `Configuration`, naming every setting that is out of its range, by the name of its variable.
    pub fn build(self) -> Result<CacheConfig> {
        let mut config = self.config;
        settings::check(&config)?;
        config.warnings = settings::without_effect(&config);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use cache_core::ErrorKind;

    use super::*;
    use crate::RedisConfig;

    #[test]
    fn every_setting_out_of_range_is_named_in_one_error() {
        let error = CacheConfig::builder()
            .size_mb(7)
            .namespace("a:b")
            .verify(f64::NAN)
            .redis(RedisConfig::at("").pool_size(0))
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        for name in ["CACHE_SIZE_MB", "CACHE_NAMESPACE", "CACHE_VERIFY", "REDIS_HOST", "REDIS_POOL_SIZE"] {
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn getters_return_the_values_that_were_set() {
        let config = CacheConfig::builder()
            .enabled(false)
            .directory("x")
            .size_mb(8)
            .default_ttl(Duration::from_secs(9))
            .family_ttl("thumbnail", Duration::from_secs(5))
            .fallback(Fallback::None)
            .clear_on_start(true)
            .memory_mb(64)
            .memory_max_kb(1536)
            .not_in_memory("thumbnail")
            .build()
            .unwrap();
        assert!(!config.enabled() && config.clear_on_start());
        assert_eq!((config.memory_mb(), config.memory_max_kb()), (64, Some(1536)));
        assert_eq!(config.memory_except(), ["thumbnail"]);
        assert_eq!((config.size_mb(), config.limit_bytes()), (8, 8 * 1_048_576));
        assert_eq!(config.ttl("thumbnail"), Some(Duration::from_secs(5)));
        assert_eq!(config.ttl("image"), Some(Duration::from_secs(9)));
        assert_eq!(config.fallback(), Fallback::None);
    }
}
