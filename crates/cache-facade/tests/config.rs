//! Laws of the configuration, over pairs of name and value: no test touches the process's environment.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::path::Path;
use std::time::Duration;

use cache_facade::backend::NearConfig;
use cache_facade::{
    CacheConfig, ErrorKind, Lifetime,
    config::{Eviction, Fallback},
};

fn config(pairs: &[(&str, &str)]) -> cache_facade::Result<CacheConfig> {
    CacheConfig::from_pairs(pairs.iter().copied())
}

fn error(pairs: &[(&str, &str)]) -> String {
    let error = config(pairs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    error.to_string()
}

fn warnings(pairs: &[(&str, &str)]) -> Vec<String> {
    config(pairs).unwrap().warnings().to_vec()
}

#[test]
fn without_settings_the_documented_defaults_apply() {
    let config = config(&[]).unwrap();
    assert!(config.enabled() && !config.clear_on_start());
    assert_eq!(config.directory(), Path::new("_cache"));
    assert_eq!((config.size_mb(), config.limit_bytes(), config.page_cache_mb()), (1000, 1_048_576_000, 32));
    assert_eq!((config.namespace(), config.ttl("image"), config.verify().to_bits()), ("app", None, 0));
    assert_eq!((config.fallback(), config.fallback_max_age()), (Fallback::Disk, Duration::from_secs(30)));
    assert_eq!(config.load_timeout(), Duration::from_secs(30));
    let redis = config.redis();
    assert_eq!((redis.enabled(), redis.host(), redis.port(), redis.db()), (false, "localhost", 6379, 0));
    assert_eq!((redis.username(), redis.password(), redis.encrypted()), (None, None, false));
    assert_eq!((redis.pool_size(), redis.timeout()), (1, Duration::from_millis(250)));
    assert_eq!((redis.connect_timeout(), redis.trust_restart()), (Duration::from_millis(500), false));
    assert!(config.warnings().is_empty());
}

#[test]
fn every_setting_is_read() {
    let config = config(&[
        ("CACHE_ENABLED", "no"),
        ("CACHE_DIR", "/var/cache/app"),
        ("CACHE_SIZE_MB", " 64 "),
        ("CACHE_NAMESPACE", "shop-1"),
        ("CACHE_DEFAULT_TTL", "60"),
        ("CACHE_TTL_PROJECT_IMAGES", "5"),
        ("CACHE_FALLBACK", "None"),
        ("CACHE_FALLBACK_MAX_AGE", "7"),
        ("CACHE_CLEAR_ON_START", "1"),
        ("CACHE_VERIFY", "0.25"),
        ("CACHE_PAGE_CACHE_MB", "16"),
        ("CACHE_EVICTION", "Sieve"),
        ("CACHE_LOAD_TIMEOUT_MS", "1500"),
        ("REDIS_ENABLED", "ON"),
        ("REDIS_HOST", "cache.internal"),
        ("REDIS_PORT", "6390"),
        ("REDIS_DB", "2"),
        ("REDIS_USERNAME", "app"),
        ("REDIS_PASSWORD", " spaces count "),
        ("REDIS_TLS", "true"),
        ("REDIS_CA_FILE", "ca.pem"),
        ("REDIS_CLIENT_CERT", "cert.pem"),
        ("REDIS_CLIENT_KEY", "key.pem"),
        ("REDIS_MODE", "single"),
        ("REDIS_POOL_SIZE", "8"),
        ("REDIS_TIMEOUT_MS", "100"),
        ("REDIS_CONNECT_TIMEOUT_MS", "200"),
        ("REDIS_TRUST_RESTART", "yes"),
    ])
    .unwrap();
    assert!(!config.enabled() && config.clear_on_start());
    assert_eq!(config.directory(), Path::new("/var/cache/app"));
    assert_eq!((config.size_mb(), config.page_cache_mb(), config.namespace()), (64, 16, "shop-1"));
    assert_eq!(config.eviction(), Eviction::Sieve);
    assert!(config.described().contains(&("CACHE_EVICTION".to_owned(), "sieve".to_owned())));
    assert_eq!(config.ttl("image"), Some(Duration::from_secs(60)));
    assert_eq!(config.ttl("project_images"), Some(Duration::from_secs(5)));
    assert_eq!((config.fallback(), config.fallback_max_age()), (Fallback::None, Duration::from_secs(7)));
    assert_eq!(
        (config.verify().to_bits(), config.load_timeout()),
        (0.25f64.to_bits(), Duration::from_millis(1500))
    );
    let redis = config.redis();
    assert!(redis.enabled() && redis.encrypted() && redis.trust_restart());
    assert_eq!(
        (redis.host(), redis.port(), redis.db(), redis.username()),
        ("cache.internal", 6390, 2, Some("app"))
    );
    assert_eq!(redis.password().map(cache_facade::config::Secret::expose), Some(" spaces count "));
    assert_eq!(redis.ca_file(), Some(Path::new("ca.pem")));
    assert_eq!(redis.client_certificate(), Some((Path::new("cert.pem"), Path::new("key.pem"))));
    assert_eq!((redis.pool_size(), redis.timeout()), (8, Duration::from_millis(100)));
    assert_eq!(redis.connect_timeout(), Duration::from_millis(200));
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
}

#[test]
fn booleans_have_eight_spellings_in_any_case_and_no_ninth() {
    for (text, expected) in [("TRUE", true), ("1", true), ("Yes", true), ("on", true)] {
        assert_eq!(config(&[("CACHE_CLEAR_ON_START", text)]).unwrap().clear_on_start(), expected);
    }
    for text in ["False", "0", "NO", "off"] {
        assert!(!config(&[("CACHE_ENABLED", text)]).unwrap().enabled());
    }
    for text in ["2", "t", "enabled", "truee"] {
        assert!(error(&[("CACHE_ENABLED", text)]).starts_with("CACHE_ENABLED takes true or false"));
    }
}

#[test]
fn a_bad_value_is_an_error_that_names_the_variable_and_not_the_value() {
    for (name, bad) in [
        ("CACHE_ENABLED", "s3cr3t"),
        ("CACHE_SIZE_MB", "s3cr3t"),
        ("CACHE_SIZE_MB", "7"),
        ("CACHE_SIZE_MB", "-8"),
        ("CACHE_SIZE_MB", "+8"),
        ("CACHE_SIZE_MB", "8.5"),
        ("CACHE_SIZE_MB", "17592186044416"),
        ("CACHE_SIZE_MB", "99999999999999999999"),
        ("CACHE_NAMESPACE", "s3cr3t:x"),
        ("CACHE_NAMESPACE", "s3cr3t*"),
        ("CACHE_DEFAULT_TTL", "0"),
        ("CACHE_DEFAULT_TTL", "1h"),
        ("CACHE_TTL_THUMBNAIL", "0"),
        ("CACHE_TTL_THUMBNAIL", "s3cr3t"),
        ("CACHE_MEMORY_MB", "s3cr3t"),
        ("CACHE_MEMORY_MB", "1048577"),
        ("CACHE_MEMORY_MAX_KB", "0"),
        ("CACHE_MEMORY_EXCEPT", "s3cr3t:x"),
        ("CACHE_MEMORY_EXCEPT", "s3cr3t*,image"),
        ("CACHE_FALLBACK", "redis"),
        ("CACHE_FALLBACK_MAX_AGE", "0"),
        ("CACHE_VERIFY", "1.5"),
        ("CACHE_VERIFY", "NaN"),
        ("CACHE_VERIFY", "-0.5"),
        ("CACHE_PAGE_CACHE_MB", "0"),
        ("CACHE_EVICTION", "s3cr3t"),
        ("CACHE_LOAD_TIMEOUT_MS", "0"),
        ("REDIS_ENABLED", "maybe"),
    ] {
        let error = error(&[(name, bad)]);
        assert!(error.starts_with(&format!("{name} takes ")), "{error}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }
}

#[test]
fn all_bad_values_are_in_one_error() {
    let error =
        error(&[("CACHE_SIZE_MB", "x"), ("CACHE_VERIFY", "x"), ("REDIS_ENABLED", "1"), ("REDIS_DB", "x")]);
    for name in ["CACHE_SIZE_MB", "CACHE_VERIFY", "REDIS_DB"] {
        assert!(error.contains(&format!("{name} takes ")), "{error}");
    }
}

#[test]
fn a_bad_redis_setting_is_an_error_with_redis_and_a_warning_without() {
    for (name, bad) in [
        ("REDIS_HOST", "redis://s3cr3t"),
        ("REDIS_HOST", "a b"),
        ("REDIS_PORT", "0"),
        ("REDIS_PORT", "65536"),
        ("REDIS_DB", "-1"),
        ("REDIS_TLS", "maybe"),
        ("REDIS_MODE", "many"),
        ("REDIS_NODES", "a:0"),
        ("REDIS_NODE_MAP", "a:1"),
        ("REDIS_URL", "http://s3cr3t"),
        ("REDIS_POOL_SIZE", "0"),
        ("REDIS_POOL_SIZE", "1025"),
        ("REDIS_TIMEOUT_MS", "0"),
        ("REDIS_TIMEOUT_MS", "60001"),
        ("REDIS_CONNECT_TIMEOUT_MS", "soon"),
        ("REDIS_TRUST_RESTART", "2"),
    ] {
        let fatal = error(&[("REDIS_ENABLED", "true"), (name, bad)]);
        assert!(fatal.starts_with(&format!("{name} takes ")) && !fatal.contains("s3cr3t"), "{fatal}");
        assert!(!fatal.contains(';'), "said twice: {fatal}");
        let idle = warnings(&[("REDIS_ENABLED", "false"), (name, bad)]);
        assert_eq!(idle.len(), 1, "{idle:?}");
        assert!(idle[0].starts_with(&format!("{name} takes ")) && !idle[0].contains("s3cr3t"), "{idle:?}");
    }
    assert!(error(&[("REDIS_ENABLED", "1"), ("REDIS_CLIENT_CERT", "c")]).contains("REDIS_CLIENT_KEY"));
}

#[test]
fn an_address_of_redis_that_nothing_enables_is_a_warning_that_says_what_to_set() {
    for (name, value) in [
        ("REDIS_URL", "redis://cache.internal"),
        ("REDIS_HOST", "cache.internal"),
        ("REDIS_SENTINELS", "s1:26379"),
        ("REDIS_NODES", "n1:6379"),
    ] {
        let expected =
            format!("{name} is set, but Redis is not used: set REDIS_ENABLED to true, or to false");
        assert_eq!(warnings(&[(name, value)]), std::slice::from_ref(&expected));
        assert_eq!(warnings(&[(name, value), ("REDIS_ENABLED", "")]), [expected]);
        for said in ["true", "false"] {
            let quiet = warnings(&[(name, value), ("REDIS_ENABLED", said)]);
            assert!(quiet.is_empty(), "{name}, REDIS_ENABLED={said}: {quiet:?}");
        }
    }
    // Once, whatever else is set; and never for what Kubernetes injects.
    assert_eq!(warnings(&[("REDIS_HOST", "h"), ("REDIS_SENTINELS", "s1"), ("REDIS_PORT", "1")]).len(), 1);
    assert!(
        warnings(&[("REDIS_PORT", "tcp://10.0.0.5:6390"), ("REDIS_SERVICE_HOST", "10.0.0.5")]).is_empty()
    );
}

#[test]
fn an_empty_value_means_unset() {
    let pairs: Vec<(&str, &str)> = [
        "CACHE_ENABLED",
        "CACHE_DIR",
        "CACHE_SIZE_MB",
        "CACHE_NAMESPACE",
        "CACHE_DEFAULT_TTL",
        "CACHE_TTL_IMAGE",
        "REDIS_ENABLED",
        "REDIS_PASSWORD",
        "REDIS_URL",
    ]
    .map(|name| (name, ""))
    .to_vec();
    let config = config(&pairs).unwrap();
    assert!(config.enabled() && config.warnings().is_empty());
    assert_eq!((config.directory(), config.size_mb()), (Path::new("_cache"), 1000));
    assert!(config.redis().password().is_none());
}

#[test]
fn the_later_of_two_layers_wins_even_when_it_is_empty() {
    assert_eq!(config(&[("CACHE_SIZE_MB", "64"), ("CACHE_SIZE_MB", "32")]).unwrap().size_mb(), 32);
    assert_eq!(config(&[("CACHE_SIZE_MB", "64"), ("CACHE_SIZE_MB", "")]).unwrap().size_mb(), 1000);
}

#[test]
fn an_unknown_name_is_a_warning_with_the_nearest_known_one_and_never_its_value() {
    let warnings = warnings(&[("CACHE_SIZE", "s3cr3t"), ("REDIS_PASSWRD", "s3cr3t"), ("PATH", "s3cr3t")]);
    assert_eq!(
        warnings,
        [
            "CACHE_SIZE is no setting of the cache; did you mean CACHE_SIZE_MB?",
            "REDIS_PASSWRD is no setting of the cache; did you mean REDIS_PASSWORD?"
        ]
    );
}

#[test]
fn a_path_that_only_a_shell_would_understand_is_refused() {
    for name in ["CACHE_DIR", "REDIS_CA_FILE", "REDIS_CLIENT_CERT", "REDIS_CLIENT_KEY"] {
        for path in ["~", "~/cache", "$HOME/cache", "${HOME}/cache", "\"/var/cache\"", "'/var/cache'"] {
            let mut pairs = vec![("REDIS_ENABLED", "true"), (name, path)];
            if name.starts_with("REDIS_CLIENT_") {
                pairs.extend([("REDIS_CLIENT_CERT", path), ("REDIS_CLIENT_KEY", path)]);
            }
            let said = error(&pairs);
            assert!(said.contains(name) && said.contains("written in full"), "{name}={path}: {said}");
            assert!(!said.contains("/cache"), "{said}");
        }
    }
    assert!(CacheConfig::builder().directory("~/cache").build().is_err());
    for path in ["~backup", "a~", "/var/$x", "_cache"] {
        assert_eq!(config(&[("CACHE_DIR", path)]).unwrap().directory(), Path::new(path));
    }
}

#[test]
fn an_address_of_ipv6_is_taken_with_brackets_and_without() {
    for host in ["[::1]", "::1"] {
        let config = config(&[("REDIS_ENABLED", "true"), ("REDIS_HOST", host)]).unwrap();
        assert_eq!(config.redis().host(), "::1");
        let config = CacheConfig::builder().redis(cache_facade::RedisConfig::at(host)).build().unwrap();
        assert_eq!(config.redis().host(), "::1");
    }
    for host in ["[localhost]", "[::1", "localhost:6379", "[::1]:6379"] {
        let said = error(&[("REDIS_ENABLED", "true"), ("REDIS_HOST", host)]);
        assert!(said.contains("its port goes into REDIS_PORT"), "{host}: {said}");
    }
}

#[test]
fn a_setting_for_a_family_is_for_it_however_its_name_is_spelled_in_keys() {
    let config = config(&[("CACHE_TTL_USERPROFILE", "60"), ("CACHE_TTL_PROJECT_IMAGES", "5")]).unwrap();
    for family in ["userProfile", "userprofile", "USERPROFILE", "user_profile", "user-profile", "UserProfile"]
    {
        assert_eq!(config.ttl(family), Some(Duration::from_secs(60)), "{family}");
    }
    assert_eq!(config.ttl("projectImages"), Some(Duration::from_secs(5)));
    assert_eq!(config.ttl("profile"), None);
    let built = CacheConfig::builder().family_ttl("userProfile", Duration::from_secs(9)).build().unwrap();
    assert_eq!(built.ttl("userProfile"), Some(Duration::from_secs(9)));
    let (name, _) = built.described().pop().unwrap();
    assert_eq!(name, "CACHE_TTL_USERPROFILE");
}

#[test]
fn advice_on_a_misspelled_setting_of_a_family_names_that_family() {
    assert_eq!(
        warnings(&[("CACHE_TLL_THUMBNAIL", "60")]),
        ["CACHE_TLL_THUMBNAIL is no setting of the cache; did you mean CACHE_TTL_THUMBNAIL?"]
    );
}

#[test]
fn settings_that_kubernetes_injects_are_understood_or_ignored() {
    let injected = [
        ("REDIS_ENABLED", "true"),
        ("REDIS_PORT", "tcp://10.0.0.5:6390"),
        ("REDIS_PORT_6390_TCP", "tcp://10.0.0.5:6390"),
        ("REDIS_PORT_6390_TCP_ADDR", "10.0.0.5"),
        ("REDIS_SERVICE_HOST", "10.0.0.5"),
        ("REDIS_SERVICE_PORT", "6390"),
    ];
    let config = config(&injected).unwrap();
    assert_eq!((config.redis().host(), config.redis().port()), ("10.0.0.5", 6390));
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    let named = CacheConfig::from_pairs(injected.into_iter().chain([("REDIS_HOST", "redis")])).unwrap();
    assert_eq!((named.redis().host(), named.redis().port()), ("redis", 6390));
}

#[test]
fn a_url_replaces_the_single_settings() {
    let config = config(&[
        ("REDIS_ENABLED", "true"),
        ("REDIS_URL", "rediss://me:pass@example.org:6390/4"),
        ("REDIS_HOST", "other"),
        ("REDIS_TIMEOUT_MS", "99"),
    ])
    .unwrap();
    let redis = config.redis();
    assert!(redis.enabled() && redis.encrypted());
    assert_eq!(
        (redis.host(), redis.port(), redis.db(), redis.username()),
        ("example.org", 6390, 4, Some("me"))
    );
    assert_eq!(redis.timeout(), Duration::from_millis(99));
    assert_eq!(config.warnings(), ["REDIS_HOST has no effect, because REDIS_URL is set"]);
}

#[test]
fn a_password_comes_from_one_place() {
    let on = ("REDIS_ENABLED", "true");
    let file = ("REDIS_PASSWORD_FILE", "/run/secrets/redis");
    let config = config(&[on, file, ("REDIS_USERNAME_FILE", "/run/secrets/user")]).unwrap();
    let redis = config.redis();
    assert_eq!(redis.password_file(), Some(Path::new("/run/secrets/redis")));
    assert_eq!(redis.username_file(), Some(Path::new("/run/secrets/user")));
    for beside in [("REDIS_PASSWORD", "hunter2"), ("REDIS_URL", "redis://:hunter2@example.org")] {
        let error = error(&[on, file, beside]);
        assert!(
            error.starts_with("REDIS_PASSWORD_FILE takes the path of a file, and no password"),
            "{error}"
        );
    }
}

#[test]
fn a_url_never_turns_off_encryption_that_a_setting_requires() {
    let plain = ("REDIS_URL", "redis://example.org");
    let encrypted = ("REDIS_URL", "rediss://example.org");
    let on = ("REDIS_ENABLED", "true");
    assert!(!config(&[on, plain]).unwrap().redis().encrypted());
    assert!(config(&[on, plain, ("REDIS_TLS", "true")]).unwrap().redis().encrypted());
    assert!(config(&[on, encrypted]).unwrap().redis().encrypted());
    assert!(config(&[on, encrypted, ("REDIS_TLS", "auto")]).unwrap().redis().encrypted());
    assert!(error(&[on, encrypted, ("REDIS_TLS", "false")]).contains("REDIS_TLS"));
}

#[test]
fn no_secret_is_in_debug() {
    let config = config(&[
        ("REDIS_ENABLED", "true"),
        ("REDIS_URL", "redis://me:hunter2@example.org"),
        ("REDIS_PASSWORD", "hunter2"),
    ])
    .unwrap();
    assert!(!format!("{config:?} {config:#?} {:?}", config.redis()).contains("hunter2"));
}

#[test]
fn times_and_shares_are_set_for_all_families_and_for_each() {
    let config = config(&[
        ("CACHE_DEFAULT_TTL", "60"),
        ("CACHE_DEFAULT_JITTER", "0.1"),
        ("CACHE_STALE_WHILE_REVALIDATE_PROJECT_IMAGES", "5"),
        ("CACHE_STALE_IF_ERROR_THUMBNAIL", "7"),
        ("CACHE_JITTER_THUMBNAIL", "0"),
        ("CACHE_REFRESH_AHEAD_THUMBNAIL", "0.25"),
        ("CACHE_LOAD_WAIT_MS_THUMBNAIL", "250"),
    ])
    .unwrap();
    let all = Lifetime::new().ttl(Duration::from_secs(60)).jitter(0.1);
    assert_eq!(config.lifetime("image"), all);
    let listing = all.stale_while_revalidate(Duration::from_secs(5));
    assert_eq!(config.lifetime("project_images"), listing);
    let thumbnail = all.jitter(0.0).stale_if_error(Duration::from_secs(7)).refresh_ahead(0.25);
    let thumbnail = thumbnail.wait_for_others(Duration::from_millis(250));
    assert_eq!(config.lifetime("thumbnail"), thumbnail);
    assert!(config.warnings().is_empty());
}

#[test]
fn a_share_over_1_and_a_time_that_is_none_are_errors_that_name_the_setting() {
    for (name, value, takes) in [
        ("CACHE_JITTER_IMAGE", "1.5", "a share from 0 to 1"),
        ("CACHE_DEFAULT_REFRESH_AHEAD", "NaN", "a share from 0 to 1"),
        ("CACHE_STALE_IF_ERROR_IMAGE", "0", "a whole number of seconds, at least 1"),
        ("CACHE_DEFAULT_STALE_WHILE_REVALIDATE", "soon", "a whole number of seconds, at least 1"),
        ("CACHE_LOAD_WAIT_MS", "60001", "a whole number of milliseconds from 0 to 60000"),
    ] {
        assert_eq!(error(&[(name, value)]), format!("{name} takes {takes}"));
    }
    let built = CacheConfig::builder().family_lifetime("image", Lifetime::new().jitter(f64::NAN)).build();
    assert!(built.unwrap_err().to_string().contains("CACHE_JITTER_<FAMILY>"));
}

#[test]
fn the_settings_of_the_memory_are_read_and_checked_together() {
    let with =
        |mb, kb| [("CACHE_MEMORY_MB", mb), ("CACHE_MEMORY_MAX_KB", kb), ("CACHE_MEMORY_EXCEPT", "a, b,")];
    let read = config(&with("64", "1536")).unwrap();
    assert_eq!((read.memory_mb(), read.memory_max_kb()), (64, Some(1536)));
    assert_eq!(read.memory_except(), ["a", "b"]);
    let near =
        NearConfig::new(48 << 20).largest_value_bytes(1536 << 10).without_family("a").without_family("b");
    assert_eq!(read.near(), Some(near));
    assert!(read.warnings().is_empty(), "{:?}", read.warnings());
    assert!(error(&with("64", "1537")).contains("at most 24 for each megabyte"));
    assert!(config(&[]).unwrap().near().is_none());
}

#[test]
fn settings_of_the_memory_without_effect_are_warnings() {
    let warned = warnings(&[("CACHE_MEMORY_MAX_KB", "9"), ("CACHE_MEMORY_EXCEPT", "image")]);
    let without_memory = "has no effect, because nothing is kept in memory: set CACHE_MEMORY_MB";
    let of = |name| format!("{name} {without_memory}");
    assert_eq!(warned, [of("CACHE_MEMORY_MAX_KB"), of("CACHE_MEMORY_EXCEPT")]);

    let mut trusting = vec![("CACHE_MEMORY_MB", "64"), ("REDIS_TRUST_RESTART", "true")];
    assert!(config(&trusting).unwrap().near().is_some(), "Redis is off");
    trusting.push(("REDIS_ENABLED", "true"));
    assert!(config(&trusting).unwrap().near().is_none());
    let warned = warnings(&trusting);
    assert!(warned.len() == 1 && warned[0].starts_with("CACHE_MEMORY_MB has no effect"), "{warned:?}");
}
