//! Settings as text, from whatever layer, into a [`CacheConfig`]: a pure function.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use cache_core::Result;

use super::layers::{Environment, Setting};
use super::lifetimes::{KINDS, Lifetimes, seconds};
use super::rules::{self, Problem};
use super::{CacheConfig, Fallback, RedisConfig, Secret, Tls, names, url};

const TEXT: &str = "text in UTF-8";
const PEM: &str =
    "the path of a PEM file, written in full: neither ~ nor $NAME nor quotes are replaced in it";
const BOOLEAN: &str = "true or false (also yes, no, on, off, 1, 0)";

/// Builds the configuration from the settings whose names are the cache's.
///
/// # Errors
/// `Configuration`, naming every setting that does not parse.
pub(super) fn config(environment: &Environment) -> Result<CacheConfig> {
    let mut parser = Parser::new(environment);
    let mut config = parser.cache();
    config.redis = parser.redis();
    parser.finish(config)
}

/// A number of digits alone: `FromStr` would take a `+` too.
pub(super) fn plain_number<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

struct Parser {
    settings: BTreeMap<String, Setting>,
    warnings: Vec<String>,
    problems: Vec<String>,
    redis_problems: Vec<String>,
}

impl Parser {
    fn new(environment: &Environment) -> Self {
        let mut settings = environment.settings.clone();
        settings.retain(|name, _| names::is_ours(name));
        let mut warnings = environment.warnings.clone();
        for (name, setting) in &settings {
            let value = setting.value.as_deref().unwrap_or_default();
            if let Some(advice) = names::advice(name, value) {
                warnings.push(format!("{name}{} is no setting of the cache; {advice}", setting.place()));
            }
        }
        Self { settings, warnings, problems: Vec::new(), redis_problems: Vec::new() }
    }

    fn cache(&mut self) -> CacheConfig {
        let default = CacheConfig::default();
        CacheConfig {
            enabled: self.boolean("CACHE_ENABLED").unwrap_or(default.enabled),
            directory: self.read(rules::DIRECTORY, path).unwrap_or(default.directory),
            size_mb: self.read(rules::SIZE, plain_number).unwrap_or(default.size_mb),
            namespace: self.read(rules::NAMESPACE, owned).unwrap_or(default.namespace),
            lifetimes: self.lifetimes(),
            fallback: self.read(FALLBACK, fallback).unwrap_or(default.fallback),
            fallback_max_age: self.read(rules::MAX_AGE, seconds).unwrap_or(default.fallback_max_age),
            clear_on_start: self.boolean("CACHE_CLEAR_ON_START").unwrap_or(default.clear_on_start),
            clear_without_record: self
                .boolean("CACHE_CLEAR_WITHOUT_RECORD")
                .unwrap_or(default.clear_without_record),
            verify: self.read(rules::VERIFY, |text| text.parse().ok()).unwrap_or(default.verify),
            page_cache_mb: self.read(rules::PAGE_CACHE, plain_number).unwrap_or(default.page_cache_mb),
            load_timeout: self.read(rules::LOAD_TIMEOUT, millis).unwrap_or(default.load_timeout),
            redis: default.redis,
            clock: default.clock,
            warnings: default.warnings,
        }
    }

    fn lifetimes(&mut self) -> Lifetimes {
        let mut lifetimes = Lifetimes::default();
        for kind in &KINDS {
            let takes =
                if kind.default == rules::DEFAULT_TTL.name { rules::DEFAULT_TTL.takes } else { kind.takes };
            let setting = Problem { name: kind.default, takes };
            if let Some(lifetime) = self.read(setting, |text| (kind.read)(lifetimes.default, text)) {
                lifetimes.default = lifetime;
            }
            let names: Vec<String> =
                self.settings.keys().filter(|name| name.starts_with(kind.prefix)).cloned().collect();
            for name in names {
                let family = name.strip_prefix(kind.prefix).unwrap_or_default().to_lowercase();
                if self.settings.get(&name).is_some_and(|setting| setting.value.is_none()) {
                    self.problems.push(self.sentence(&name, TEXT));
                }
                let Some(text) = self.text(&name).filter(|_| !family.is_empty()) else { continue };
                let lifetime = lifetimes.family(family);
                match (kind.read)(*lifetime, &text) {
                    Some(read) => *lifetime = read,
                    None => self.problems.push(self.sentence(&name, kind.takes)),
                }
            }
        }
        lifetimes
    }

