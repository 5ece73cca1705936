//! How a socket to the server is made: its address, its login, its settings, its encryption.

use std::path::Path;
use std::time::Duration;

use cache_core::{Error, ErrorKind, Result};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsCertificates,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;

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
    let root_cert = config.ca_file.as_deref().map(|path| certificates("REDIS_CA_FILE", path)).transpose()?;
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

/// A connection of its own to the server of `config`, login included.
///
/// # Errors
/// As for [`client`]; `Timeout` after [`RedisConfig::connect_timeout`]; what the server says to the login.
pub(crate) async fn connect(config: &RedisConfig) -> Result<MultiplexedConnection> {
    let client = client(config)?;
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.connect_timeout));
    let connecting = client.get_multiplexed_async_connection_with_config(&settings);
    let connected = timeout(config.connect_timeout, connecting).await.map_err(|_| Fault::timeout());
    connected
        .and_then(|connected| connected.map_err(Fault::from))
        .map_err(|fault| fault.into_error(&config.address()))
}

fn identity(files: &ClientCertificate) -> Result<ClientTlsConfig> {
    let client_cert = certificates("REDIS_CLIENT_CERT", &files.certificate)?;
    Ok(ClientTlsConfig { client_cert, client_key: key("REDIS_CLIENT_KEY", &files.key)? })
}

/// The file at `path`, which the setting `name` names: certificates in PEM form.
fn certificates(name: &str, path: &Path) -> Result<Vec<u8>> {
    let bytes = read(name, path)?;
    match CertificateDer::pem_slice_iter(&bytes).next() {
        Some(Ok(_)) => Ok(bytes),
        found => Err(unfit(name, path, &bytes, "certificate", found.and_then(std::result::Result::err))),
    }
}

/// The file at `path`, which the setting `name` names: a private key in PEM form, not encrypted.
fn key(name: &str, path: &Path) -> Result<Vec<u8>> {
    let bytes = read(name, path)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(_) => Ok(bytes),
        Err(cause) => Err(unfit(name, path, &bytes, "private key", Some(cause))),
    }
}

/// What is wrong with the bytes of a file that should hold a `what`.
fn unfit(name: &str, path: &Path, bytes: &[u8], what: &str, cause: Option<pem::Error>) -> Error {
    let holds = |label: &str| bytes.windows(label.len()).any(|window| window == label.as_bytes());
    let why = if holds("-----BEGIN ENCRYPTED PRIVATE KEY") {
        "the key in it is encrypted: take the passphrase away with `openssl pkey -in FILE -out FILE.plain`"
            .to_owned()
    } else if bytes.first() == Some(&0x30) {
        "it is in DER form: convert it with `openssl x509 -inform der` or `openssl pkey -inform der`"
            .to_owned()
    } else if holds("-----BEGIN CERTIFICATE") && what != "certificate" {
        "it holds a certificate: are the files exchanged?".to_owned()
    } else if holds("PRIVATE KEY-----") && what == "certificate" {
        "it holds a private key: are the files exchanged?".to_owned()
    } else if let Some(cause) = cause.filter(|cause| !matches!(cause, pem::Error::NoItemsFound)) {
        format!("it is damaged: {cause}")
    } else {
        format!("name a PEM file, which has a line -----BEGIN {}-----", what.to_uppercase())
    };
    let message = format!("Redis: {}, the file in {name}, holds no {what}; {why}", path.display());
    Error::new(ErrorKind::Configuration, message)
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| {
        let message = format!("Redis: cannot read {}, the file in {name}: {cause}", path.display());
        Error::new(ErrorKind::Configuration, message).with_source(cause)
    })
}
