//! Encrypted connections: certificates, and what an error of TLS means.

mod pem;

use std::io;
use std::sync::Arc;

use cache_core::{Error, ErrorKind, Result};
use redis::{Client, ConnectionInfo, RedisError};
use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::advice::{PLAIN_PORT, about_client_certificate};
use crate::config::RedisConfig;

/// Adds the certificates that `config` names to the address `info`.
///
/// # Errors
/// `Configuration` for certificates that cannot be read or used.
pub(crate) fn encrypted(info: ConnectionInfo, config: &RedisConfig) -> Result<ConnectionInfo> {
    // rustls cannot choose a provider where none or several are compiled in. One that the application installed stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::build_with_tls(info, pem::tls_certificates(config)?).map_err(|cause| {
        let message = format!(
            "Redis at {}: the certificates in REDIS_CA_FILE, REDIS_CLIENT_CERT and REDIS_CLIENT_KEY cannot be used: \
             {cause}",
            config.address()
        );
        Error::new(ErrorKind::Configuration, message).with_source(cause)
    })?;
    Ok(client.get_connection_info().clone())
}

/// Whether one side rejected the other's certificate.
pub(crate) fn is_distrust(error: &RedisError) -> bool {
    cause(error)
        .is_some_and(|cause| matches!(cause, TlsError::InvalidCertificate(_) | TlsError::AlertReceived(_)))
}

/// Whether `error` is one of TLS.
pub(crate) fn is_cause_of(error: &RedisError) -> bool {
    cause(error).is_some()
}

/// Returns advice on an error of TLS; `None` where none is known.
pub(crate) fn advice(config: &RedisConfig, error: &RedisError) -> Option<&'static str> {
    cause(error).and_then(|cause| about(config, cause))
}

/// Returns the error of TLS that caused `error`, if one did.
fn cause(error: &RedisError) -> Option<&TlsError> {
    // The type in which redis keeps causes.
    type Cause = Arc<dyn std::error::Error + Send + Sync>;
    let cause = std::error::Error::source(error)?.downcast_ref::<Cause>()?;
    cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

fn about(config: &RedisConfig, cause: &TlsError) -> Option<&'static str> {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    match cause {
        TlsError::InvalidMessage(_) => Some(PLAIN_PORT),
        TlsError::InvalidCertificate(UnknownIssuer | BadSignature) if config.ca_file.is_some() => Some(
            "the file in REDIS_CA_FILE does not hold the authority that signed the server's certificate: name the right file",
        ),
        TlsError::InvalidCertificate(UnknownIssuer | BadSignature) => {
            Some("name the PEM file of the authority that signed the server's certificate in REDIS_CA_FILE")
        }
        TlsError::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => Some(
            "set REDIS_HOST to a name that the server's certificate holds, or REDIS_TLS_NAME to that name",
        ),
        TlsError::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            Some("renew the server's certificate, or correct the clock of this machine")
        }
        TlsError::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
            Some("the server must allow TLS 1.3")
        }
        TlsError::AlertReceived(_) => Some(about_client_certificate(config)),
        _ => None,
    }
}
