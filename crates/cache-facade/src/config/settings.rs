//! The table of settings, and how their texts become a [`CacheConfig`].
//!
//! [`SETTINGS`] holds names, ranges and meanings: the parser, the checks of the builder, the list of settings in force and the advice
//! on unknown names are derived from it. `CacheConfig::default` holds the defaults in force; tests compare them, `docs/configuration.md` and
//! `.env.example` with the table.

use std::time::Duration;

use cache_core::{MEGABYTE, Result};

use super::lifetimes::{Field, Lifetimes};
use super::values::{
    Parse, Show, Value, field, is_namespace, is_path, is_redis_timeout, is_share, millis, number, put,
    seconds, tls,
};
use super::{CacheConfig, addresses, redis_url, sentinels, values};
use crate::lifetime::Lifetime;

/// The setting that names a file of settings.
pub(super) const CONFIG_FILE: &str = "CACHE_CONFIG_FILE";

const DEFAULT_TTL: &str = "CACHE_DEFAULT_TTL";
const FAMILY_TTL: &str = "CACHE_TTL_";
pub(super) const REDIS_ENABLED: &str = "REDIS_ENABLED";
pub(super) const REDIS_PASSWORD: &str = "REDIS_PASSWORD";
pub(super) const REDIS_URL: &str = "REDIS_URL";
pub(super) const REDIS_SENTINEL_PASSWORD: &str = "REDIS_SENTINEL_PASSWORD";

const BOOLEAN: &str = "true or false (also yes, no, on, off, 1, 0)";
const SHARE: &str = "a share from 0 to 1";
const SECONDS: &str = "a whole number of seconds, at least 1";
const REDIS_MILLIS: &str = "a whole number of milliseconds from 1 to 60000";
const DIRECTORY: &str =
    "the path of a directory, written in full: neither ~ nor $NAME nor quotes are replaced in it";
const FALLBACK_SECONDS: &str =
    "a whole number of seconds, at least 1; to serve nothing meanwhile set CACHE_FALLBACK=none";
const MEMORY_KB: &str =
    "a whole number of kilobytes, at least 1 and at most 24 for each megabyte of CACHE_MEMORY_MB";
const HOST: &str = "a host name or an address alone: its port goes into REDIS_PORT, and a URL into REDIS_URL";
const USERNAME_FILE: &str = "the path of a file, and no user in REDIS_USERNAME or REDIS_URL beside it";
const PASSWORD_FILE: &str = "the path of a file, and no password in REDIS_PASSWORD or REDIS_URL beside it";
const PEM: &str =
    "the path of a PEM file, written in full: neither ~ nor $NAME nor quotes are replaced in it";

/// A setting.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// Default, as its text would be; empty for none.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documents are compared with it"))]
    default: &'static str,
    /// Accepted values, to follow "NAME takes" in an error.
    pub(super) takes: &'static str,
    /// Meaning, as `.env.example` gives it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documents are compared with it"))]
    meaning: &'static str,
    /// Parses a text into the configuration; `None` for a text that is no value of this setting.
    parse: Parse,
    /// The value in force, as an operator reads it; `None` where other settings show it.
    show: Option<Show>,
    /// Whether the value is in its range.
    is_valid: fn(&CacheConfig) -> bool,
    /// Where the setting is for a field of the default lifetime: the same for one family of keys.
    pub(super) by_family: Option<ByFamily>,
}

/// A setting for one family of keys: the prefix of its name, which the family follows in capitals, and its field.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByFamily {
    pub(super) prefix: &'static str,
    pub(super) field: fn(&mut Lifetime) -> Field<'_>,
}

