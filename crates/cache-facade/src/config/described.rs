//! The settings in force, as an operator reads them.

use super::CacheConfig;
use super::settings::{SETTINGS, of_lifetimes};

impl CacheConfig {
    /// The settings in force by the names of their variables; a secret is `***`, and one that is not set `-`. Those of Redis only
    /// where it is enabled. Those of lifetimes for all families, and for each family those that are set.
    pub fn described(&self) -> Vec<(String, String)> {
        let used = SETTINGS.iter().filter(|setting| self.redis.enabled || !setting.is_about_redis());
        let shown = used.filter_map(|setting| Some((setting.name.to_owned(), setting.show(self)?)));
        let lifetimes = of_lifetimes(&self.lifetimes).into_iter();
        shown.chain(lifetimes.map(|(name, value)| (name, value.unwrap_or_else(|| "-".to_owned())))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RedisConfig;
    use super::*;

    #[test]
    fn every_setting_is_described_but_those_that_become_others() {
        // Its parts are described; it was read.
        let hidden = ["REDIS_URL", "CACHE_CONFIG_FILE"];
        let redis = RedisConfig::from_url("redis://127.0.0.1").unwrap();
        let config = CacheConfig::builder().redis(redis).build().unwrap();
        let described: Vec<String> = config.described().into_iter().map(|(name, _)| name).collect();
        for setting in SETTINGS {
            let is_described = described.iter().any(|name| name == setting.name);
            assert_ne!(is_described, hidden.contains(&setting.name), "{}", setting.name);
        }
    }

    #[test]
    fn a_setting_is_described_as_it_would_be_written() {
        for (name, text) in [
            ("CACHE_DIR", "/var/cache/app"),
            ("CACHE_EVICTION", "sieve"),
            ("CACHE_FALLBACK_MAX_AGE", "7"),
            ("CACHE_LOAD_TIMEOUT_MS", "1500"),
            ("CACHE_MEMORY_EXCEPT", "a,b"),
            ("REDIS_NODES", "n1:6379,[::1]:7001"),
            ("REDIS_NODE_MAP", "10.0.0.1:6379=nat:7001"),
            ("REDIS_TLS", "true"),
        ] {
            let config = CacheConfig::from_pairs([("REDIS_ENABLED", "true"), (name, text)]).unwrap();
            assert!(config.described().contains(&(name.to_owned(), text.to_owned())), "{name}={text}");
        }
        let config =
            CacheConfig::from_pairs([("REDIS_ENABLED", "true"), ("REDIS_PASSWORD", "hunter2")]).unwrap();
        let value = |name: &str| config.described().into_iter().find(|(of, _)| of == name).unwrap().1;
        assert_eq!((value("REDIS_PASSWORD"), value("REDIS_USERNAME")), ("***".to_owned(), "-".to_owned()));
        assert_eq!(
            (value("REDIS_TLS"), value("REDIS_CONNECT_TIMEOUT_MS")),
            ("false".to_owned(), "500".to_owned())
        );
    }
}
