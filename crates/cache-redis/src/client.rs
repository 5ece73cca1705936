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

/// How often an idle connection is probed by the kernel, and how long unacknowledged data keeps it open.
const KEEPALIVE: Duration = Duration::from_secs(15);
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// What connects to the server that `config` names.
///
/// # Errors
/// `Configuration` for certificates that cannot be read.
pub(crate) fn client(config: &RedisConfig) -> Result<Client> {
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
    let mut login = RedisConnectionInfo::default().set_db(i64::from(config.db)).set_skip_set_lib_name();
    if let Some(username) = &config.username {
        login = login.set_username(username);
    }
    if let Some(password) = &config.password {
        login = login.set_password(password);
    }
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let tcp =
        TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(USER_TIMEOUT);
    let (host, port) = (config.host.clone(), config.port);
    let address = if config.tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    Ok(address.into_connection_info()?.set_redis_settings(login).set_tcp_settings(tcp))
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
