//! Advice on names that look like settings and are none.

use super::settings::{ByFamily, SETTINGS};
use super::sources::Environment;

/// A warning for each name that begins like a setting of the cache and is none.
pub(super) fn warnings(environment: &Environment) -> impl Iterator<Item = String> {
    environment.names().filter_map(|name| {
        let value = environment.untrimmed(name).ok().flatten().unwrap_or_default();
        let advice = advice(name, value)?;
        Some(format!("{name}{} is no setting of the cache; {advice}", environment.place(name)))
    })
}

/// Advice on `name`; `None` for settings, for names of other software, and for those that machines set.
fn advice(name: &str, value: &str) -> Option<String> {
    let is_ours = name.starts_with("CACHE_") || name.starts_with("REDIS_");
    let is_known = SETTINGS.iter().any(|setting| setting.name == name) || is_of_a_family(name);
    if !is_ours || is_known || is_injected(name, value) {
        return None;
    }
    Some(match nearest(name) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "docs/configuration.md lists them".to_owned(),
    })
}

/// The setting that `name` was most likely meant to be, if one is near.
fn nearest(name: &str) -> Option<String> {
    let of_families =
        SETTINGS.iter().filter_map(|setting| setting.by_family).map(|ByFamily { prefix: known, .. }| {
            // As many words as the prefix has, and then the family.
            let words = known.matches('_').count();
            let end = name.match_indices('_').nth(words - 1).map_or(name.len(), |(end, _)| end + 1);
            let (prefix, family) = name.split_at(end);
            let family = if family.is_empty() { "<FAMILY>" } else { family };
            (likeness(prefix, known), format!("{known}{family}"))
        });
    let known = SETTINGS.iter().map(|known| (likeness(name, known.name), known.name.to_owned()));
    let near = known.chain(of_families).filter(|(likeness, _)| *likeness > 0.6);
    near.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

/// How likely it is that `name` was meant to be `known`: a similarity from 0 to 1, and 1 more where one begins with the
/// other or `known` has all words of `name`, which is likelier than any other mistake.
fn likeness(name: &str, known: &str) -> f64 {
    let has_all_words = name.split('_').all(|word| known.split('_').any(|other| other == word));
    let is_part = has_all_words || known.starts_with(name) || name.starts_with(known);
    f64::from(is_part) + strsim::normalized_damerau_levenshtein(name, known)
}

/// Whether `name` is a setting for one family of keys.
fn is_of_a_family(name: &str) -> bool {
    let mut of_families = SETTINGS.iter().filter_map(|setting| setting.by_family);
    of_families.any(|of| name.strip_prefix(of.prefix).is_some_and(|family| !family.is_empty()))
}

/// Whether the name is one that machines set: Kubernetes injects `REDIS_SERVICE_HOST`, `REDIS_PORT_6379_TCP_ADDR` and the like for a
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

#[cfg(test)]
mod tests {
    use super::*;

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
            ("CACHE_TLL_THUMBNAIL", "CACHE_TTL_THUMBNAIL"),
            ("CACHE_TTLS_IMAGE", "CACHE_TTL_IMAGE"),
            ("CACHE_JITER_PROJECT_IMAGES", "CACHE_JITTER_PROJECT_IMAGES"),
            ("CACHE_STALE_IF_EROR_IMAGE", "CACHE_STALE_IF_ERROR_IMAGE"),
            ("CACHE_STALE_WHILE_REVALIDTE_IMAGE", "CACHE_STALE_WHILE_REVALIDATE_IMAGE"),
            ("CACHE_REFRESH_AHAED_THUMBNAIL", "CACHE_REFRESH_AHEAD_THUMBNAIL"),
            ("CACHE_DEFUALT_TTL", "CACHE_DEFAULT_TTL"),
            ("REDIS_USER", "REDIS_USERNAME"),
            ("REDIS_CERT", "REDIS_CLIENT_CERT"),
        ] {
            assert_eq!(self::nearest(name).as_deref(), Some(nearest), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_near_none_is_answered_with_where_they_are_listed() {
        for name in ["REDIS_READ_FROM_REPLICAS", "CACHE_WARMUP_THREADS"] {
            assert!(
                advice(name, "x").is_some_and(|advice| advice.contains("docs/configuration.md")),
                "{name}"
            );
        }
    }

    #[test]
    fn names_that_machines_inject_are_passed_over() {
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
            assert_eq!(advice(name, "10.0.0.5"), None, "{name}");
        }
        assert_eq!(advice("REDIS_MASTER_PORT", "tcp://10.0.0.5:6379"), None);
        assert!(advice("REDIS_MASTER_PORT", "6379").is_some());
    }

    #[test]
    fn settings_and_names_of_other_software_need_no_advice() {
        let of_families =
            ["CACHE_TTL_THUMBNAIL", "CACHE_STALE_IF_ERROR_THUMBNAIL", "DATABASE_URL", "MY_CACHE_DIR"];
        for name in SETTINGS.iter().map(|setting| setting.name).chain(of_families) {
            assert!(advice(name, "x").is_none(), "{name}");
        }
    }
}
