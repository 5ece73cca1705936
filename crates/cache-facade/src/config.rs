//! [`CacheConfig`]: every setting, typed and checked; from the environment, from pairs, or from code.
//! `docs/configuration.md` is their table.

pub(crate) mod addresses;
mod builder;
mod described;
mod lifetimes;
mod memory;
mod parse;
mod redis;
mod redis_builder;
mod redis_url;
pub(crate) mod sentinels;
mod settings;
mod sources;
mod unknown_names;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, MEGABYTE, NearConfig, Result, SystemClock};

use crate::lifetime::Lifetime;

pub use cache_core::{Credentials, CredentialsProvider, Eviction};

pub use self::builder::CacheConfigBuilder;
use self::lifetimes::Lifetimes;
use self::memory::Memory;
pub use self::redis::{RedisConfig, RedisMode, Secret, Tls};
pub use self::redis_builder::RedisConfigBuilder;
pub use self::sources::Environment;

/// Settings of a cache, checked.
///
/// [`from_env`](Self::from_env) reads them where operators put them; [`builder`](Self::builder) takes them from code and
/// never reads the environment. docs/configuration.md lists every variable with its default. Passwords are hidden from
/// `Debug`.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    enabled: bool,
    directory: PathBuf,
    size_mb: u64,
    namespace: String,
    lifetimes: Lifetimes,
    fallback: Fallback,
    fallback_max_age: Duration,
    clear_on_start: bool,
    clear_without_record: bool,
    verify: f64,
    page_cache_mb: u64,
    eviction: Eviction,
    memory: Memory,
    load_timeout: Duration,
    redis: RedisConfig,
    clock: Arc<dyn Clock>,
    warnings: Vec<String>,
}

/// Store used while Redis is unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// An empty disk cache, whose entries live for [`CacheConfig::fallback_max_age`] at most.
    Disk,
    /// Nothing: every value is loaded.
    None,
}

impl CacheConfig {
    /// Reads the settings: defaults, then the file that `CACHE_CONFIG_FILE` names, then `.env` in the working directory,
    /// then the environment; the later wins.
    ///
    /// An empty value means unset, in the layer it stands in: an empty variable of the environment also hides the
    /// value that `.env` has for it. The file is TOML; `cache_dir = "x"` and `[cache] dir = "x"` are `CACHE_DIR`.
    /// Unknown names and settings without effect are in [`warnings`](Self::warnings); connecting logs them.
    ///
    /// # Errors
    /// `Configuration`, naming every setting that does not parse and what it takes, never its value; every line of
    /// `.env` that does not parse by file and line, never its text; a file that cannot be read.
    pub fn from_env() -> Result<Self> {
        Self::from_environment(&Environment::read()?)
    }

    /// Takes the settings from what was read before, for an application that reads its own from it as well.
    ///
    /// # Errors
    /// `Configuration`, naming every setting that does not parse and what it takes, never its value.
    pub fn from_environment(environment: &Environment) -> Result<Self> {
        parse::config(environment)
    }