/// Every setting. `REDIS_PORT` comes before `REDIS_HOST`, which wins over a host that Kubernetes injects into the port,
/// and `REDIS_URL` after the settings that it replaces.
pub(super) const SETTINGS: &[Setting] = &[
    setting("CACHE_ENABLED", "true", BOOLEAN)
        .meaning("false: every value is loaded and nothing is stored; to find bugs that a cache hides.")
        .of(field!(enabled)),
    setting("CACHE_DIR", "_cache", DIRECTORY)
        .meaning("Directory of the disk cache, the journal and the record of the last run.")
        .of(field!(directory))
        .shown(|config| values::absolute(&config.directory))
        .valid(|config| is_path(&config.directory)),
    setting("CACHE_SIZE_MB", "1000", "a whole number of megabytes, at least 8")
        .meaning("Hard limit of this process's share of CACHE_DIR, in MB of 1,048,576 bytes; at least 8.")
        .of(field!(size_mb))
        .valid(|config| (8..=u64::MAX / MEGABYTE).contains(&config.size_mb)),
    setting("CACHE_NAMESPACE", "app", "1 to 64 of the characters a-z A-Z 0-9 - _ .")
        .meaning("Name space of the entries; another one starts empty.")
        .of(field!(namespace))
        .valid(|config| is_namespace(&config.namespace)),
    setting(DEFAULT_TTL, "", SECONDS)
        .meaning("Seconds an entry may live; unset: until it is invalidated or evicted.")
        .also_by_family(FAMILY_TTL, |lifetime| Field::Expiry(&mut lifetime.ttl)),
    setting("CACHE_DEFAULT_JITTER", "0", SHARE)
        .meaning("Share (0 to 1) by which the time to live is shortened at random at most.")
        .also_by_family("CACHE_JITTER_", |lifetime| Field::Share(&mut lifetime.jitter)),
    setting("CACHE_DEFAULT_STALE_WHILE_REVALIDATE", "", SECONDS)
        .meaning(
            "Seconds after its end in which an entry is still served, while it is loaded in the background.",
        )
        .also_by_family("CACHE_STALE_WHILE_REVALIDATE_", |lifetime| {
            Field::Window(&mut lifetime.stale_while_revalidate)
        }),
    setting("CACHE_DEFAULT_STALE_IF_ERROR", "", SECONDS)
        .meaning("Seconds after its end in which an entry is still served to callers whose load failed.")
        .also_by_family("CACHE_STALE_IF_ERROR_", |lifetime| Field::Window(&mut lifetime.stale_if_error)),
    setting("CACHE_DEFAULT_REFRESH_AHEAD", "0", SHARE)
        .meaning("Last share (0 to 1) of its time to live in which a read loads an entry in the background.")
        .also_by_family("CACHE_REFRESH_AHEAD_", |lifetime| Field::Share(&mut lifetime.refresh_ahead)),
    setting("CACHE_VERIFY", "0", SHARE)
        .meaning("Share (0 to 1) of hits that are loaded again in the background and compared.")
        .of(field!(verify))
        .valid(|config| is_share(config.verify)),
    setting("CACHE_CLEAR_ON_START", "false", BOOLEAN)
        .meaning("Empties the store at start, with Redis for all instances: after restoring a database.")
        .of(field!(clear_on_start)),
    setting("CACHE_CLEAR_WITHOUT_RECORD", "false", BOOLEAN)
        .meaning("Clears Redis, for all instances, where CACHE_DIR holds no record, as in a new container.")
        .of(field!(clear_without_record)),
    setting("CACHE_PAGE_CACHE_MB", "32", "a whole number of megabytes from 1 to 65536")
        .meaning("MB of memory for the pages of the disk cache.")
        .of(field!(page_cache_mb))
        .valid(|config| (1..=65_536).contains(&config.page_cache_mb)),
    setting("CACHE_EVICTION", "lru", "lru or sieve")
        .meaning("What the disk cache evicts first: the least recently used entry (lru), or the oldest that was not read again (sieve).")
        .of(field!(eviction)),
    setting("CACHE_MEMORY_MB", "0", "a whole number of megabytes from 0 to 1048576")
        .meaning("MB of memory for values that were read, in front of disk or Redis; 0: none are kept there.")
        .of(field!(memory.mb))
        .valid(|config| config.memory.mb <= 1 << 20),
    setting("CACHE_MEMORY_MAX_KB", "", MEMORY_KB)
        .meaning("KB of the largest value that is kept in memory; unset: 12 for each MB of CACHE_MEMORY_MB.")
        .of(field!(memory.max_kb))
        .valid(|config| config.memory.is_max_valid()),
    setting("CACHE_MEMORY_EXCEPT", "", "families of keys, their first segments, separated by commas")
        .meaning("Families of keys whose values are not kept in memory, separated by commas.")
        .of(field!(memory.except))
        .valid(|config| config.memory.are_families_valid()),
    setting("CACHE_LOAD_TIMEOUT_MS", "30000", "a whole number of milliseconds, at least 1")
        .meaning("Milliseconds after which callers no longer wait for another caller's load in flight.")
        .parse(|config, text| put(&mut config.load_timeout, millis(text)))
        .shown(|config| config.load_timeout.as_millis().to_string())
        .valid(|config| !config.load_timeout.is_zero()),
    setting("CACHE_LOAD_WAIT_MS", "0", "a whole number of milliseconds from 0 to 60000")
        .meaning("Milliseconds a load waits where another instance loads the value already; 0: it does not.")
        .also_by_family("CACHE_LOAD_WAIT_MS_", |lifetime| Field::Wait(&mut lifetime.wait_for_others)),
    setting(CONFIG_FILE, "", "the path of a TOML file").meaning(
        "TOML file of settings, weaker than .env: cache_dir = \"x\", or dir = \"x\" in the table [cache]; needs a build \
         with the feature `config-file`.",
    ),
    setting(REDIS_ENABLED, "false", BOOLEAN)
        .meaning("true: instances share a Redis; needs a build with the feature `redis`.")
        .of(field!(redis.enabled)),
    setting("CACHE_FALLBACK", "disk", "disk or none")
        .meaning("The fallback store while Redis is away: disk, or none (load everything).")
        .of(field!(fallback)),
    setting("CACHE_FALLBACK_MAX_AGE", "30", FALLBACK_SECONDS)
        .meaning("Seconds from the start of its load in which the fallback serves an entry.")
        .parse(|config, text| put(&mut config.fallback_max_age, seconds(text)))
        .shown(|config| config.fallback_max_age.as_secs().to_string())
        .valid(|config| config.fallback_max_age >= Duration::from_secs(1)),
    setting("REDIS_PORT", "6379", "a port from 1 to 65535")
        .meaning("Port of the server.")
        .parse(redis_port)
        .shown(|config| config.redis.port.to_string())
        .valid(|config| config.redis.port != 0),
    setting("REDIS_HOST", "localhost", HOST)
        .meaning("Host name or address of the server.")
        .parse(|config, text| put(&mut config.redis.host, Some(redis_url::without_brackets(text))))
        .shown(|config| config.redis.host.clone())
        .valid(|config| redis_url::is_host(&config.redis.host)),
    setting("REDIS_DB", "0", "the number of a database, from 0")
        .meaning("Number of the database.")
        .of(field!(redis.db)),
    setting("REDIS_USERNAME", "", "a user name")
        .meaning("User of an access control list.")
        .of(field!(redis.username)),
    setting(REDIS_PASSWORD, "", "a password")
        .meaning("Password; put one with a $ in single quotes.")
        .of(field!(redis.password)),
    setting("REDIS_USERNAME_FILE", "", USERNAME_FILE)
        .meaning("File that holds the user, read again for each new connection.")
        .of(field!(redis.username_file))
        .valid(|config| config.redis.username.is_none() || config.redis.username_file.is_none()),
    setting("REDIS_PASSWORD_FILE", "", PASSWORD_FILE)
        .meaning("File that holds the password, read again for each new connection.")
        .of(field!(redis.password_file))
        .valid(|config| config.redis.password.is_none() || config.redis.password_file.is_none()),
    setting("REDIS_TLS", "auto", "auto, true or false")
        .meaning("auto, true or false. auto: for port 6380 and the cloud names in docs/configuration.md.")
        .parse(|config, text| put(&mut config.redis.tls, tls(text)))
        .shown(|config| config.redis.encrypted().to_string()),
    setting("REDIS_TLS_NAME", "", "the name in the certificates of the servers")
        .meaning("Name that certificates must hold, where it is not the host.")
        .of(field!(redis.tls_name)),
    setting("REDIS_CA_FILE", "", PEM)
        .meaning("PEM file of the authority that signed the server's certificate; unset: Mozilla's roots.")
        .of(field!(redis.ca_file)),
    setting("REDIS_CLIENT_CERT", "", PEM)
        .meaning("PEM file of the client's certificate.")
        .of(field!(redis.client_cert)),
    setting("REDIS_CLIENT_KEY", "", PEM)
        .meaning("PEM file of the client's key.")
        .of(field!(redis.client_key)),
    setting(REDIS_URL, "", redis_url::FORM)
        .meaning("Instead of the single settings: redis://user:password@host:6379/0, or rediss:// for TLS.")
        .parse(redis_at),
    setting("REDIS_MODE", "auto", "auto, single, sentinel or cluster")
        .meaning("auto, single, sentinel or cluster. auto: sentinel with REDIS_SENTINELS, else what the server is.")
        .of(field!(redis.mode)),
    setting("REDIS_NODES", "", addresses::FORM)
        .meaning("More nodes of a cluster, asked for the others while the one in REDIS_HOST is away.")
        .of(field!(redis.nodes)),
    setting("REDIS_NODE_MAP", "", addresses::MAP_FORM)
        .meaning("Addresses that nodes of a cluster announce, each with one that can be reached from here.")
        .of(field!(redis.node_map)),
    setting("REDIS_SENTINELS", "", addresses::FORM)
        .meaning(
            "Sentinels of a replicated Redis, which name its master, instead of REDIS_HOST and REDIS_PORT.",
        )
        .parse(|config, text| put(&mut config.redis.sentinels.addresses, addresses::parse(text, sentinels::PORT)))
        .shown(|config| config.redis.sentinels.addresses.show()),
    setting("REDIS_SENTINEL_MASTER", "", "the name of a master")
        .meaning("Name of the master, where the Sentinels watch several.")
        .of(field!(redis.sentinels.master)),
    setting("REDIS_SENTINEL_USERNAME", "", "a user name")
        .meaning("User of the Sentinels themselves.")
        .of(field!(redis.sentinels.username)),
    setting(REDIS_SENTINEL_PASSWORD, "", "a password")
        .meaning("Password of the Sentinels themselves.")
        .of(field!(redis.sentinels.password)),
    setting("REDIS_POOL_SIZE", "1", "a whole number from 1 to 1024")
        .meaning("Connections that requests share.")
        .of(field!(redis.pool_size))
        .valid(|config| (1..=1024).contains(&config.redis.pool_size)),
    setting("REDIS_TIMEOUT_MS", "250", REDIS_MILLIS)
        .meaning("Milliseconds a reply may take.")
        .parse(|config, text| put(&mut config.redis.timeout, millis(text)))
        .shown(|config| config.redis.timeout.as_millis().to_string())
        .valid(|config| is_redis_timeout(config.redis.timeout)),
    setting("REDIS_CONNECT_TIMEOUT_MS", "", REDIS_MILLIS)
        .meaning("Milliseconds connecting may take; unset: 500, with TLS 1500.")
        .parse(|config, text| put(&mut config.redis.connect_timeout, millis(text).map(Some)))
        .shown(|config| config.redis.connect_timeout().as_millis().to_string())
        .valid(|config| config.redis.connect_timeout.is_none_or(is_redis_timeout)),
    setting("REDIS_TRUST_RESTART", "false", BOOLEAN)
        .meaning("true gives up the guarantee that no stale value returns when the server restarts.")
        .of(field!(redis.trust_restart)),
];

