//! The settings in force, as an operator reads them.

use std::path::Path;

use cache_core::Eviction;

use super::{CacheConfig, Fallback, RedisConfig, RedisMode, settings};

impl CacheConfig {
    /// The settings in force by the names of their variables; a secret is `***`, and one that is not set `-`. Those of Redis only
    /// where it is enabled. Those of lifetimes for all families, and for each family those that are set.
    pub fn described(&self) -> Vec<(String, String)> {
        let config = self;
        let mut described = vec![
            ("CACHE_ENABLED", config.enabled().to_string()),
            ("CACHE_DIR", absolute(config.directory()).display().to_string()),
            ("CACHE_SIZE_MB", config.size_mb().to_string()),
            ("CACHE_NAMESPACE", config.namespace().to_owned()),
            ("CACHE_FALLBACK_MAX_AGE", config.fallback_max_age().as_secs().to_string()),
            ("CACHE_CLEAR_ON_START", config.clear_on_start().to_string()),
            ("CACHE_CLEAR_WITHOUT_RECORD", config.clear_without_record().to_string()),
            ("CACHE_VERIFY", config.verify().to_string()),
            ("CACHE_PAGE_CACHE_MB", config.page_cache_mb().to_string()),
            ("CACHE_EVICTION", eviction(config.eviction()).to_owned()),
            ("CACHE_MEMORY_MB", config.memory_mb().to_string()),
            ("CACHE_MEMORY_MAX_KB", config.memory_max_kb().map_or("-".to_owned(), |kb| kb.to_string())),
            ("CACHE_MEMORY_EXCEPT", config.memory_except().join(",")),
            ("CACHE_LOAD_TIMEOUT_MS", config.load_timeout().as_millis().to_string()),
            ("REDIS_ENABLED", config.redis().enabled().to_string()),
        ];
        if config.redis().enabled() {
            let redis = config.redis();
            described.extend([
                ("REDIS_HOST", redis.host().to_owned()),
                ("REDIS_PORT", redis.port().to_string()),
                ("REDIS_MODE", mode(redis.mode()).to_owned()),
                ("REDIS_NODES", addresses(redis.nodes())),
                ("REDIS_NODE_MAP", node_map(redis)),
                ("REDIS_SENTINELS", addresses(redis.sentinels())),
                ("REDIS_SENTINEL_MASTER", redis.sentinel_master().unwrap_or("-").to_owned()),
                ("REDIS_DB", redis.db().to_string()),
                ("REDIS_USERNAME", redis.username().unwrap_or("-").to_owned()),
                ("REDIS_PASSWORD", if redis.password().is_some() { "***" } else { "-" }.to_owned()),
                ("REDIS_USERNAME_FILE", shown(redis.username_file())),
                ("REDIS_PASSWORD_FILE", shown(redis.password_file())),
                ("REDIS_TLS", redis.encrypted().to_string()),
                ("REDIS_TLS_NAME", redis.tls_name().unwrap_or("-").to_owned()),
                ("REDIS_POOL_SIZE", redis.pool_size().to_string()),
                ("REDIS_TIMEOUT_MS", redis.timeout().as_millis().to_string()),
                ("REDIS_CONNECT_TIMEOUT_MS", redis.connect_timeout().as_millis().to_string()),
                ("REDIS_CA_FILE", shown(redis.ca_file())),
                ("REDIS_CLIENT_CERT", shown(redis.client_certificate().map(|(certificate, _)| certificate))),
                ("REDIS_CLIENT_KEY", shown(redis.client_certificate().map(|(_, key)| key))),
                ("REDIS_TRUST_RESTART", redis.trust_restart().to_string()),
                ("CACHE_FALLBACK", fallback(config.fallback()).to_owned()),
            ]);
        }
        let described = described.into_iter().map(|(name, value)| (name.to_owned(), value));
        let lifetimes = settings::of_lifetimes(&self.lifetimes).into_iter();
        described
            .chain(lifetimes.map(|(name, value)| (name, value.unwrap_or_else(|| "-".to_owned()))))
            .collect()
    }
}

fn eviction(eviction: Eviction) -> &'static str {
    match eviction {
        Eviction::Lru => "lru",
        Eviction::Sieve => "sieve",
    }
}

fn fallback(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::Disk => "disk",
        Fallback::None => "none",
    }
}

fn mode(mode: RedisMode) -> &'static str {
    match mode {
        RedisMode::Single => "single",
        RedisMode::Sentinel => "sentinel",
        RedisMode::Cluster => "cluster",
        RedisMode::Auto => "auto",
    }
}

fn addresses(addresses: &[(String, u16)]) -> String {
    let addresses: Vec<String> = addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect();
    if addresses.is_empty() { "-".to_owned() } else { addresses.join(",") }
}

fn node_map(redis: &RedisConfig) -> String {
    let pairs = redis.node_map().iter().map(|(from, to)| format!("{}:{}={}:{}", from.0, from.1, to.0, to.1));
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") }
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "-".to_owned(), |path| path.display().to_string())
}

fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::RedisConfig;
    use super::super::settings::SETTINGS;
    use super::*;

    #[test]
    fn every_setting_is_described_but_those_that_become_others() {
        // Its parts are described; it was read; the Sentinels' names and passwords are secrets of their own.
        let hidden = ["REDIS_URL", "CACHE_CONFIG_FILE", "REDIS_SENTINEL_USERNAME", "REDIS_SENTINEL_PASSWORD"];
        let redis = RedisConfig::from_url("redis://127.0.0.1").unwrap();
        let config = CacheConfig::builder().redis(redis).build().unwrap();
        let described: Vec<String> = config.described().into_iter().map(|(name, _)| name).collect();
        for setting in SETTINGS {
            let is_described = described.iter().any(|name| name == setting.name);
            assert_ne!(is_described, hidden.contains(&setting.name), "{}", setting.name);
        }
    }
}