    /// Reads the settings from pairs of name and value, such as the environment's; of two with one name the later wins.
    ///
    /// Names that begin neither with `CACHE_` nor `REDIS_` are passed over. Neither files nor the environment are read.
    ///
    /// ```
    /// use cache_facade::CacheConfig;
    ///
    /// let config = CacheConfig::from_pairs([("CACHE_SIZE_MB", "64"), ("CACHE_TTL_THUMBNAIL", "3600")])?;
    /// assert_eq!(config.size_mb(), 64);
    ///
    /// let error = CacheConfig::from_pairs([("CACHE_SIZE_MB", "lots")]).unwrap_err();
    /// assert_eq!(error.to_string(), "CACHE_SIZE_MB takes a whole number of megabytes, at least 8");
    /// # Ok::<(), cache_facade::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`from_env`](Self::from_env).
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self>
    where
        N: Into<String>,
        V: Into<String>,
    {
        parse::config(&pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Starts from the defaults.
    pub fn builder() -> CacheConfigBuilder {
        CacheConfigBuilder::new()
    }

    /// Whether values are cached at all. Default: true.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The directory of the disk cache, the journal and the record of the last run. Default: `_cache`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Limit of this process's share of the directory, in megabytes of 1,048,576 bytes. Default: 1000.
    pub fn size_mb(&self) -> u64 {
        self.size_mb
    }

    /// [`size_mb`](Self::size_mb) in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.size_mb.saturating_mul(MEGABYTE)
    }

    /// The prefix of everything stored. Default: `app`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Time to live of entries of `family` (a key's first segment) whose load or call gives none. Default: until they are
    /// invalidated or evicted.
    pub fn ttl(&self, family: &str) -> Option<Duration> {
        self.lifetime(family).ttl
    }

    /// Lifetime of entries of `family`, as far as their load or call says nothing. Default: until they are invalidated or
    /// evicted.
    pub fn lifetime(&self, family: &str) -> Lifetime {
        self.lifetimes.of(family)
    }

    /// Store used while Redis is unreachable. Default: disk.
    pub fn fallback(&self) -> Fallback {
        self.fallback
    }

    /// How long, from the start of its load, an entry may be served while other instances' invalidations cannot arrive.
    /// Default: 30 seconds.
    pub fn fallback_max_age(&self) -> Duration {
        self.fallback_max_age
    }

    /// Whether the store is emptied at start, for all instances. Default: false.
    pub fn clear_on_start(&self) -> bool {
        self.clear_on_start
    }

    /// Whether Redis is cleared, for all instances, at a start that finds no record of an earlier run in the cache directory:
    /// a journal may have been lost with it. Default: false.
    pub fn clear_without_record(&self) -> bool {
        self.clear_without_record
    }

    /// The share of hits, 0 to 1, that are loaded again in the background and compared. Default: 0.
    pub fn verify(&self) -> f64 {
        self.verify
    }

    /// Megabytes of memory for pages of the disk cache. Default: 32.
    pub fn page_cache_mb(&self) -> u64 {
        self.page_cache_mb
    }

    /// The order in which the disk cache evicts. Default: the least recently used entry first.
    pub fn eviction(&self) -> Eviction {
        self.eviction
    }

    /// Megabytes of memory for values that were read. Default: 0, nothing is kept in memory.
    pub fn memory_mb(&self) -> u64 {
        self.memory.mb
    }

    /// Kilobytes of the largest value that is kept in memory, where it is set. Default: 12 for each megabyte of
    /// [`memory_mb`](Self::memory_mb).
    pub fn memory_max_kb(&self) -> Option<u64> {
        self.memory.max_kb
    }

    /// The key families that are not kept in memory. Default: none.
    pub fn memory_except(&self) -> &[String] {
        &self.memory.except
    }

    /// The settings of the memory in front of the store, for a backend of the application's own; `None` where nothing is kept in
    /// memory. Three quarters of [`memory_mb`](Self::memory_mb) are its limit; the last quarter is for decoded values.
    pub fn near(&self) -> Option<NearConfig> {
        self.memory.near(&self.redis)
    }

    /// Limit of the space of decoded values; 0 where none are kept.
    pub(crate) fn decoded_bytes(&self) -> u64 {
        self.memory.decoded_bytes(&self.redis)
    }

    /// How long after its start a load can still be joined by other callers. Default: 30 seconds.
    pub fn load_timeout(&self) -> Duration {
        self.load_timeout
    }

    /// The settings of Redis.
    pub fn redis(&self) -> &RedisConfig {
        &self.redis
    }

    /// The clock. Default: the operating system's.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Warnings, one sentence each: unknown names, settings without effect.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            directory: PathBuf::from("_cache"),
            size_mb: 1000,
            namespace: "app".to_owned(),
            lifetimes: Lifetimes::default(),
            fallback: Fallback::Disk,
            fallback_max_age: Duration::from_secs(30),
            clear_on_start: false,
            clear_without_record: false,
            verify: 0.0,
            page_cache_mb: 32,
            eviction: Eviction::Lru,
            memory: Memory::default(),
            load_timeout: Duration::from_secs(30),
            redis: RedisConfig::default(),
            clock: Arc::new(SystemClock),
            warnings: Vec::new(),
        }
    }
}