const fn setting(name: &'static str, default: &'static str, takes: &'static str) -> Setting {
    let by_family = None;
    Setting {
        name,
        default,
        takes,
        meaning: "",
        parse: |_, _| Some(()),
        show: None,
        is_valid: |_| true,
        by_family,
    }
}

impl Setting {
    const fn meaning(self, meaning: &'static str) -> Self {
        Self { meaning, ..self }
    }

    const fn of(self, (parse, show): (Parse, Show)) -> Self {
        self.parse(parse).shown(show)
    }

    const fn parse(self, parse: Parse) -> Self {
        Self { parse, ..self }
    }

    const fn shown(self, show: Show) -> Self {
        Self { show: Some(show), ..self }
    }

    const fn valid(self, is_valid: fn(&CacheConfig) -> bool) -> Self {
        Self { is_valid, ..self }
    }

    const fn also_by_family(self, prefix: &'static str, field: fn(&mut Lifetime) -> Field<'_>) -> Self {
        Self { by_family: Some(ByFamily { prefix, field }), ..self }
    }

    /// Parses `text` into `config`; `None` for a text that is no value of this setting.
    pub(super) fn read(&self, config: &mut CacheConfig, text: &str) -> Option<()> {
        match self.by_family {
            Some(ByFamily { field, .. }) => field(&mut config.lifetimes.default).read(text),
            None => (self.parse)(config, text),
        }
    }

