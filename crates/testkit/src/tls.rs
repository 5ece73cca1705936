//! [`Authority`] and [`terminator`]: TLS in front of a server without it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The files of a certificate and of its key.
pub type Identity = (PathBuf, PathBuf);

/// A certificate authority. Its files are removed when it is dropped.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: AtomicU64,
}

impl Authority {
    /// Makes an authority with a new key.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new() -> io::Result<Self> {
        // An error means that it is installed already; the tests and the cache use the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::new([]).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        let authority = Self { directory: tempfile::tempdir()?, issuer, issued: AtomicU64::new(0) };
        std::fs::write(authority.file(), authority.issuer.pem())?;
        Ok(authority)
    }

    /// The file of its certificate, for clients that trust it.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Issues a certificate for `name`.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn certifies(&self, name: &str) -> io::Result<Identity> {
        self.issue(CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?)
    }

    /// Issues a certificate for `name` that has expired.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn certified_once(&self, name: &str) -> io::Result<Identity> {
        let mut params = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> io::Result<Identity> {
        // With the name of its issuer, OpenSSL would take it for a self-signed certificate.
        params.distinguished_name.push(DnType::CommonName, "testkit");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let write = |what: &str, text: String| {
            let path = self.directory.path().join(format!("{number}-{what}.pem"));
            std::fs::write(&path, text).map(|()| path)
        };
        Ok((write("certificate", certificate.pem())?, write("key", key.serialize_pem())?))
    }
}

/// Starts a TLS proxy with the given identity in front of the plain server at `target`, and returns its address. With
/// `clients`, clients need a certificate of that authority. The proxy ends with the runtime.
///
/// # Errors
/// When the certificates cannot be used or no port is free.
pub async fn terminator(
    target: SocketAddr,
    (certificate, key): &Identity,
    clients: Option<&Authority>,
) -> io::Result<SocketAddr> {
    let chain = vec![CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?];
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let settings = match clients {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let trusted = CertificateDer::from_pem_file(authority.file()).map_err(io::Error::other)?;
            roots.add(trusted).map_err(io::Error::other)?;
            let verifier =
                WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(io::Error::other)?;
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let acceptor =
        TlsAcceptor::from(Arc::new(settings.with_single_cert(chain, key).map_err(io::Error::other)?));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that refuses the certificate disconnects, which its test checks.
                if let Ok(mut client) = acceptor.accept(client).await
                    && let Ok(mut server) = TcpStream::connect(target).await
                {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    Ok(address)
}
