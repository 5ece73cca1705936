//! How a socket to the server is made: its address, its login, its settings, its encryption.

use std::path::Path;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult, TlsCertificates,
};

use crate::config::{ClientCertificate, RedisConfig};
use crate::error::Fault;
use crate::login::Login;

/// How often an idle connection is probed by the kernel, and how long unacknowledged data keeps it open.
const KEEPALIVE: Duration = Duration::from_secs(15);
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes clients, each with the login of the moment.
#[derive(Debug)]
pub(crate) struct Clients {
    /// The way to the server, without a login.
    way: ConnectionInfo,
    login: Login,
    db: i64,
    address: String,
}

impl Clients {
    /// Those of the server that `config` names.
    ///
    /// # Errors
    /// `Configuration` for certificates that cannot be read.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self> {
        let way = way(config)?.get_connection_info().clone();
        Ok(Self { way, login: config.login.clone(), db: i64::from(config.db), address: config.address() })
    }

    /// A client for a new connection.
    ///
    /// # Errors
    /// Those of the login: `Configuration` for a file that cannot be read, and what the application's provider says.
    pub(crate) async fn client(&self) -> Result<Client> {
        let (username, password) = self.login.of_a_connection().await?;
        let mut settings = RedisConnectionInfo::default().set_db(self.db).set_skip_set_lib_name();
        if let Some(username) = username {
            settings = settings.set_username(username);
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let info = self.way.clone().set_redis_settings(settings);
        Client::open(info).map_err(|cause| Fault::from(cause).into_error(&self.address))
    }
}

fn way(config: &RedisConfig) -> Result<Client> {
    let failed = |cause| Fault::from(cause).into_error(&config.address());
    let info = address(config).map_err(failed)?;
    if !config.tls {
        return Client::open(info).map_err(failed);
    }
    // One provider, named here: with none or several compiled in, rustls could not choose. One that the application has
    // installed before stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root_cert = config.ca_file.as_deref().map(read).transpose()?;
    let client_tls = config.client_certificate.as_ref().map(identity).transpose()?;
    let unusable = |cause| {
        let message = format!(
            "Redis at {}: the certificates in REDIS_CA_FILE, REDIS_CLIENT_CERT and \
                               REDIS_CLIENT_KEY cannot be used: {cause}",
            config.address()
        );
        Error::new(ErrorKind::Configuration, message).with_source(cause)
    };
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(unusable)
}

fn address(config: &RedisConfig) -> RedisResult<ConnectionInfo> {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let tcp =
        TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(USER_TIMEOUT);
    let (host, port) = (config.host.clone(), config.port);
    let address = if config.tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    Ok(address.into_connection_info()?.set_tcp_settings(tcp))
}

fn identity(files: &ClientCertificate) -> Result<ClientTlsConfig> {
    let ClientCertificate { certificate, key } = files;
    Ok(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| {
        let message = format!("Redis: cannot read {}: {cause}", path.display());
        Error::new(ErrorKind::Configuration, message).with_source(cause)
    })
}