    /// The value in force, as an operator reads it, where this setting shows it.
    pub(super) fn show(&self, config: &CacheConfig) -> Option<String> {
        self.show.map(|show| show(config))
    }

    pub(super) fn is_about_redis(&self) -> bool {
        self.name.starts_with("REDIS_") && self.name != REDIS_ENABLED
    }

    /// The name of the setting that is out of its range in `config`, if one is.
    pub(super) fn out_of_range(&self, config: &CacheConfig) -> Option<String> {
        let Some(ByFamily { prefix, field }) = self.by_family else {
            return (!(self.is_valid)(config)).then(|| self.name.to_owned());
        };
        let is_valid = |mut lifetime: Lifetime| field(&mut lifetime).is_valid();
        if !is_valid(config.lifetimes.default) {
            return Some(self.name.to_owned());
        }
        let mut families = config.lifetimes.families.values();
        families.any(|family| !is_valid(*family)).then(|| format!("{prefix}<FAMILY>"))
    }
}

/// Checks settings that were made in code.
///
/// # Errors
/// `Configuration`, naming every setting that is out of its range.
pub(super) fn check(config: &CacheConfig) -> Result<()> {
    let used = SETTINGS.iter().filter(|setting| config.redis.enabled || !setting.is_about_redis());
    values::error(
        used.filter_map(|setting| Some(format!("{} takes {}", setting.out_of_range(config)?, setting.takes))),
    )
}

