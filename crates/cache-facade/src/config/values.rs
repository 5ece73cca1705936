//! Values of settings: parsed from text, and checked.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Eviction, Result};

use super::{Fallback, RedisMode, Tls};

/// Fails with one error for all problems, if there are any.
pub(super) fn error(problems: impl IntoIterator<Item = String>) -> Result<()> {
    let problems: Vec<String> = problems.into_iter().collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Configuration, problems.join("; "))) }
}

/// A number of digits alone: `FromStr` would take a `+` too.
pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A whole number of seconds, at least 1.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    number(text).filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

pub(super) fn millis(text: &str) -> Option<Duration> {
    number(text).filter(|millis| *millis > 0).map(Duration::from_millis)
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| is_path(path))
}

/// Words that commas separate.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn tls(text: &str) -> Option<Tls> {
    if text.eq_ignore_ascii_case("auto") {
        return Some(Tls::Auto);
    }
    boolean(text).map(|on| if on { Tls::On } else { Tls::Off })
}

pub(super) fn redis_mode(text: &str) -> Option<RedisMode> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Some(RedisMode::Auto),
        "single" => Some(RedisMode::Single),
        "sentinel" => Some(RedisMode::Sentinel),
        "cluster" => Some(RedisMode::Cluster),
        _ => None,
    }
}

pub(super) fn eviction(text: &str) -> Option<Eviction> {
    match text.to_ascii_lowercase().as_str() {
        "lru" => Some(Eviction::Lru),
        "sieve" => Some(Eviction::Sieve),
        _ => None,
    }
}

pub(super) fn fallback(text: &str) -> Option<Fallback> {
    match text.to_ascii_lowercase().as_str() {
        "disk" => Some(Fallback::Disk),
        "none" => Some(Fallback::None),
        _ => None,
    }
}

/// Whether `number` is a share of a whole; NaN is none.
pub(super) fn is_share(number: f64) -> bool {
    (0.0..=1.0).contains(&number)
}

pub(super) fn is_redis_timeout(timeout: Duration) -> bool {
    !timeout.is_zero() && timeout <= Duration::from_secs(60)
}

/// Whether `path` means what it says: a shell would replace a leading `~`, `$` or quote, and without one a file of that
/// literal name would be made.
pub(super) fn is_path(path: &Path) -> bool {
    let text = path.to_string_lossy();
    !text.is_empty() && text != "~" && !text.starts_with("~/") && !text.starts_with(['$', '"', '\''])
}

/// Whether `text` can be a namespace: it stands between `:` in keys and before words of the journal, so that it holds no
/// separator.
pub(super) fn is_namespace(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(is_allowed)
}