    fn redis(&mut self) -> RedisConfig {
        let default = RedisConfig::default();
        let tls = self.read_redis(TLS, tls);
        let host = self.text("REDIS_HOST").map(url::without_brackets);
        let injected = self.text("REDIS_PORT").as_deref().and_then(url::kubernetes_port);
        let (host, port) = match injected {
            Some((injected, port)) => (host.unwrap_or(injected), Some(port)),
            None => (host.unwrap_or(default.host), self.read_redis(rules::PORT, plain_number)),
        };
        let redis = RedisConfig {
            enabled: self.boolean("REDIS_ENABLED").unwrap_or(default.enabled),
            host,
            port: port.unwrap_or(default.port),
            db: self.read_redis(DB, plain_number).unwrap_or(default.db),
            username: self.text("REDIS_USERNAME"),
            password: self.untrimmed("REDIS_PASSWORD").map(Secret::new),
            username_file: self.read_redis(rules::USERNAME_FILE, path),
            password_file: self.read_redis(rules::PASSWORD_FILE, path),
            credentials: None,
            tls: tls.unwrap_or(default.tls),
            ca_file: self.read_redis(CA_FILE, path),
            client_cert: self.read_redis(CLIENT_CERT, path),
            client_key: self.read_redis(CLIENT_KEY, path),
            pool_size: self.read_redis(rules::POOL_SIZE, plain_number).unwrap_or(default.pool_size),
            timeout: self.read_redis(rules::TIMEOUT, millis).unwrap_or(default.timeout),
            connect_timeout: self.read_redis(rules::CONNECT_TIMEOUT, millis),
            trust_restart: self.read_redis(TRUST_RESTART, boolean).unwrap_or(default.trust_restart),
        };
        let _single = self.read_redis(MODE, |text| text.eq_ignore_ascii_case("single").then_some(()));
        if redis.client_cert.is_some() != redis.client_key.is_some() {
            self.redis_problems
                .push("REDIS_CLIENT_CERT and REDIS_CLIENT_KEY go together: set both".to_owned());
        }
        let redis = match self.untrimmed("REDIS_URL") {
            Some(text) => self.redis_at(text.trim(), redis, tls),
            None => redis,
        };
        for Problem { name, takes } in rules::redis_problems(&redis) {
            let problem = self.sentence(name, takes);
            if !self.redis_problems.contains(&problem) {
                self.redis_problems.push(problem);
            }
        }
        redis
    }

    /// What `REDIS_URL` says, over the single settings that it replaces.
    fn redis_at(&mut self, text: &str, redis: RedisConfig, said: Option<Tls>) -> RedisConfig {
        for name in ["REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_USERNAME", "REDIS_PASSWORD"] {
            let injected = self.text(name).as_deref().and_then(url::kubernetes_port).is_some();
            if self.text(name).is_some() && !injected {
                self.warnings.push(format!("{name} has no effect, because REDIS_URL is set"));
            }
        }
        let Some(read) = url::read(text, redis.clone()) else {
            let problem = self.sentence("REDIS_URL", url::FORM);
            self.redis_problems.push(problem);
            return redis;
        };
        match (read.tls, said) {
            (Tls::On, Some(Tls::Off)) => {
                let problem =
                    "REDIS_TLS is false and REDIS_URL begins with rediss://: they contradict each other";
                self.redis_problems.push(problem.to_owned());
                read
            }
            (_, Some(Tls::On)) => read.with_tls(Tls::On),
            _ => read,
        }
    }