/// The settings of lifetimes by name, with their values: those for all families, and for each family those set for it.
pub(super) fn of_lifetimes(lifetimes: &Lifetimes) -> Vec<(String, Option<String>)> {
    let fields = || SETTINGS.iter().filter_map(|setting| Some((setting.name, setting.by_family?)));
    let text = |field: fn(&mut Lifetime) -> Field<'_>, mut lifetime| field(&mut lifetime).to_text();
    let mut settings: Vec<_> =
        fields().map(|(name, of)| (name.to_owned(), text(of.field, lifetimes.default))).collect();
    for (family, lifetime) in &lifetimes.families {
        let set = fields().filter_map(|(_, of)| Some((of.prefix, text(of.field, *lifetime)?)));
        settings.extend(set.map(|(prefix, value)| (of_family(prefix, family), Some(value))));
    }
    settings
}

/// Warnings of settings that have no effect.
pub(super) fn without_effect(config: &CacheConfig) -> Vec<String> {
    let mut warnings = without_expiry(&config.lifetimes);
    warnings.extend(config.memory.without_effect(&config.redis));
    warnings
}

/// Warnings of settings that have no effect because no value ever expires.
fn without_expiry(lifetimes: &Lifetimes) -> Vec<String> {
    let default_expires = lifetimes.default.ttl.is_some();
    let any_expires = lifetimes.all().any(|lifetime| lifetime.ttl.is_some());
    let warning = |name: &str, advice: &str| {
        format!(
            "{name} has no effect on values whose time never ends, unless each load says when: set {advice}"
        )
    };
    let mut warnings = Vec::new();
    for Setting { name, by_family, .. } in SETTINGS {
        let Some(ByFamily { prefix, field }) = by_family else { continue };
        let is_set = |mut lifetime: Lifetime| {
            let field = field(&mut lifetime);
            field.is_about_expiry() && field.to_text().is_some()
        };
        if !any_expires && is_set(lifetimes.default) {
            warnings.push(warning(name, DEFAULT_TTL));
        }
        for (family, lifetime) in &lifetimes.families {
            if !default_expires && lifetime.ttl.is_none() && is_set(*lifetime) {
                let advice = format!("{} or {DEFAULT_TTL}", of_family(FAMILY_TTL, family));
                warnings.push(warning(&of_family(prefix, family), &advice));
            }
        }
    }
    warnings
}

/// The name of the setting with this prefix for `family`.
fn of_family(prefix: &str, family: &str) -> String {
    let in_a_name = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    prefix.chars().chain(family.chars().map(in_a_name)).collect()
}

fn redis_at(config: &mut CacheConfig, url: &str) -> Option<()> {
    let redis = redis_url::read(url, &config.redis);
    put(&mut config.redis, redis)
}

