//! [`Authority`] and [`terminator`]: encryption in front of a server that has none, as TLS proxies do.

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

/// An authority, in files as users have them; they go with it.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: AtomicU64,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    ///
    /// # Errors
    /// Why its files cannot be made.
    pub fn new() -> io::Result<Self> {
        // Whoever comes first installs it; the tests and the cache want the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::new([]).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        let authority = Self { directory: tempfile::tempdir()?, issuer, issued: AtomicU64::new(0) };
        std::fs::write(authority.file(), authority.issuer.pem())?;
        Ok(authority)
    }

    /// Its certificate, for who trusts it.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for `name`.
    ///
    /// # Errors
    /// Why its files cannot be made.
    pub fn certifies(&self, name: &str) -> io::Result<Identity> {
        self.issue(CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?)
    }

    /// A certificate for `name` whose time is over.
    ///
    /// # Errors
    /// Why its files cannot be made.
    pub fn certified_once(&self, name: &str) -> io::Result<Identity> {
        let mut params = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> io::Result<Identity> {
        // With the name of its issuer OpenSSL would take it for one that signed itself.
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

/// Ends encryption in front of the plain server at `target`, as the one `identity` names; knows clients by `clients`, if
/// it asks them. Where it listens; it ends with the runtime.
///
/// # Errors
/// Why the certificates cannot be used or no port can be had.
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
                // A client that does not like what it sees hangs up: its test says so.
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
