//! [`RedisConfigBuilder`]: settings of Redis from code.

use std::path::PathBuf;
use std::time::Duration;

use cache_core::{Credentials, CredentialsProvider};

use super::redis::{RedisConfig, RedisMode, Secret, Tls};

/// Builds a [`RedisConfig`] from code; made by [`RedisConfig::at`] and [`RedisConfig::from_url`], taken and checked by
/// [`CacheConfigBuilder::redis`](crate::config::CacheConfigBuilder::redis).
#[derive(Debug, Clone)]
#[must_use]
pub struct RedisConfigBuilder(pub(super) RedisConfig);

impl RedisConfigBuilder {
    /// Sets the port. Default: 6379.
    pub fn port(self, port: u16) -> Self {
        Self(RedisConfig { port, ..self.0 })
    }

    /// Sets the number of the database. Default: 0.
    pub fn db(self, db: u32) -> Self {
        Self(RedisConfig { db, ..self.0 })
    }

    /// Sets the user of an access control list. Default: none.
    pub fn username(self, username: impl Into<String>) -> Self {
        Self(RedisConfig { username: Some(username.into()), ..self.0 })
    }

    /// Sets the password. Default: none.
    pub fn password(self, password: impl Into<String>) -> Self {
        Self(RedisConfig { password: Some(Secret::new(password)), ..self.0 })
    }

    /// Sets the file that holds the user, read again for each new connection. Default: none.
    pub fn username_file(self, path: impl Into<PathBuf>) -> Self {
        Self(RedisConfig { username_file: Some(path.into()), ..self.0 })
    }

    /// Sets the file that holds the password, read again for each new connection: one that is rotated needs no restart. The
    /// end of its line does not count. Default: none.
    pub fn password_file(self, path: impl Into<PathBuf>) -> Self {
        Self(RedisConfig { password_file: Some(path.into()), ..self.0 })
    }

    /// Sets what gives the password, and perhaps the user, of each new connection: for tokens that end after a while. It wins
    /// over the other settings of the login. Default: none.
    ///
    /// It is called for each new connection, of which there is one a second at least, so that it ought to keep a token as
    /// long as that is good, and has half of [`connect_timeout`](Self::connect_timeout) to answer. Where it fails, panics or is
    /// late, the last credentials that the server has accepted are used, with a warning.
    ///
    /// ```
    /// use cache_facade::{RedisConfig, config::Credentials};
    ///
    /// # async fn current_token() -> std::io::Result<String> { Ok(String::new()) }
    /// let redis = RedisConfig::at("cache.internal").credentials(|| async {
    ///     let token = current_token().await?;
    ///     Ok::<_, std::io::Error>(Credentials::new(token).with_username("cache"))
    /// });
    /// ```
    pub fn credentials<F, Fut, E>(self, provide: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(RedisConfig { credentials: Some(CredentialsProvider::new(provide)), ..self.0 })
    }

    /// Sets how the servers are found. Default: [`RedisMode::Auto`].
    pub fn mode(self, mode: RedisMode) -> Self {
        Self(RedisConfig { mode, ..self.0 })
    }

    /// Names more nodes of a cluster, as pairs of host and port, which are asked for the others while the first one is away.
    /// Default: none.
    pub fn nodes<H: Into<String>>(self, nodes: impl IntoIterator<Item = (H, u16)>) -> Self {
        Self(RedisConfig {
            nodes: nodes.into_iter().map(|(host, port)| (host.into(), port)).collect(),
            ..self.0
        })
    }

    /// Maps addresses that nodes of a cluster announce to addresses at which they can be reached, for clusters behind a
    /// translation of addresses. Default: none.
    pub fn node_map(self, pairs: impl IntoIterator<Item = ((String, u16), (String, u16))>) -> Self {
        Self(RedisConfig { node_map: pairs.into_iter().collect(), ..self.0 })
    }

    /// Sets the name that certificates must hold. Default: the host; for nodes of a cluster that announce an IP address, the
    /// host of the first node.
    pub fn tls_name(self, name: impl Into<String>) -> Self {
        Self(RedisConfig { tls_name: Some(name.into()), ..self.0 })
    }

    /// Names the Sentinels of a replicated Redis, as pairs of host and port; they tell the address of the master, instead of host
    /// and port. User, password and TLS are those of the master. Default: none.
    pub fn sentinels<H: Into<String>>(mut self, addresses: impl IntoIterator<Item = (H, u16)>) -> Self {
        self.0.sentinels.addresses = addresses.into_iter().map(|(host, port)| (host.into(), port)).collect();
        self
    }

    /// Names the master, where the [Sentinels](Self::sentinels) watch several. Default: the only one.
    pub fn sentinel_master(mut self, name: impl Into<String>) -> Self {
        self.0.sentinels.master = Some(name.into());
        self
    }

    /// Sets the user and the password of the [Sentinels](Self::sentinels) themselves. Default: none.
    pub fn sentinel_login(mut self, username: Option<String>, password: impl Into<String>) -> Self {
        (self.0.sentinels.username, self.0.sentinels.password) = (username, Some(Secret::new(password)));
        self
    }

    /// Sets whether the connection is encrypted. Default: [`Tls::Auto`].
    pub fn tls(self, tls: Tls) -> Self {
        Self(RedisConfig { tls, ..self.0 })
    }

    /// Sets the PEM file of the authority that signed the server's certificate. Default: Mozilla's roots, which
    /// are compiled in.
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self(RedisConfig { ca_file: Some(path.into()), ..self.0 })
    }

    /// Sets the PEM files of the client's certificate and key. Default: none.
    pub fn client_certificate(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self(RedisConfig { client_cert: Some(cert.into()), client_key: Some(key.into()), ..self.0 })
    }

    /// Sets how many connections requests share, 1 to 1024, spread by what is in flight. Default: 1, on which the most requests
    /// travel together.
    pub fn pool_size(self, pool_size: u32) -> Self {
        Self(RedisConfig { pool_size, ..self.0 })
    }

    /// Sets how long an answer may take. Default: 250 milliseconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self(RedisConfig { timeout, ..self.0 })
    }

    /// Sets how long connecting may take. Default: 500 milliseconds, 1.5 seconds with TLS.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self(RedisConfig { connect_timeout: Some(timeout), ..self.0 })
    }

    /// Sets whether what a restarted server brings back is served. Default: false, because it may be stale.
    pub fn trust_restart(self, trust: bool) -> Self {
        Self(RedisConfig { trust_restart: trust, ..self.0 })
    }
}
