//! Reads the settings of an [`Environment`] into a [`CacheConfig`].

use cache_core::Result;

use super::settings::{
    ByFamily, REDIS_ENABLED, REDIS_PASSWORD, REDIS_SENTINEL_PASSWORD, REDIS_URL, SETTINGS,
};
use super::sources::Environment;
use super::{CacheConfig, RedisMode, Tls, redis_url, settings, unknown_names, values};

/// Settings that `REDIS_URL` replaces.
const REPLACED_BY_URL: [&str; 5] = ["REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_USERNAME", REDIS_PASSWORD];

/// Settings that say where Redis is.
const WHERE_REDIS_IS: [&str; 4] = [REDIS_URL, "REDIS_HOST", "REDIS_SENTINELS", "REDIS_NODES"];

/// Reads the settings of `environment`.
///
/// # Errors
/// `Configuration`, naming every setting that does not parse or is out of its range.
pub(super) fn config(environment: &Environment) -> Result<CacheConfig> {
    let mut config = CacheConfig::default();
    let mut warnings = environment.warnings.clone();
    warnings.extend(unknown_names::warnings(environment));
    // Each with whether it is about Redis.
    let mut problems: Vec<(bool, String)> = Vec::new();
    for setting in SETTINGS {
        let mut read = |name: &str, parse: &mut dyn FnMut(&str) -> Option<()>| {
            let text = match name {
                REDIS_PASSWORD | REDIS_SENTINEL_PASSWORD => environment.untrimmed(name),
                _ => environment.get(name),
            };
            let problem = match text {
                Err(error) => Some(error.to_string()),
                Ok(text) => text
                    .is_some_and(|text| parse(text).is_none())
                    .then(|| environment.sentence(name, setting.takes)),
            };
            problems.extend(problem.map(|problem| (setting.is_about_redis(), problem)));
        };
        read(setting.name, &mut |text| setting.read(&mut config, text));
        let Some(ByFamily { prefix, field }) = setting.by_family else { continue };
        for name in environment.names() {
            if let Some(family) = name.strip_prefix(prefix).filter(|family| !family.is_empty()) {
                read(name, &mut |text| field(config.lifetimes.family(family.to_lowercase())).read(text));
            }
        }
    }
    for setting in SETTINGS {
        let problem = setting.out_of_range(&config).map(|name| environment.sentence(&name, setting.takes));
        problems.extend(problem.map(|problem| (setting.is_about_redis(), problem)));
    }
    problems
        .extend(contradictions(environment, &config).into_iter().map(|problem| (true, problem.to_owned())));
    warnings.extend(replaced_by_url(environment));
    if !config.redis.enabled {
        let idle = problems.extract_if(.., |(is_about_redis, _)| *is_about_redis);
        warnings.extend(idle.map(|(_, problem)| format!("{problem}; not used, Redis is off")));
        warnings.extend(not_enabled(environment));
    }
    values::error(problems.into_iter().map(|(_, problem)| problem))?;
    warnings.extend(settings::without_effect(&config));
    config.warnings = warnings;
    Ok(config)
}

/// Lists Redis settings that contradict each other.
fn contradictions(environment: &Environment, config: &CacheConfig) -> Vec<&'static str> {
    let redis = &config.redis;
    let is_encrypted_url = || {
        environment.get(REDIS_URL).ok().flatten().is_some_and(redis_url::is_encrypted)
            && redis.tls == Tls::Off
    };
    let mut problems = Vec::new();
    if redis.client_cert.is_some() != redis.client_key.is_some() {
        problems.push("REDIS_CLIENT_CERT and REDIS_CLIENT_KEY go together: set both");
    }
    match (redis.mode, redis.sentinels.are_named()) {
        (RedisMode::Single, true) => {
            problems.push("REDIS_MODE is single and REDIS_SENTINELS is set: remove one of them");
        }
        (RedisMode::Cluster, true) => {
            problems.push("REDIS_MODE is cluster and REDIS_SENTINELS is set: remove one of them");
        }
        (RedisMode::Sentinel, false) => {
            problems.push("REDIS_MODE is sentinel: set REDIS_SENTINELS to the addresses of the Sentinels");
        }
        _ => {}
    }
    if redis.mode == RedisMode::Cluster && redis.db != 0 {
        problems.push("REDIS_MODE is cluster, which has only the database 0: remove REDIS_DB");
    }
    if redis.tls_name.is_some() && (!redis.encrypted() || redis.sentinels.are_named()) {
        problems.push("REDIS_TLS_NAME is only for TLS without Sentinels: set REDIS_TLS=true, or remove it");
    }
    if redis.sentinels.username.is_some() && redis.sentinels.password.is_none() {
        problems.push("REDIS_SENTINEL_USERNAME needs a password: set REDIS_SENTINEL_PASSWORD");
    }
    if is_encrypted_url() {
        problems.push("REDIS_TLS is false and REDIS_URL begins with rediss://: they contradict each other");
    }
    problems
}

/// The warning that an address of Redis is set, and nothing says whether to use it.
fn not_enabled(environment: &Environment) -> Option<String> {
    let is_set = |name: &&str| environment.get(name).is_ok_and(|text| text.is_some());
    let name = WHERE_REDIS_IS.into_iter().find(is_set).filter(|_| !is_set(&REDIS_ENABLED))?;
    let place = environment.place(name);
    Some(format!("{name}{place} is set, but Redis is not used: set REDIS_ENABLED to true, or to false"))
}

/// Warnings of settings that `REDIS_URL` replaces; what Kubernetes injects is none.
fn replaced_by_url(environment: &Environment) -> impl Iterator<Item = String> {
    let given = |name: &'static str| environment.get(name).ok().flatten();
    let has_url = given(REDIS_URL).is_some();
    let is_replaced = move |name: &&'static str| {
        has_url && given(name).is_some_and(|text| redis_url::kubernetes_port(text).is_none())
    };
    let replaced = REPLACED_BY_URL.into_iter().filter(is_replaced);
    replaced.map(|name| format!("{name} has no effect, because REDIS_URL is set"))
}
