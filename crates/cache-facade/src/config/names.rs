//! The names of all settings, and what to say about a name that is none of them.

use super::lifetimes::KINDS;

/// The name of the optional file of settings.
pub(super) const CONFIG_FILE: &str = "CACHE_CONFIG_FILE";

const KNOWN: &[&str] = &[
    "CACHE_CLEAR_ON_START",
    "CACHE_CLEAR_WITHOUT_RECORD",
    CONFIG_FILE,
    "CACHE_DEFAULT_JITTER",
    "CACHE_DEFAULT_REFRESH_AHEAD",
    "CACHE_DEFAULT_STALE_IF_ERROR",
    "CACHE_DEFAULT_STALE_WHILE_REVALIDATE",
    "CACHE_DEFAULT_TTL",
    "CACHE_DIR",
    "CACHE_ENABLED",
    "CACHE_FALLBACK",
    "CACHE_FALLBACK_MAX_AGE",
    "CACHE_LOAD_TIMEOUT_MS",
    "CACHE_NAMESPACE",
    "CACHE_PAGE_CACHE_MB",
    "CACHE_SIZE_MB",
    "CACHE_VERIFY",
    "REDIS_CA_FILE",
    "REDIS_CLIENT_CERT",
    "REDIS_CLIENT_KEY",
    "REDIS_CONNECT_TIMEOUT_MS",
    "REDIS_DB",
    "REDIS_ENABLED",
    "REDIS_HOST",
    "REDIS_MODE",
    "REDIS_PASSWORD",
    "REDIS_POOL_SIZE",
    "REDIS_PORT",
    "REDIS_TIMEOUT_MS",
    "REDIS_TLS",
    "REDIS_TRUST_RESTART",
    "REDIS_URL",
    "REDIS_USERNAME",
];

/// Whether `name` could be meant for the cache.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("CACHE_") || name.starts_with("REDIS_")
}

/// Whether the value of `name` may hold a password.
pub(super) fn is_secret(name: &str) -> bool {
    matches!(name, "REDIS_PASSWORD" | "REDIS_URL")
}

/// The name to suggest instead of `name`; `None` where `name` is a setting, or is not for people to mind.
pub(super) fn suggestion(name: &str, value: &str) -> Option<String> {
    if family_of(name).is_some() || KNOWN.contains(&name) || is_injected(name, value) {
        return None;
    }
    let prefixes = KINDS.iter().map(|kind| kind.prefix);
    let nearest = KNOWN.iter().copied().chain(prefixes).min_by_key(|known| strangeness(name, known))?;
    Some(if KNOWN.contains(&nearest) { nearest.to_owned() } else { format!("{nearest}<FAMILY>") })
}

/// The family of keys that the setting `name` is for.
fn family_of(name: &str) -> Option<&str> {
    KINDS.iter().find_map(|kind| name.strip_prefix(kind.prefix)).filter(|family| !family.is_empty())
}

/// Whether a machine set this: Kubernetes injects `REDIS_SERVICE_HOST`, `REDIS_PORT_6379_TCP_ADDR` and the like for a
/// Service named redis or cache, or redis-master; the tests of this cache find their server by `REDIS_SERVER_BIN`.
fn is_injected(name: &str, value: &str) -> bool {
    let is_link = value.starts_with("tcp://") || value.starts_with("udp://");
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.starts_with("REDIS_SERVICE_")
        || name.starts_with("REDIS_PORT_")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
        || name.ends_with("_PORT") && is_link
        || name == "REDIS_SERVER_BIN"
}

/// How unlikely it is that `name` was meant to be `known`: a beginning or a lengthening of it is likelier than any other
/// mistake.
fn strangeness(name: &str, known: &str) -> (bool, usize) {
    (!known.starts_with(name) && !name.starts_with(known), distance(name, known))
}

/// Levenshtein's distance: how many characters must be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let changed = diagonal + usize::from(from != to);
            diagonal = *cell;
            *cell = changed.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_levenshteins() {
        let cases = [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2)];
        for (a, b, expected) in cases {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_known_one() {
        for (name, nearest) in [
            ("CACHE_SIZE", "CACHE_SIZE_MB"),
            ("CACHE_SIZE_GB", "CACHE_SIZE_MB"),
            ("CACHE_TTL", "CACHE_TTL_<FAMILY>"),
            ("CACHE_TTL_", "CACHE_TTL_<FAMILY>"),
            ("CACHE_STALE_IF_ERR", "CACHE_STALE_IF_ERROR_<FAMILY>"),
            ("REDIS_PASS", "REDIS_PASSWORD"),
            ("REDIS_PASSWD", "REDIS_PASSWORD"),
            ("REDIS_HOSTNAME", "REDIS_HOST"),
            ("REDIS_TIMEOUT", "REDIS_TIMEOUT_MS"),
            ("CACHE_ENABLE", "CACHE_ENABLED"),
        ] {
            assert_eq!(suggestion(name, "x").as_deref(), Some(nearest), "{name}");
        }
    }

    #[test]
    fn what_machines_inject_is_passed_over() {
        for name in [
            "REDIS_SERVICE_HOST",
            "REDIS_SERVICE_PORT",
            "REDIS_SERVICE_PORT_REDIS",
            "REDIS_PORT_6379_TCP",
            "REDIS_PORT_6379_TCP_ADDR",
            "REDIS_MASTER_SERVICE_HOST",
            "REDIS_MASTER_PORT_6379_TCP_PROTO",
            "CACHE_SERVICE_HOST",
            "CACHE_PORT_11211_TCP",
        ] {
            assert_eq!(suggestion(name, "10.0.0.5"), None, "{name}");
        }
        assert_eq!(suggestion("REDIS_MASTER_PORT", "tcp://10.0.0.5:6379"), None);
        assert!(suggestion("REDIS_MASTER_PORT", "6379").is_some());
    }

    #[test]
    fn every_known_name_is_known_and_ours() {
        for name in KNOWN.iter().copied().chain(["CACHE_TTL_THUMBNAIL", "CACHE_STALE_IF_ERROR_THUMBNAIL"]) {
            assert!(is_ours(name) && suggestion(name, "x").is_none(), "{name}");
        }
        assert!(!is_ours("DATABASE_URL") && !is_ours("MY_CACHE_DIR"));
    }
}
