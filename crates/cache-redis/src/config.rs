//! [`RedisConfig`]: the address of the server, and how to connect to it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, CredentialsProvider, Error, ErrorKind, MEGABYTE, NearConfig, Result, SystemClock};

use crate::last_server::LastServerRecord;
use crate::login::{Login, Password};

/// The Sentinels of a replicated group. `Debug` does not show the password.
#[derive(Clone, Default)]
pub(crate) struct SentinelConfig {
    pub(crate) addresses: Vec<(String, u16)>,
    pub(crate) master: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl fmt::Display for SentinelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.master.as_deref().unwrap_or("the master"))?;
        f.write_str(" of the Sentinels")?;
        self.addresses.iter().try_for_each(|(host, port)| write!(f, " {host}:{port}"))
    }
}

impl fmt::Debug for SentinelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which kind of servers an address leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RedisMode {
    /// Whatever the server says.
    #[default]
    Auto,
    /// One server, or one master with replicas. A node of a cluster is refused.
    Single,
    /// A cluster. Any other server is refused.
    Cluster,
}

/// A host and a port.
pub(crate) type Address = (String, u16);

/// Settings of a Redis cache. `Debug` does not show the password.
///
/// ```
/// use std::time::Duration;
///
/// use cache_redis::RedisConfig;
///
/// let config = RedisConfig::new("cache.internal").db(2).password("secret").timeout(Duration::from_millis(100));
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct RedisConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) db: u32,
    pub(crate) login: Login,
    pub(crate) tls: bool,
    pub(crate) ca_file: Option<PathBuf>,
    /// The files of the certificate and its key.
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) sentinels: Option<SentinelConfig>,
    pub(crate) mode: RedisMode,
    /// More nodes of the cluster, besides `host`.
    pub(crate) nodes: Vec<Address>,
    /// Announced addresses of nodes, each with one that can be reached.
    pub(crate) node_map: Vec<(Address, Address)>,
    /// The name in the server's certificate, where that is not the host.
    pub(crate) tls_name: Option<String>,
    pub(crate) namespace: String,
    pub(crate) pool_size: u32,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) reference_limit_bytes: u64,
    pub(crate) trust_restart: bool,
    pub(crate) near: Option<NearConfig>,
    pub(crate) last_server_record: Option<Arc<dyn LastServerRecord>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl RedisConfig {
    /// Creates settings for the server at `host`, with the defaults for everything else.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: 6379,
            db: 0,
            login: Login::default(),
            tls: false,
            ca_file: None,
            client_certificate: None,
            sentinels: None,
            mode: RedisMode::Auto,
            nodes: Vec::new(),
            node_map: Vec::new(),
            tls_name: None,
            namespace: "app".to_owned(),
            pool_size: 1,
            timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_millis(500),
            heartbeat: Duration::from_secs(1),
            reference_limit_bytes: 1000 * MEGABYTE,
            trust_restart: false,
            near: None,
            last_server_record: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Names the Sentinels of a replicated group instead of one server, as pairs of host and port. Each connection goes to the
    /// master that they name; TLS, user and password are those of the master. Default: none.
    pub fn sentinels(self, addresses: impl IntoIterator<Item = (String, u16)>) -> Self {
        let addresses = addresses.into_iter().collect();
        self.with_sentinels(|sentinels| SentinelConfig { addresses, ..sentinels })
    }

    /// Names the master, where the [`sentinels`](Self::sentinels) watch several. Default: the only one.
    pub fn sentinel_master(self, name: impl Into<String>) -> Self {
        self.with_sentinels(|sentinels| SentinelConfig { master: Some(name.into()), ..sentinels })
    }

    /// Sets the user and the password of the [`sentinels`](Self::sentinels) themselves. Default: none.
    pub fn sentinel_login(self, username: Option<String>, password: impl Into<String>) -> Self {
        self.with_sentinels(|sentinels| SentinelConfig {
            username,
            password: Some(password.into()),
            ..sentinels
        })
    }

    fn with_sentinels(self, change: impl FnOnce(SentinelConfig) -> SentinelConfig) -> Self {
        let sentinels = self.sentinels.clone().unwrap_or_default();
        Self { sentinels: Some(change(sentinels)), ..self }
    }

    /// Sets which kind of servers is expected. Default: whatever the server says that the address leads to.
    pub fn mode(self, mode: RedisMode) -> Self {
        Self { mode, ..self }
    }

    /// Names more nodes of the cluster, as pairs of host and port, which are asked for the others where the first one is away.
    /// Default: none.
    pub fn nodes(self, nodes: impl IntoIterator<Item = (String, u16)>) -> Self {
        Self { nodes: nodes.into_iter().collect(), ..self }
    }

    /// Maps addresses that nodes of the cluster announce to addresses at which they can be reached, for clusters behind a
    /// translation of addresses. Default: none.
    pub fn node_map(self, pairs: impl IntoIterator<Item = ((String, u16), (String, u16))>) -> Self {
        Self { node_map: pairs.into_iter().collect(), ..self }
    }

    /// Sets the name that the certificate of the server, or of each node of the cluster, must hold. Only with
    /// [`tls`](Self::tls). Default: the host; for nodes that announce an IP address the host of the first node.
    pub fn tls_name(self, name: impl Into<String>) -> Self {
        Self { tls_name: Some(name.into()), ..self }
    }

    /// Sets the port. Default: 6379.
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Sets the number of the database. Default: 0.
    pub fn db(self, db: u32) -> Self {
        Self { db, ..self }
    }

    /// Sets the user of an access control list. Default: none.
    pub fn username(self, username: impl Into<String>) -> Self {
        Self { login: Login { username: Some(username.into()), ..self.login }, ..self }
    }

    /// Names a file that holds the user, instead of [`username`](Self::username). It is read again for each new connection,
    /// at least once a heartbeat; a final line break does not count. Default: none.
    pub fn username_file(self, path: impl Into<PathBuf>) -> Self {
        Self { login: Login { username_file: Some(path.into()), ..self.login }, ..self }
    }

    /// Sets the password. Default: none.
    pub fn password(self, password: impl Into<String>) -> Self {
        self.with(Password::Fixed(password.into()))
    }

    /// Names a file that holds the password, instead of [`password`](Self::password), so that a rotation needs no restart. It
    /// is read again for each new connection, at least once a heartbeat; a final line break does not count. Default: none.
    ///
    /// A file that cannot be read or is empty makes the first connection fail with `Configuration`; later ones use the last
    /// password that the server has accepted, with a warning.
    pub fn password_file(self, path: impl Into<PathBuf>) -> Self {
        self.with(Password::File(path.into()))
    }

    /// Sets a provider of the password and optionally the user, instead of [`password`](Self::password), for tokens that
    /// expire. Default: none.
    ///
    /// It is called for each new connection, at least once a heartbeat, so it should cache a valid token. It has half of
    /// [`connect_timeout`](Self::connect_timeout) to answer. If it fails, panics or is late, the first connection
    /// fails; later ones use the last credentials that the server has accepted, with a warning.
    pub fn credentials(self, provider: CredentialsProvider) -> Self {
        self.with(Password::Provider(provider))
    }

    fn with(self, password: Password) -> Self {
        Self { login: Login { password: Some(password), ..self.login }, ..self }
    }

    /// Encrypts connections (TLS 1.3) and verifies the server's certificate and name. Default: off.
    ///
    /// With this setting no connection is ever made unencrypted.
    pub fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// Names a PEM file with the authorities to trust instead of Mozilla's, which are compiled in. Only with
    /// [`tls`](Self::tls).
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(path.into()), ..self }
    }

    /// Names the PEM files of the client certificate. Only with [`tls`](Self::tls). Default: none.
    pub fn client_certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { client_certificate: Some((certificate.into(), key.into())), ..self }
    }

    /// Sets the beginning of every key; caches of different namespaces share nothing. 1 to 64 of the characters
    /// `a-z A-Z 0-9 - _ .`. Default: `app`.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// Sets the number of connections that requests share, 1 to 1024, spread by what is in flight; a heartbeat opens one more
    /// until there are as many. Values over 1 MiB have connections of their own. Default: 1, on which the most requests travel
    /// together; more pay only where one core cannot read what the server sends.
    pub fn pool_size(self, pool_size: u32) -> Self {
        Self { pool_size, ..self }
    }

    /// Limits the time of an operation, the wait for a connection included. Default: 250 ms.
    ///
    /// Clearing families, globs and everything has no limit; each of its steps has one.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Limits the time of connecting. Default: 500 ms.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets the interval at which a new connection checks that the server is still the same and a master. Default: 1 s.
    ///
    /// This is also the longest time for which a demoted or isolated master may be read: three heartbeats where the heartbeat
    /// itself does not run.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    /// Sets the base of `limit_mb` and `usage_percent` where the server has no `maxmemory`. Default: 1000 MiB.
    pub fn reference_limit_bytes(self, reference_limit_bytes: u64) -> Self {
        Self { reference_limit_bytes, ..self }
    }

    /// Keeps values that were read in memory, too, as fresh as the server: each invalidation by any instance returns when all
    /// instances that keep values in memory have forgotten the old ones, or after half a second. Default: none, and never with
    /// [`trust_restart`](Self::trust_restart).
    pub fn near(self, near: NearConfig) -> Self {
        Self { near: Some(near), ..self }
    }

    /// Serves values that a restarted or promoted server brings back. Default: off.
    ///
    /// This gives up the promise that nothing stale is served. It is safe only where the server acknowledges nothing
    /// before it is on its disk (`appendfsync always`) and no replica is ever promoted.
    pub fn trust_restart(self) -> Self {
        Self { trust_restart: true, ..self }
    }

    /// Sets the record that remembers the last server across restarts of this process. Default: none; then only this
    /// process's own use of servers counts.
    pub fn last_server_record(self, record: Arc<dyn LastServerRecord>) -> Self {
        Self { last_server_record: Some(record), ..self }
    }

    /// Sets the clock of expiry and of the checks of the server. Default: the system's clocks.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Returns the settings of the node of a cluster that announces `host` and `port`.
    pub(crate) fn of_node(&self, host: &str, port: u16) -> Self {
        let announced = (host.to_owned(), port);
        let mapped = self.node_map.iter().find(|(from, _)| *from == announced);
        let (host, port) = mapped.map_or_else(|| announced.clone(), |(_, to)| to.clone());
        // Certificates are made for names; nodes may announce addresses.
        let is_ip = announced.0.parse::<IpAddr>().is_ok();
        let tls_name = self.tls_name.clone().or_else(|| (self.tls && is_ip).then(|| self.host.clone()));
        Self { host, port, tls_name, mode: RedisMode::Cluster, ..self.clone() }
    }

    /// Returns the address for messages.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if let Some(sentinels) = &self.sentinels {
            return sentinels.to_string();
        }
        address_text(host, *port)
    }

    /// Returns the settings without the login, so that opening a connection sends no secret.
    pub(crate) fn without_login(&self) -> Self {
        Self { login: Login::default(), db: 0, ..self.clone() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let problem = if self.namespace.is_empty()
            || self.namespace.len() > 64
            || !self.namespace.chars().all(is_plain)
        {
            format!("the namespace {:?} is not 1 to 64 of the characters a-z A-Z 0-9 - _ .", self.namespace)
        } else if self.sentinels.as_ref().is_some_and(|sentinels| sentinels.addresses.is_empty()) {
            "there is no Sentinel; set REDIS_SENTINELS to their addresses".to_owned()
        } else if !(1..=1024).contains(&self.pool_size) {
            format!("a pool of {} connections is not between 1 and 1024", self.pool_size)
        } else if self.timeout.is_zero() || self.connect_timeout.is_zero() || self.heartbeat.is_zero() {
            "a timeout or heartbeat of zero lets nothing succeed".to_owned()
        } else if !self.tls && (self.ca_file.is_some() || self.client_certificate.is_some()) {
            "there are certificates, and TLS is off; set REDIS_TLS=true".to_owned()
        } else if self.tls_name.is_some() && (!self.tls || self.sentinels.is_some()) {
            "REDIS_TLS_NAME is only for REDIS_TLS=true without Sentinels; remove it".to_owned()
        } else if self.mode == RedisMode::Cluster && self.db != 0 {
            "a cluster has only the database 0; remove REDIS_DB".to_owned()
        } else if self.mode == RedisMode::Cluster && self.sentinels.is_some() {
            "a cluster needs no Sentinels; remove REDIS_SENTINELS, or REDIS_MODE".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Configuration, format!("Redis at {}: {problem}", self.address())))
    }
}

