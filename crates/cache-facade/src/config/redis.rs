//! [`RedisConfig`]: where Redis is, and how to reach it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::{CredentialsProvider, Error, ErrorKind, Result};

use super::addresses::{self, Address};
use super::redis_builder::RedisConfigBuilder;
use super::redis_url;
use super::sentinels::Sentinels;

/// A text that neither `Debug` nor an error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it to the server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Where the port is 6380, and for the hosts of Azure and AWS that want it.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How the servers are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RedisMode {
    /// By the Sentinels where they are named; otherwise one server, or a cluster, whatever is found at the address.
    #[default]
    Auto,
    /// One server, by its address. A cluster is refused.
    Single,
    /// The master that the Sentinels name.
    Sentinel,
    /// A cluster, by the address of any node. Any other server is refused.
    Cluster,
}

/// Settings of Redis. Passwords are hidden from `Debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    pub(super) enabled: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) db: u32,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) username_file: Option<PathBuf>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) credentials: Option<CredentialsProvider>,
    pub(super) mode: RedisMode,
    pub(super) sentinels: Sentinels,
    pub(super) nodes: Vec<Address>,
    pub(super) node_map: Vec<(Address, Address)>,
    pub(super) tls: Tls,
    pub(super) tls_name: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) client_cert: Option<PathBuf>,
    pub(super) client_key: Option<PathBuf>,
    pub(super) pool_size: u32,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) trust_restart: bool,
}

impl RedisConfig {
    /// Starts to build the settings of a Redis at `host`, enabled, with the defaults for the rest.
    pub fn at(host: impl Into<String>) -> RedisConfigBuilder {
        let host = redis_url::without_brackets(&host.into());
        RedisConfigBuilder(Self { enabled: true, host, ..Self::default() })
    }

    /// Starts to build the settings of the Redis at `url`: `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    ///
    /// ```
    /// use cache_facade::{CacheConfig, RedisConfig};
    ///
    /// let config = CacheConfig::builder().redis(RedisConfig::from_url("rediss://me:secret@cache.internal")?).build()?;
    /// assert!(config.redis().encrypted());
    /// # Ok::<(), cache_facade::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Configuration` for a text of another form. The error does not repeat it, because of its password.
    pub fn from_url(url: &str) -> Result<RedisConfigBuilder> {
        let read = redis_url::read(url, &Self { enabled: true, ..Self::default() });
        let refused = || Error::new(ErrorKind::Configuration, format!("the URL is no {}", redis_url::FORM));
        read.map(RedisConfigBuilder).ok_or_else(refused)
    }

    /// Whether Redis is the wanted backend. Default: false.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The host's name or address. Default: `localhost`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port. Default: 6379.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, for messages.
    pub(crate) fn address(&self) -> String {
        if self.sentinels.are_named() {
            return self.sentinels.description();
        }
        addresses::shown(&(self.host.clone(), self.port))
    }

    /// How the servers are found. Default: [`RedisMode::Auto`].
    pub fn mode(&self) -> RedisMode {
        self.mode
    }

    /// More nodes of a cluster, as pairs of host and port. Default: none.
    pub fn nodes(&self) -> &[(String, u16)] {
        &self.nodes
    }

    /// Announced addresses of nodes, each with one that can be reached. Default: none.
    pub fn node_map(&self) -> &[(Address, Address)] {
        &self.node_map
    }

    /// The name that certificates must hold. Default: the host.
    pub fn tls_name(&self) -> Option<&str> {
        self.tls_name.as_deref()
    }

    /// The Sentinels, as pairs of host and port. Default: none.
    pub fn sentinels(&self) -> &[(String, u16)] {
        &self.sentinels.addresses
    }

    /// The name of the master that the Sentinels watch. Default: the only one.
    pub fn sentinel_master(&self) -> Option<&str> {
        self.sentinels.master.as_deref()
    }

    /// The user and the password of the Sentinels themselves. Default: none.
    pub fn sentinel_login(&self) -> Option<(Option<&str>, &Secret)> {
        Some((self.sentinels.username.as_deref(), self.sentinels.password.as_ref()?))
    }

    /// The number of the database. Default: 0.
    pub fn db(&self) -> u32 {
        self.db
    }

    /// The user of an access control list. Default: none.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password. Default: none.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The file that holds the user. Default: none.
    pub fn username_file(&self) -> Option<&Path> {
        self.username_file.as_deref()
    }

    /// The file that holds the password. Default: none.
    pub fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// What gives the password of each new connection. Default: none.
    pub fn credentials(&self) -> Option<&CredentialsProvider> {
        self.credentials.as_ref()
    }