    fn finish(mut self, mut config: CacheConfig) -> Result<CacheConfig> {
        for Problem { name, takes } in rules::cache_problems(&config) {
            let problem = self.sentence(name, takes);
            self.problems.push(problem);
        }
        if config.redis.enabled {
            self.problems.append(&mut self.redis_problems);
        } else {
            let idle = self.redis_problems.iter().map(|problem| format!("{problem}; not used, Redis is off"));
            self.warnings.extend(idle);
        }
        if let Some(error) = rules::error(&self.problems) {
            return Err(error);
        }
        self.warnings.extend(config.lifetimes.idle());
        config.warnings = self.warnings;
        Ok(config)
    }

    fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.read(Problem { name, takes: BOOLEAN }, boolean)
    }

    fn read<T>(&mut self, setting: Problem, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (value, problem) = self.parsed(setting, parse);
        self.problems.extend(problem);
        value
    }

    fn read_redis<T>(&mut self, setting: Problem, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (value, problem) = self.parsed(setting, parse);
        self.redis_problems.extend(problem);
        value
    }

    fn parsed<T>(&self, setting: Problem, parse: impl Fn(&str) -> Option<T>) -> (Option<T>, Option<String>) {
        let Problem { name, takes } = setting;
        match self.settings.get(name) {
            Some(Setting { value: None, .. }) => (None, Some(self.sentence(name, TEXT))),
            _ => match self.text(name).map(|text| parse(&text)) {
                None => (None, None),
                Some(Some(value)) => (Some(value), None),
                Some(None) => (None, Some(self.sentence(name, takes))),
            },
        }
    }

    /// The value of `name` without white space around it; `None` where it is unset or empty.
    fn text(&self, name: &str) -> Option<String> {
        let value = self.settings.get(name)?.value.as_deref()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value of `name` as it is; `None` where it is unset or empty.
    fn untrimmed(&self, name: &str) -> Option<String> {
        self.settings.get(name)?.value.clone().filter(|value| !value.is_empty())
    }

    fn sentence(&self, name: &str, takes: &str) -> String {
        let place = self.settings.get(name).map(Setting::place).unwrap_or_default();
        format!("{name}{place} takes {takes}")
    }
}

const FALLBACK: Problem = Problem { name: "CACHE_FALLBACK", takes: "disk or none" };
const DB: Problem = Problem { name: "REDIS_DB", takes: "the number of a database, from 0" };
const TLS: Problem = Problem { name: "REDIS_TLS", takes: "auto, true or false" };
const MODE: Problem =
    Problem { name: "REDIS_MODE", takes: "single; cluster and sentinel are not supported yet" };
const CA_FILE: Problem = Problem { name: "REDIS_CA_FILE", takes: PEM };
const CLIENT_CERT: Problem = Problem { name: "REDIS_CLIENT_CERT", takes: PEM };
const CLIENT_KEY: Problem = Problem { name: "REDIS_CLIENT_KEY", takes: PEM };
const TRUST_RESTART: Problem = Problem { name: "REDIS_TRUST_RESTART", takes: BOOLEAN };

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn tls(text: &str) -> Option<Tls> {
    if text.eq_ignore_ascii_case("auto") {
        return Some(Tls::Auto);
    }
    boolean(text).map(|on| if on { Tls::On } else { Tls::Off })
}

fn fallback(text: &str) -> Option<Fallback> {
    match text.to_ascii_lowercase().as_str() {
        "disk" => Some(Fallback::Disk),
        "none" => Some(Fallback::None),
        _ => None,
    }
}

fn millis(text: &str) -> Option<Duration> {
    plain_number(text).filter(|millis| *millis > 0).map(Duration::from_millis)
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| rules::is_path(path))
}

#[expect(clippy::unnecessary_wraps, reason = "the form of every parser here")]
fn owned(text: &str) -> Option<String> {
    Some(text.to_owned())
}
