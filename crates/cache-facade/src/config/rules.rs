//! What a setting may be, whether it came from a variable or from code: one rule and one sentence for each.

use std::path::Path;
use std::time::Duration;

use cache_core::{Error, ErrorKind, MEGABYTE};

use super::{CacheConfig, RedisConfig};

/// A setting that is not what it may be: its name and what it takes. The value is in no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) name: &'static str,
    pub(super) takes: &'static str,
}

pub(super) const SIZE: Problem =
    Problem { name: "CACHE_SIZE_MB", takes: "a whole number of megabytes, at least 8" };
pub(super) const PAGE_CACHE: Problem =
    Problem { name: "CACHE_PAGE_CACHE_MB", takes: "a whole number of megabytes from 1 to 65536" };
pub(super) const LOAD_TIMEOUT: Problem =
    Problem { name: "CACHE_LOAD_TIMEOUT_MS", takes: "a whole number of milliseconds, at least 1" };
pub(super) const NAMESPACE: Problem =
    Problem { name: "CACHE_NAMESPACE", takes: "1 to 64 of the characters a-z A-Z 0-9 - _ ." };
pub(super) const DEFAULT_TTL: Problem =
    Problem { name: "CACHE_DEFAULT_TTL", takes: "a whole number of seconds, at least 1; unset: no end" };
pub(super) const FAMILY_TTL: Problem =
    Problem { name: "CACHE_TTL_<FAMILY>", takes: "a whole number of seconds, at least 1" };
pub(super) const JITTER: Problem = Problem { name: "CACHE_JITTER_<FAMILY>", takes: "a share from 0 to 1" };
pub(super) const REFRESH_AHEAD: Problem =
    Problem { name: "CACHE_REFRESH_AHEAD_<FAMILY>", takes: "a share from 0 to 1" };
pub(super) const VERIFY: Problem = Problem { name: "CACHE_VERIFY", takes: "a share from 0 to 1" };
pub(super) const MAX_AGE: Problem = Problem {
    name: "CACHE_FALLBACK_MAX_AGE",
    takes: "a whole number of seconds, at least 1; to serve nothing meanwhile set CACHE_FALLBACK=none",
};
pub(super) const DIRECTORY: Problem = Problem {
    name: "CACHE_DIR",
    takes: "the path of a directory, written in full: neither ~ nor $NAME nor quotes are replaced in it",
};
pub(super) const HOST: Problem = Problem {
    name: "REDIS_HOST",
    takes: "a host name or an address alone: its port goes into REDIS_PORT, and a URL into REDIS_URL",
};
pub(super) const PORT: Problem = Problem { name: "REDIS_PORT", takes: "a port from 1 to 65535" };
pub(super) const POOL_SIZE: Problem =
    Problem { name: "REDIS_POOL_SIZE", takes: "a whole number from 1 to 1024" };
pub(super) const TIMEOUT: Problem =
    Problem { name: "REDIS_TIMEOUT_MS", takes: "a whole number of milliseconds from 1 to 60000" };
pub(super) const CONNECT_TIMEOUT: Problem =
    Problem { name: "REDIS_CONNECT_TIMEOUT_MS", takes: "a whole number of milliseconds from 1 to 60000" };

const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// What is wrong with the settings of the cache.
pub(super) fn cache_problems(config: &CacheConfig) -> Vec<Problem> {
    let is_sound_size = (8..=u64::MAX / MEGABYTE).contains(&config.size_mb);
    let second = Duration::from_secs(1);
    let lifetimes = &config.lifetimes;
    let broken = [
        (!is_sound_size, SIZE),
        (!(1..=65_536).contains(&config.page_cache_mb), PAGE_CACHE),
        (config.load_timeout.is_zero(), LOAD_TIMEOUT),
        (!is_namespace(&config.namespace), NAMESPACE),
        (lifetimes.default.expire.is_some_and(|ttl| ttl < second), DEFAULT_TTL),
        (lifetimes.families.values().any(|family| family.expire.is_some_and(|ttl| ttl < second)), FAMILY_TTL),
        (!lifetimes.all().filter_map(|lifetime| lifetime.jitter).all(is_share), JITTER),
        (!lifetimes.all().filter_map(|lifetime| lifetime.refresh_ahead).all(is_share), REFRESH_AHEAD),
        (!is_share(config.verify), VERIFY),
        (config.fallback_max_age < second, MAX_AGE),
        (!is_path(&config.directory), DIRECTORY),
    ];
    broken.into_iter().filter_map(|(is_broken, problem)| is_broken.then_some(problem)).collect()
}

/// What is wrong with the settings of Redis.
pub(super) fn redis_problems(redis: &RedisConfig) -> Vec<Problem> {
    let is_timeout = |timeout: Duration| !timeout.is_zero() && timeout <= LONGEST_TIMEOUT;
    let broken = [
        (!super::url::is_host(&redis.host), HOST),
        (redis.port == 0, PORT),
        (!(1..=1024).contains(&redis.pool_size), POOL_SIZE),
        (!is_timeout(redis.timeout), TIMEOUT),
        (redis.connect_timeout.is_some_and(|timeout| !is_timeout(timeout)), CONNECT_TIMEOUT),
    ];
    broken.into_iter().filter_map(|(is_broken, problem)| is_broken.then_some(problem)).collect()
}

/// One error for all that is wrong; `None` where nothing is.
pub(super) fn error(problems: &[String]) -> Option<Error> {
    if problems.is_empty() { None } else { Some(Error::new(ErrorKind::Configuration, problems.join("; "))) }
}

/// Whether `number` is a share of a whole; what is no number is none.
pub(super) fn is_share(number: f64) -> bool {
    (0.0..=1.0).contains(&number)
}

/// Whether `path` is one as it stands: a shell would make another of what begins with `~`, `$` or a quote, and a file of
/// that name would be made here.
pub(super) fn is_path(path: &Path) -> bool {
    let text = path.to_string_lossy();
    !text.is_empty() && text != "~" && !text.starts_with("~/") && !text.starts_with(['$', '"', '\''])
}

/// A namespace stands between `:` in keys and before a journal's words, so it holds no separator.
fn is_namespace(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(is_allowed)
}