    /// Whether the connection is encrypted, with `auto` worked out from port and host.
    pub fn encrypted(&self) -> bool {
        match self.tls {
            Tls::On => true,
            Tls::Off => false,
            Tls::Auto => self.port == 6380 || wants_tls(&self.host, self.has_password()),
        }
    }

    fn has_password(&self) -> bool {
        self.password.is_some() || self.password_file.is_some() || self.credentials.is_some()
    }

    /// The PEM file of the authority that signed the server's certificate. Default: Mozilla's roots, which
    /// are compiled in.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The PEM files of the client's certificate and key. Default: none.
    pub fn client_certificate(&self) -> Option<(&Path, &Path)> {
        self.client_cert.as_deref().zip(self.client_key.as_deref())
    }

    /// How many connections requests share. Default: 1.
    pub fn pool_size(&self) -> u32 {
        self.pool_size
    }

    /// How long an answer may take. Default: 250 milliseconds.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long connecting may take. Default: 500 milliseconds, 1.5 seconds with TLS.
    pub fn connect_timeout(&self) -> Duration {
        let default = Duration::from_millis(if self.encrypted() { 1500 } else { 500 });
        self.connect_timeout.unwrap_or(default)
    }

    /// Whether what a restarted server brings back is served. Default: false.
    pub fn trust_restart(&self) -> bool {
        self.trust_restart
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            host: "localhost".to_owned(),
            port: 6379,
            db: 0,
            username: None,
            password: None,
            username_file: None,
            password_file: None,
            credentials: None,
            mode: RedisMode::Auto,
            sentinels: Sentinels::default(),
            nodes: Vec::new(),
            node_map: Vec::new(),
            tls: Tls::Auto,
            tls_name: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
            pool_size: 1,
            timeout: Duration::from_millis(250),
            connect_timeout: None,
            trust_restart: false,
        }
    }
}

/// Whether `host` is a managed Redis that takes only encrypted connections: Azure always; AWS `ElastiCache` when it is
/// serverless, or has a password, which AWS allows only together with TLS.
fn wants_tls(host: &str, has_password: bool) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let azure = [".redis.cache.windows.net", ".redis.azure.net"];
    let aws = [".cache.amazonaws.com", ".cache.amazonaws.com.cn"];
    azure.iter().any(|suffix| host.ends_with(suffix))
        || aws.iter().any(|suffix| host.ends_with(suffix)) && (has_password || host.contains(".serverless."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_means_tls_where_managed_servers_want_it_and_nowhere_else() {
        let auto = |host: &str, port, password: bool| {
            let redis = RedisConfig::at(host).port(port);
            if password { redis.password("x") } else { redis }.0.encrypted()
        };
        assert!(auto("cache", 6380, false));
        assert!(
            auto("name.redis.cache.windows.net", 6379, false)
                && auto("name.west.redis.azure.net", 10000, true)
        );
        assert!(auto("a.serverless.use1.cache.amazonaws.com", 6379, false));
        assert!(auto("master.x.use1.cache.amazonaws.com", 6379, true));
        assert!(!auto("x.use1.cache.amazonaws.com", 6379, false));
        assert!(!auto("localhost", 6379, true) && !auto("10.0.0.3", 6379, true));
        assert!(!auto("redis.cache.windows.net.example.org", 6379, true));
    }

    #[test]
    fn a_word_about_tls_wins_over_the_guess() {
        assert!(RedisConfig::at("localhost").tls(Tls::On).0.encrypted());
        assert!(!RedisConfig::at("x").port(6380).tls(Tls::Off).0.encrypted());
    }

    #[test]
    fn connecting_takes_longer_with_tls_unless_it_is_said() {
        assert_eq!(RedisConfig::at("x").0.connect_timeout(), Duration::from_millis(500));
        assert_eq!(RedisConfig::at("x").port(6380).0.connect_timeout(), Duration::from_millis(1500));
        let said = Duration::from_millis(7);
        assert_eq!(RedisConfig::at("x").connect_timeout(said).0.connect_timeout(), said);
    }

    #[test]
    fn a_password_is_not_in_debug() {
        let shown = format!("{:?} {:#?}", RedisConfig::at("h").password("hunter2"), Secret::new("hunter2"));
        assert!(!shown.contains("hunter2") && shown.contains("***"));
    }

    #[test]
    fn a_url_enables_redis_and_is_not_in_the_error() {
        let redis = RedisConfig::from_url("rediss://me:hunter2@h:1/2").unwrap().0;
        assert!(redis.enabled() && redis.encrypted());
        assert_eq!((redis.host(), redis.port(), redis.db(), redis.username()), ("h", 1, 2, Some("me")));
        let error = RedisConfig::from_url("http://me:hunter2@h").unwrap_err();
        assert!(
            error.kind() == ErrorKind::Configuration && !error.to_string().contains("hunter2"),
            "{error}"
        );
    }
}
