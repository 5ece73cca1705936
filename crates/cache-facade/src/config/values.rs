//! Values of settings: parsed from text, and checked.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Eviction, Result};

use super::addresses::{self, Address};
use super::{CacheConfig, Fallback, RedisMode, Secret, Tls};

pub(super) type Parse = fn(&mut CacheConfig, &str) -> Option<()>;
pub(super) type Show = fn(&CacheConfig) -> String;

/// How a setting is read into a field of the configuration, and shown from it.
macro_rules! field {
    ($($name:ident).+) => {(
        |config, text| put(&mut config.$($name).+, Value::read(text)),
        |config| config.$($name).+.show(),
    )};
}

pub(super) use field;

/// Sets `field` to `value`, if there is one.
pub(super) fn put<T>(field: &mut T, value: Option<T>) -> Option<()> {
    *field = value?;
    Some(())
}

/// A value of a setting.
pub(super) trait Value: Sized {
    /// Parses `text`; `None` for a text that is no such value.
    fn read(text: &str) -> Option<Self>;

    /// The value as an operator reads it: a secret is `***`, and one that is not set `-`.
    fn show(&self) -> String;
}

impl<T: Value> Value for Option<T> {
    fn read(text: &str) -> Option<Self> {
        T::read(text).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "-".to_owned(), T::show)
    }
}

/// Implements `Value` by two functions.
macro_rules! values {
    ($($type:ty: $read:expr, $show:expr;)*) => {$(
        impl Value for $type {
            fn read(text: &str) -> Option<Self> {
                let read: fn(&str) -> Option<Self> = $read;
                read(text)
            }

            fn show(&self) -> String {
                let show: fn(&Self) -> String = $show;
                show(self)
            }
        }
    )*};
}

values! {
    bool: boolean, ToString::to_string;
    u32: number, ToString::to_string;
    u64: number, ToString::to_string;
    f64: |text| text.parse().ok(), ToString::to_string;
    String: |text| Some(text.to_owned()), String::clone;
    Secret: |text| Some(Secret::new(text)), |_| "***".to_owned();
    PathBuf: path, |path| path.display().to_string();
    Vec<String>: |text| Some(words(text)), |words| joined(words.iter().cloned());
    Vec<Address>: |text| addresses::parse(text, 6379), |all| joined(all.iter().map(addresses::shown));
    Vec<(Address, Address)>: addresses::parse_map, |map| joined(map.iter().map(addresses::shown_pair));
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(",") }
}

/// Implements `Value` for enums whose variants have a word each, in any case.
macro_rules! named {
    ($($type:ident { $($word:literal => $variant:ident),* })*) => {$(
        impl Value for $type {
            fn read(text: &str) -> Option<Self> {
                match text.to_ascii_lowercase().as_str() {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            fn show(&self) -> String {
                match self {
                    $(Self::$variant => $word.to_owned(),)*
                }
            }
        }
    )*};
}

named! {
    Eviction { "lru" => Lru, "sieve" => Sieve }
    Fallback { "disk" => Disk, "none" => None }
    RedisMode { "auto" => Auto, "single" => Single, "sentinel" => Sentinel, "cluster" => Cluster }
}

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

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| is_path(path))
}

/// Words that commas separate.
fn words(text: &str) -> Vec<String> {
    text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

fn boolean(text: &str) -> Option<bool> {
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

/// The path as a process that was started elsewhere would write it.
pub(super) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
