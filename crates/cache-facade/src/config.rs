//! [`CacheConfig`]: every setting, typed and checked; from the environment, from pairs, or from code.
//! `docs/configuration.md` is their table.

mod builder;
mod layers;
mod lifetimes;
mod names;
mod parse;
mod redis;
mod rules;
mod text_file;
mod url;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, MEGABYTE, Result, SystemClock};

use crate::lifetime::Lifetime;

pub use self::builder::CacheConfigBuilder;
pub use self::layers::Environment;
use self::lifetimes::Lifetimes;
pub use self::redis::{RedisConfig, Secret, Tls};

/// Settings of a cache, checked.
///
/// [`from_env`](Self::from_env) reads them where operators put them; [`builder`](Self::builder) takes them from code and
/// never reads the environment. docs/configuration.md lists every variable with its default.
#[derive(Clone)]
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
    load_timeout: Duration,
    redis: RedisConfig,
    clock: Arc<dyn Clock>,
    warnings: Vec<String>,
}

/// What answers while Redis is away.
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
    /// What looks wrong without being fatal is in [`warnings`](Self::warnings); connecting logs it.
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
        let given = |(name, value): (N, V)| layers::Setting::new(name, value, layers::Origin::Given);
        parse::config(&pairs.into_iter().map(given).collect())
    }

    /// Starts from the defaults.
    pub fn builder() -> CacheConfigBuilder {
        CacheConfigBuilder::new()
    }

    /// Whether values are cached at all. Default: true.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The directory of the disk cache, the journal and the trust record. Default: `_cache`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The most megabytes (of 1,048,576 bytes) that this process may take in the directory. Default: 1000.
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

    /// How long an entry of `family` (a key's first segment) lives that says nothing itself. Default: until it is
    /// invalidated or evicted.
    pub fn ttl(&self, family: &str) -> Option<Duration> {
        self.lifetime(family).expire
    }

    /// How long an entry of `family` lives that says nothing itself, and what becomes of it then. Default: it lives until
    /// it is invalidated or evicted.
    pub fn lifetime(&self, family: &str) -> Lifetime {
        self.lifetimes.of(family)
    }

    /// How long values live, as settings by name: the five for all families, and for each family those that are set for
    /// it. `None` for one that is not set.
    pub fn lifetime_settings(&self) -> Vec<(String, Option<String>)> {
        self.lifetimes.settings()
    }

    /// What answers while Redis is away. Default: disk.
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

    /// How long after its start a load can still be joined by other callers. Default: 30 seconds.
    pub fn load_timeout(&self) -> Duration {
        self.load_timeout
    }

    /// The settings of Redis.
    pub fn redis(&self) -> &RedisConfig {
        &self.redis
    }

    /// Where the time comes from. Default: the operating system.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// What looks wrong without being fatal, one sentence each: unknown names, settings without effect.
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
            load_timeout: Duration::from_secs(30),
            redis: RedisConfig::default(),
            clock: Arc::new(SystemClock),
            warnings: Vec::new(),
        }
    }
}

impl fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets hide themselves: `RedisConfig` keeps them as `Secret`.
        f.debug_struct("CacheConfig")
            .field("enabled", &self.enabled)
            .field("directory", &self.directory)
            .field("size_mb", &self.size_mb)
            .field("namespace", &self.namespace)
            .field("lifetimes", &self.lifetimes)
            .field("fallback", &self.fallback)
            .field("fallback_max_age", &self.fallback_max_age)
            .field("clear_on_start", &self.clear_on_start)
            .field("clear_without_record", &self.clear_without_record)
            .field("verify", &self.verify)
            .field("page_cache_mb", &self.page_cache_mb)
            .field("load_timeout", &self.load_timeout)
            .field("redis", &self.redis)
            .finish_non_exhaustive()
    }
}
