//! The place of `tls` in a build without the feature `tls`: an encrypted connection is refused, never made in plain text.

use cache_core::{Error, ErrorKind, Result};
use redis::{ConnectionInfo, RedisError};

use crate::config::RedisConfig;

/// Refuses the connection.
///
/// # Errors
/// `Configuration`, always.
pub(crate) fn encrypted(_info: ConnectionInfo, config: &RedisConfig) -> Result<ConnectionInfo> {
    let message = format!(
        "Redis at {}: the connection is to be encrypted, but this build has no TLS: build it with the feature `tls`",
        config.address()
    );
    Err(Error::new(ErrorKind::Configuration, message))
}

/// Returns false: no error is one of TLS.
pub(crate) fn is_distrust(_error: &RedisError) -> bool {
    false
}

/// Returns false: no error is one of TLS.
pub(crate) fn is_cause_of(_error: &RedisError) -> bool {
    false
}

/// Returns no advice.
pub(crate) fn advice(_config: &RedisConfig, _error: &RedisError) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::client::server;

    #[test]
    fn an_error_about_encryption_names_the_feature() {
        let error = server(&RedisConfig::new("db.example").tls()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("feature `tls`"), "{error}");
        assert!(server(&RedisConfig::new("db.example")).is_ok());
    }
}
