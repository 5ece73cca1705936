//! Opens sockets to the server with its address, TLS and login.

use std::net::SocketAddr;
use std::time::Duration;

use cache_core::Result;
use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisFuture, RedisResult,
};
use tokio::time::timeout;

use crate::config::RedisConfig;
use crate::error::Fault;
use crate::login::LastLogin;
use crate::tls;

/// Interval of the kernel's probes of an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long data may stay unacknowledged before the kernel closes the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepares the address and TLS, without a login.
///
/// # Errors
/// `Configuration` for certificates that cannot be read, and for TLS in a build without it.
pub(crate) fn server(config: &RedisConfig) -> Result<ConnectionInfo> {
    let failed = |cause| Fault::from(cause).into_error(&config.address());
    let info = address(config).map_err(failed)?;
    if config.tls { tls::encrypted(info, config) } else { Ok(info) }
}

fn address(config: &RedisConfig) -> RedisResult<ConnectionInfo> {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let tcp =
        TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(USER_TIMEOUT);
    let (host, port) = (config.tls_name.as_ref().unwrap_or(&config.host).clone(), config.port);
    let address = if config.tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    Ok(address.into_connection_info()?.set_tcp_settings(tcp))
}

/// Makes the settings of connections: they go to the host of `config`, whatever name its certificate must hold.
pub(super) fn settings(config: &RedisConfig, response: Option<Duration>) -> AsyncConnectionConfig {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(response);
    match config.tls_name {
        Some(_) => settings.set_dns_resolver(At(config.host.clone())),
        None => settings,
    }
}

/// Resolves every name to the addresses of this host.
struct At(String);

impl AsyncDNSResolver for At {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((self.0.as_str(), port)).await?;
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as _)
        })
    }
}

/// Returns `server` at another address, reached in the same way.
pub(super) fn at(server: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host = host.to_owned();
    server.clone().set_addr(match server.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    })
}

/// Connects to `server` and logs in.
///
/// # Errors
/// Those of [`LastLogin::or_new`] and of the server.
pub(super) async fn connect_to(
    server: &ConnectionInfo,
    config: &RedisConfig,
    settings: &AsyncConnectionConfig,
    last: &LastLogin,
) -> Result<MultiplexedConnection> {
    let credentials = last.or_new(&config.login, config.connect_timeout / 2, &config.address()).await?;
    let (username, password) = credentials.clone();
    let mut login = RedisConnectionInfo::default().set_db(config.db.into()).set_skip_set_lib_name();
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password {
        login = login.set_password(password);
    }
    let failed = |cause| Fault::from(cause).into_error(&config.address());
    let client = Client::open(server.clone().set_redis_settings(login)).map_err(failed)?;
    let connection = client.get_multiplexed_async_connection_with_config(settings).await.map_err(failed)?;
    last.accepted(credentials);
    Ok(connection)
}

/// Connects and logs in, outside of the pool.
///
/// # Errors
/// As for [`server`] and [`connect_to`]; `Timeout` after [`RedisConfig::connect_timeout`].
pub(crate) async fn connect(config: &RedisConfig) -> Result<MultiplexedConnection> {
    let server = server(config)?;
    let settings = settings(config, Some(config.connect_timeout));
    timeout(config.connect_timeout, connect_to(&server, config, &settings, &LastLogin::default()))
        .await
        .unwrap_or_else(|_| Err(Fault::timeout().into_error(&config.address())))
}
