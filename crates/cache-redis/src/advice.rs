//! [`advice`]: what an operator should do about a failed connection, from its error and one more look at the port.

use std::error::Error as StdError;

use cache_core::{Error, ErrorKind};
use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::RedisConfig;
use crate::connection::client::connect;
use crate::error::CHECK_SETTINGS;
use crate::login::Password;
use crate::tls;

/// Adds advice to `error`, which occurred while connecting to the server of `config`.
///
/// # Cost
/// At most two more connections, each of which takes [`RedisConfig::connect_timeout`] at most; none where the server refuses
/// connections.
pub(crate) async fn advised(config: &RedisConfig, error: Error) -> Error {
    let Some(advice) = advice(config, &error).await else { return error };
    let message = error.to_string();
    let message = message.strip_suffix(CHECK_SETTINGS).unwrap_or(&message);
    Error::new(error.kind(), format!("{message}; {advice}")).with_source(error)
}

/// Returns advice about `error`, which occurred while connecting to the server of `config`; `None` where none is known.
pub(crate) async fn advice(config: &RedisConfig, error: &Error) -> Option<&'static str> {
    let cause = StdError::source(error)?.downcast_ref::<RedisError>()?;
    if tls::is_cause_of(cause) {
        return tls::advice(config, cause);
    }
    match (cause.kind(), cause.code()) {
        (RedisKind::AuthenticationFailed, _) | (_, Some("WRONGPASS")) => Some(about_password(config)),
        (_, Some("NOAUTH")) => Some("the server wants a password: set REDIS_PASSWORD"),
        (RedisKind::Io, _) if cause.is_connection_refusal() => None,
        (RedisKind::Io, _) => about_port(config, error, false).await,
        (RedisKind::Parse | RedisKind::UnexpectedReturnType, _) => about_port(config, error, true).await,
        _ => None,
    }
}

/// Advice on a port that does not speak TLS.
pub(crate) const PLAIN_PORT: &str = "this port does not speak TLS: correct REDIS_PORT, or for a server without encryption set REDIS_TLS=false";

/// Advice on a connection that the server ends during or after the handshake.
pub(crate) fn about_client_certificate(config: &RedisConfig) -> &'static str {
    if config.client_certificate.is_some() {
        "the server ended the connection; if it asks clients for certificates, it must trust the authority of the one in REDIS_CLIENT_CERT"
    } else {
        "the server ended the connection; if it asks clients for certificates, set REDIS_CLIENT_CERT and REDIS_CLIENT_KEY"
    }
}

fn about_password(config: &RedisConfig) -> &'static str {
    let password = match &config.login.password {
        Some(Password::Fixed(password)) => password.as_str(),
        Some(Password::File(_)) => {
            return "correct the file that REDIS_PASSWORD_FILE names, and REDIS_USERNAME where the server has access lists";
        }
        Some(Password::Provider(_)) => {
            return "the server refuses the credentials that the application provides";
        }
        None => "",
    };
    let is_quoted = ['"', '\'']
        .iter()
        .any(|quote| password.len() > 1 && password.starts_with(*quote) && password.ends_with(*quote));
    if password.ends_with(['\n', '\r']) {
        "REDIS_PASSWORD ends with a line break, which is sent as a part of it: remove it (printf writes none, echo does)"
    } else if password.trim() != password {
        "REDIS_PASSWORD begins or ends with white space, which is sent as a part of it: remove it"
    } else if is_quoted {
        "REDIS_PASSWORD stands in quotes, which are sent as a part of it: remove them (docker's --env-file keeps quotes)"
    } else {
        "correct REDIS_PASSWORD, and REDIS_USERNAME where the server has access lists"
    }
}

/// Returns advice about a connection that ends, gives no answer, or one that is not of Redis (`is_garbage`).
async fn about_port(config: &RedisConfig, error: &Error, is_garbage: bool) -> Option<&'static str> {
    if config.sentinels.is_some() {
        return None;
    }
    if !config.tls && speaks_tls(config).await {
        return Some("this port speaks TLS: set REDIS_TLS=true");
    }
    let answer = answer_to_plain(config).await;
    let is_of_redis = matches!(answer, Some(b'+' | b'-'));
    if config.tls && is_of_redis {
        return Some(PLAIN_PORT);
    }
    if is_garbage || !config.tls && answer.is_some() && !is_of_redis {
        return Some("the server there is no Redis: correct REDIS_HOST and REDIS_PORT");
    }
    // In TLS 1.3 the client finishes the handshake before the server has checked the client's certificate.
    (config.tls && error.kind() == ErrorKind::Unavailable).then(|| about_client_certificate(config))
}

/// Returns the first byte that the port answers to an unencrypted command. Sends no login.
async fn answer_to_plain(config: &RedisConfig) -> Option<u8> {
    let asking = async {
        let mut socket = TcpStream::connect((config.host.as_str(), config.port)).await.ok()?;
        socket.write_all(b"PING\r\n").await.ok()?;
        socket.read_u8().await.ok()
    };
    timeout(config.connect_timeout, asking).await.ok().flatten()
}

/// Whether the port answers a TLS handshake, even by a refusal.
async fn speaks_tls(config: &RedisConfig) -> bool {
    let encrypted =
        RedisConfig { tls: true, ca_file: None, client_certificate: None, ..config.without_login() };
    match connect(&encrypted).await {
        Ok(_) => true,
        Err(error) => {
            let cause = StdError::source(&error).and_then(|cause| cause.downcast_ref::<RedisError>());
            cause.is_some_and(tls::is_distrust)
        }
    }
}

/// Returns advice about a failed login where [`advice`] has none.
pub(crate) fn about_login(error: &Error) -> &'static str {
    let cause = StdError::source(error).and_then(|cause| cause.downcast_ref::<RedisError>());
    match cause.map(RedisError::kind) {
        None => "correct what the message names: the file, or the credentials that the application provides",
        Some(RedisKind::Server(ServerErrorKind::NoPerm)) => "allow SELECT to this user, or set REDIS_DB=0",
        Some(RedisKind::Server(ServerErrorKind::ResponseError)) => {
            "set REDIS_DB to a database that the server has; many hosted ones have 0 only"
        }
        _ => "look at the server's log",
    }
}