fn redis_port(config: &mut CacheConfig, text: &str) -> Option<()> {
    if let Some((host, port)) = redis_url::kubernetes_port(text) {
        (config.redis.host, config.redis.port) = (host, port);
        return Some(());
    }
    put(&mut config.redis.port, number(text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn document(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    /// The words in backticks.
    fn quoted(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_default_of_the_table_is_the_default_of_the_configuration() {
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            let mut config = CacheConfig::default();
            setting.read(&mut config, setting.default).unwrap();
            if setting.by_family.is_some() {
                continue;
            }
            assert_eq!(format!("{config:?}"), format!("{:?}", CacheConfig::default()), "{}", setting.name);
        }
    }

    #[test]
    fn the_documentation_has_each_setting_with_its_default() {
        let page = document("docs/configuration.md");
        let mut rows = std::collections::HashMap::new();
        for line in page.lines() {
            let mut columns = line.split('|').skip(1);
            let (Some(names), Some(defaults)) = (columns.next(), columns.next()) else { continue };
            let (names, defaults) = (quoted(names), quoted(defaults));
            for (at, name) in names.iter().enumerate() {
                let at = if defaults.len() == names.len() { at } else { 0 };
                rows.insert(*name, defaults.get(at).copied().unwrap_or_default());
            }
        }
        for setting in SETTINGS {
            let documented = rows.get(setting.name).copied();
            let is_right =
                documented.is_some_and(|default| setting.default.is_empty() || default == setting.default);
            assert!(
                is_right,
                "docs/configuration.md: {} with the default {:?}",
                setting.name, setting.default
            );
            let of_family = setting.by_family.map(|of| format!("{}<FAMILY>", of.prefix));
            assert!(of_family.is_none_or(|name| rows.contains_key(name.as_str())), "{}", setting.name);
        }
        let is_ours = |name: &&&str| ["CACHE_", "REDIS_"].iter().any(|prefix| name.starts_with(prefix));
        let is_known = |name: &str| name.contains('<') || SETTINGS.iter().any(|setting| setting.name == name);
        let unknown: Vec<_> = rows.keys().filter(is_ours).filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "docs/configuration.md names what is no setting: {unknown:?}");
    }

    #[test]
    fn the_example_has_each_setting_with_its_meaning_and_its_default() {
        let example = document(".env.example");
        for Setting { name, default, meaning, by_family, .. } in SETTINGS {
            let of_family = by_family.map(|of| format!("\n# For one family of keys: {}<FAMILY>.", of.prefix));
            let expected = format!("\n# {meaning}{}\n#{name}={default}\n", of_family.unwrap_or_default());
            assert!(example.contains(&expected), ".env.example lacks{expected}");
        }
    }

    #[test]
    fn lifetimes_are_shown_under_the_names_by_which_they_are_set() {
        let mut lifetimes = Lifetimes { default: Lifetime::new().jitter(0.25), ..Lifetimes::default() };
        *lifetimes.family("image") = Lifetime::new().ttl(Duration::from_secs(60));
        let set: Vec<_> = of_lifetimes(&lifetimes)
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
            .collect();
        assert_eq!(set, ["CACHE_DEFAULT_JITTER=0.25", "CACHE_TTL_IMAGE=60"]);
    }

    #[test]
    fn settings_without_effect_for_want_of_a_time_to_live_are_named() {
        let stale = Lifetime::new().stale_if_error(Duration::from_secs(60));
        let mut lifetimes = Lifetimes { default: stale, ..Lifetimes::default() };
        *lifetimes.family("image") = stale.jitter(0.5).wait_for_others(Duration::from_millis(1));
        let named = |lifetimes: &Lifetimes| -> Vec<String> {
            let warnings = without_expiry(lifetimes).into_iter();
            warnings.filter_map(|warning| warning.split(' ').next().map(str::to_owned)).collect()
        };
        let of_image = ["CACHE_JITTER_IMAGE", "CACHE_STALE_IF_ERROR_IMAGE"];
        assert_eq!(named(&lifetimes), [of_image[0], "CACHE_DEFAULT_STALE_IF_ERROR", of_image[1]]);
        lifetimes.family("thumbnail").ttl = Some(Duration::from_secs(60));
        assert_eq!(named(&lifetimes), of_image, "thumbnails are served old");
        lifetimes.default.ttl = Some(Duration::from_secs(60));
        assert!(named(&lifetimes).is_empty());
    }
}