/// Returns an address as it is written in messages.
pub(crate) fn address_text(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_in_debug() {
        let config = RedisConfig::new("h").username("u").password("hunter2").sentinel_login(None, "hunter2");
        assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
    }

    #[test]
    fn a_node_is_reached_by_the_map_and_verified_by_a_name() {
        let seed = RedisConfig::new("cluster.example")
            .tls()
            .node_map([(("10.0.0.1".to_owned(), 1), ("nat".to_owned(), 2))]);
        let node = seed.of_node("10.0.0.1", 1);
        assert_eq!(
            (node.host.as_str(), node.port, node.tls_name.as_deref()),
            ("nat", 2, Some("cluster.example"))
        );
        let node = seed.of_node("node1.example", 7);
        assert_eq!((node.host.as_str(), node.port, node.tls_name), ("node1.example", 7, None));
        assert_eq!(RedisConfig::new("h").of_node("10.0.0.1", 1).tls_name, None);
        assert_eq!(seed.tls_name("x").of_node("node1.example", 7).tls_name.as_deref(), Some("x"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(RedisConfig::new("h").check().is_ok());
        for bad in [
            RedisConfig::new("h").namespace(""),
            RedisConfig::new("h").namespace("a:b"),
            RedisConfig::new("h").namespace("a*"),
            RedisConfig::new("h").pool_size(0),
            RedisConfig::new("h").timeout(Duration::ZERO),
            RedisConfig::new("h").ca_file("ca.pem"),
            RedisConfig::new("h").tls_name("name"),
            RedisConfig::new("h").mode(RedisMode::Cluster).db(1),
            RedisConfig::new("h").mode(RedisMode::Cluster).sentinels([("s".to_owned(), 1)]),
            RedisConfig::new("h").client_certificate("c.pem", "k.pem"),
        ] {
            assert_eq!(bad.check().unwrap_err().kind(), ErrorKind::Configuration);
        }
    }
}
