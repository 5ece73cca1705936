//! Reading PEM files, with errors that say what a file holds instead.

use std::path::Path;

use cache_core::{Error, ErrorKind, Result};
use redis::{ClientTlsConfig, TlsCertificates};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::RedisConfig;

/// Reads the files that the TLS settings name.
///
/// # Errors
/// `Configuration` for a file that cannot be read or does not hold what its setting takes.
pub(super) fn tls_certificates(config: &RedisConfig) -> Result<TlsCertificates> {
    let root_cert = config.ca_file.as_deref().map(|path| certificates("REDIS_CA_FILE", path)).transpose()?;
    let client_tls = match &config.client_certificate {
        None => None,
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: certificates("REDIS_CLIENT_CERT", certificate)?,
            client_key: private_key("REDIS_CLIENT_KEY", key)?,
        }),
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<u8>> {
    let bytes = read(setting, path)?;
    match CertificateDer::pem_slice_iter(&bytes).next() {
        Some(Ok(_)) => Ok(bytes),
        found => Err(unfit(setting, path, &bytes, "certificate", found.and_then(std::result::Result::err))),
    }
}

/// Reads a private key that is not encrypted.
fn private_key(setting: &str, path: &Path) -> Result<Vec<u8>> {
    let bytes = read(setting, path)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(_) => Ok(bytes),
        Err(cause) => Err(unfit(setting, path, &bytes, "private key", Some(cause))),
    }
}

/// Makes the error for a file that should hold a `wanted` and holds `bytes`.
fn unfit(setting: &str, path: &Path, bytes: &[u8], wanted: &str, cause: Option<pem::Error>) -> Error {
    let holds = |label: &str| bytes.windows(label.len()).any(|window| window == label.as_bytes());
    let advice = if holds("-----BEGIN ENCRYPTED PRIVATE KEY") {
        "the key in it is encrypted: remove the passphrase with `openssl pkey -in FILE -out FILE.plain`"
            .to_owned()
    } else if bytes.first() == Some(&0x30) {
        "it is in DER form: convert it with `openssl x509 -inform der` or `openssl pkey -inform der`"
            .to_owned()
    } else if holds("-----BEGIN CERTIFICATE") && wanted != "certificate" {
        "it holds a certificate: are the files exchanged?".to_owned()
    } else if holds("PRIVATE KEY-----") && wanted == "certificate" {
        "it holds a private key: are the files exchanged?".to_owned()
    } else if let Some(cause) = cause.filter(|cause| !matches!(cause, pem::Error::NoItemsFound)) {
        format!("it is damaged: {cause}")
    } else {
        format!("name a PEM file, which has a line -----BEGIN {}-----", wanted.to_uppercase())
    };
    let message = format!("Redis: {}, the file in {setting}, holds no {wanted}; {advice}", path.display());
    Error::new(ErrorKind::Configuration, message)
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| {
        let message = format!("Redis: cannot read {}, the file in {setting}: {cause}", path.display());
        Error::new(ErrorKind::Configuration, message).with_source(cause)
    })
}
