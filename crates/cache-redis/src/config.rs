//! [`RedisConfig`]: where Redis is, and how to reach it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Error, ErrorKind, MEGABYTE, Result, SystemClock};

use crate::incarnation::ContactRecord;

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
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) db: u32,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) tls: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_certificate: Option<ClientCertificate>,
    pub(crate) namespace: String,
    pub(crate) pool_size: u32,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) reference_limit_bytes: u64,
    pub(crate) trust_restart: bool,
    pub(crate) contact_record: Option<Arc<dyn ContactRecord>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The files by which this client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl RedisConfig {
    /// A Redis at `host`, with the defaults for the rest.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: 6379,
            db: 0,
            username: None,
            password: None,
            tls: false,
            ca_file: None,
            client_certificate: None,
            namespace: "app".to_owned(),
            pool_size: 4,
            timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_millis(500),
            heartbeat: Duration::from_secs(1),
            reference_limit_bytes: 1000 * MEGABYTE,
            trust_restart: false,
            contact_record: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// The port. Default: 6379.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// The number of the database. Default: 0.
    #[must_use]
    pub fn db(self, db: u32) -> Self {
        Self { db, ..self }
    }

    /// The user of an access control list. Default: none.
    #[must_use]
    pub fn username(self, username: impl Into<String>) -> Self {
        Self { username: Some(username.into()), ..self }
    }

    /// The password. Default: none.
    #[must_use]
    pub fn password(self, password: impl Into<String>) -> Self {
        Self { password: Some(password.into()), ..self }
    }

    /// Encrypts the connection (TLS 1.3) and verifies the server's certificate and name. Default: plain.
    ///
    /// A connection that was asked to be encrypted is never made without.
    #[must_use]
    pub fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// A PEM file with the authorities to trust instead of Mozilla's, which are compiled in. Only with [`tls`](Self::tls).
    #[must_use]
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(path.into()), ..self }
    }

    /// PEM files by which this client proves who it is. Only with [`tls`](Self::tls). Default: none.
    #[must_use]
    pub fn client_certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let files = ClientCertificate { certificate: certificate.into(), key: key.into() };
        Self { client_certificate: Some(files), ..self }
    }

    /// What every key begins with; caches of different namespaces share nothing. 1 to 64 of the characters
    /// `a-z A-Z 0-9 - _ .`. Default: `app`.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// How many connections are kept at most, 1 to 1024; many tasks share each. Default: 4.
    #[must_use]
    pub fn pool_size(self, pool_size: u32) -> Self {
        Self { pool_size, ..self }
    }

    /// How long an operation may take, waiting for a connection included. Default: 250 ms.
    ///
    /// Clearing families, globs and everything takes as long as it takes; each of its steps is bounded.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long connecting may take. Default: 500 ms.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// How often the server is asked, over a connection of its own, whether it is still the same and a master.
    /// Default: 1 s.
    ///
    /// This is also how long a master that was demoted or cut off may be served from at most.
    #[must_use]
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    /// What `limit_mb` and `usage_percent` refer to where the server has no `maxmemory`. Default: 1000 MiB.
    #[must_use]
    pub fn reference_limit_bytes(self, reference_limit_bytes: u64) -> Self {
        Self { reference_limit_bytes, ..self }
    }

    /// Serves what a restarted or promoted server brings back. Default: it is never served.
    ///
    /// This gives up the promise that nothing stale is served: it is right only where the server acknowledges nothing
    /// before it is on its disk (`appendfsync always`) and no replica is ever promoted.
    #[must_use]
    pub fn trust_restart(self) -> Self {
        Self { trust_restart: true, ..self }
    }

    /// Who remembers, across restarts of this process, which server was used last and until when.
    /// Default: nobody; a process then knows of its own time only.
    #[must_use]
    pub fn contact_record(self, record: Arc<dyn ContactRecord>) -> Self {
        Self { contact_record: Some(record), ..self }
    }

    /// Where expiry takes the time from. Default: the system's clocks.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The server, for messages.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The same server without a login: nothing is sent to it but what opens the connection.
    pub(crate) fn without_login(&self) -> Self {
        Self { username: None, password: None, db: 0, ..self.clone() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let problem = if self.namespace.is_empty()
            || self.namespace.len() > 64
            || !self.namespace.chars().all(is_plain)
        {
            format!("the namespace {:?} is not 1 to 64 of the characters a-z A-Z 0-9 - _ .", self.namespace)
        } else if !(1..=1024).contains(&self.pool_size) {
            format!("a pool of {} connections is not between 1 and 1024", self.pool_size)
        } else if self.timeout.is_zero() || self.connect_timeout.is_zero() || self.heartbeat.is_zero() {
            "a timeout or heartbeat of zero lets nothing succeed".to_owned()
        } else if !self.tls && (self.ca_file.is_some() || self.client_certificate.is_some()) {
            "there are certificates, and TLS is off; set REDIS_TLS=true".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Configuration, format!("Redis at {}: {problem}", self.address())))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            db,
            username,
            password,
            tls,
            ca_file,
            client_certificate,
            namespace,
            pool_size,
            timeout,
            connect_timeout,
            heartbeat,
            reference_limit_bytes,
            trust_restart,
            contact_record,
            clock,
        } = self;
        f.debug_struct("RedisConfig")
            .field("host", host)
            .field("port", port)
            .field("db", db)
            .field("username", username)
            .field("password", &password.as_ref().map(|_| "***"))
            .field("tls", tls)
            .field("ca_file", ca_file)
            .field("client_certificate", client_certificate)
            .field("namespace", namespace)
            .field("pool_size", pool_size)
            .field("timeout", timeout)
            .field("connect_timeout", connect_timeout)
            .field("heartbeat", heartbeat)
            .field("reference_limit_bytes", reference_limit_bytes)
            .field("trust_restart", trust_restart)
            .field("contact_record", contact_record)
            .field("clock", clock)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_in_debug() {
        let config = RedisConfig::new("h").username("u").password("hunter2");
        assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
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
            RedisConfig::new("h").client_certificate("c.pem", "k.pem"),
        ] {
            assert_eq!(bad.check().unwrap_err().kind(), ErrorKind::Configuration);
        }
    }
}
