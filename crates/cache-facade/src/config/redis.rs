//! [`RedisConfig`]: where Redis is, and how to reach it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::{Credentials, CredentialsProvider};

use super::addresses::{self, Address};
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
    /// A Redis at `host`, enabled, with the defaults for the rest.
    pub fn at(host: impl Into<String>) -> Self {
        Self { enabled: true, host: super::redis_url::without_brackets(&host.into()), ..Self::default() }
    }

    /// Sets the port. Default: 6379.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Sets the number of the database. Default: 0.
    #[must_use]
    pub fn with_db(self, db: u32) -> Self {
        Self { db, ..self }
    }

    /// Sets the user of an access control list. Default: none.
    #[must_use]
    pub fn with_username(self, username: impl Into<String>) -> Self {
        Self { username: Some(username.into()), ..self }
    }

    /// Sets the password. Default: none.
    #[must_use]
    pub fn with_password(self, password: impl Into<String>) -> Self {
        Self { password: Some(Secret::new(password)), ..self }
    }

    /// Sets the file that holds the user, read again for each new connection. Default: none.
    #[must_use]
    pub fn with_username_file(self, path: impl Into<PathBuf>) -> Self {
        Self { username_file: Some(path.into()), ..self }
    }

    /// Sets the file that holds the password, read again for each new connection: one that is rotated needs no restart. The
    /// end of its line does not count. Default: none.
    #[must_use]
    pub fn with_password_file(self, path: impl Into<PathBuf>) -> Self {
        Self { password_file: Some(path.into()), ..self }
    }

    /// Sets what gives the password, and perhaps the user, of each new connection: for tokens that end after a while. It wins
    /// over the other settings of the login. Default: none.
    ///
    /// It is called for each new connection, of which there is one a second at least, so that it ought to keep a token as
    /// long as that is good, and has half of [`connect_timeout`](Self::connect_timeout) to answer. Where it fails, panics or is
    /// late, the last credentials that the server has accepted are used, with a warning.
    ///
    /// ```
    /// use cache_facade::{Credentials, RedisConfig};
    ///
    /// # async fn current_token() -> std::io::Result<String> { Ok(String::new()) }
    /// let redis = RedisConfig::at("cache.internal").with_credentials(|| async {
    ///     let token = current_token().await?;
    ///     Ok::<_, std::io::Error>(Credentials::new(token).with_username("cache"))
    /// });
    /// ```
    #[must_use]
    pub fn with_credentials<F, Fut, E>(self, provide: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self { credentials: Some(CredentialsProvider::new(provide)), ..self }
    }

    /// Sets how the servers are found. Default: [`RedisMode::Auto`].
    #[must_use]
    pub fn with_mode(self, mode: RedisMode) -> Self {
        Self { mode, ..self }
    }

    /// Names more nodes of a cluster, as pairs of host and port, which are asked for the others while the first one is away.
    /// Default: none.
    #[must_use]
    pub fn with_nodes<H: Into<String>>(self, nodes: impl IntoIterator<Item = (H, u16)>) -> Self {
        Self { nodes: nodes.into_iter().map(|(host, port)| (host.into(), port)).collect(), ..self }
    }

    /// Maps addresses that nodes of a cluster announce to addresses at which they can be reached, for clusters behind a
    /// translation of addresses. Default: none.
    #[must_use]
    pub fn with_node_map(self, pairs: impl IntoIterator<Item = ((String, u16), (String, u16))>) -> Self {
        Self { node_map: pairs.into_iter().collect(), ..self }
    }

    /// Sets the name that certificates must hold. Default: the host; for nodes of a cluster that announce an IP address, the
    /// host of the first node.
    #[must_use]
    pub fn with_tls_name(self, name: impl Into<String>) -> Self {
        Self { tls_name: Some(name.into()), ..self }
    }

    /// Names the Sentinels of a replicated Redis, as pairs of host and port; they tell the address of the master, instead of host
    /// and port. User, password and TLS are those of the master. Default: none.
    #[must_use]
    pub fn with_sentinels<H: Into<String>>(mut self, addresses: impl IntoIterator<Item = (H, u16)>) -> Self {
        self.sentinels.addresses = addresses.into_iter().map(|(host, port)| (host.into(), port)).collect();
        self
    }

    /// Names the master, where the [Sentinels](Self::with_sentinels) watch several. Default: the only one.
    #[must_use]
    pub fn with_sentinel_master(mut self, name: impl Into<String>) -> Self {
        self.sentinels.master = Some(name.into());
        self
    }

    /// Sets the user and the password of the [Sentinels](Self::with_sentinels) themselves. Default: none.
    #[must_use]
    pub fn with_sentinel_login(mut self, username: Option<String>, password: impl Into<String>) -> Self {
        (self.sentinels.username, self.sentinels.password) = (username, Some(Secret::new(password)));
        self
    }

    /// Sets whether the connection is encrypted. Default: [`Tls::Auto`].
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// Sets the PEM file of the authority that signed the server's certificate. Default: Mozilla's roots, which
    /// are compiled in.
    #[must_use]
    pub fn with_ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(path.into()), ..self }
    }

    /// Sets the PEM files of the client's certificate and key. Default: none.
    #[must_use]
    pub fn with_client_certificate(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { client_cert: Some(cert.into()), client_key: Some(key.into()), ..self }
    }

    /// Sets how many connections requests share, 1 to 1024, spread by what is in flight. Default: 1, on which the most requests
    /// travel together.
    #[must_use]
    pub fn with_pool_size(self, pool_size: u32) -> Self {
        Self { pool_size, ..self }
    }

    /// Sets how long an answer may take. Default: 250 milliseconds.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets how long connecting may take. Default: 500 milliseconds, 1.5 seconds with TLS.
    #[must_use]
    pub fn with_connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: Some(timeout), ..self }
    }

    /// Sets whether what a restarted server brings back is served. Default: false, because it may be stale.
    #[must_use]
    pub fn with_trust_restart(self, trust: bool) -> Self {
        Self { trust_restart: trust, ..self }
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
            let redis = RedisConfig::at(host).with_port(port);
            if password { redis.with_password("x") } else { redis }.encrypted()
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
        assert!(RedisConfig::at("localhost").with_tls(Tls::On).encrypted());
        assert!(!RedisConfig::at("x").with_port(6380).with_tls(Tls::Off).encrypted());
    }

    #[test]
    fn connecting_takes_longer_with_tls_unless_it_is_said() {
        assert_eq!(RedisConfig::at("x").connect_timeout(), Duration::from_millis(500));
        assert_eq!(RedisConfig::at("x").with_port(6380).connect_timeout(), Duration::from_millis(1500));
        let said = Duration::from_millis(7);
        assert_eq!(RedisConfig::at("x").with_connect_timeout(said).connect_timeout(), said);
    }

    #[test]
    fn a_password_is_not_in_debug() {
        let shown =
            format!("{:?} {:#?}", RedisConfig::at("h").with_password("hunter2"), Secret::new("hunter2"));
        assert!(!shown.contains("hunter2") && shown.contains("***"));
    }
}
