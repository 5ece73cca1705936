//! Encrypted connections: verified or not made, and never replaced by plain ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_core::ErrorKind;
use cache_redis::{RedisBackend, RedisConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use testkit::RedisServer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::*;

/// An authority, in files as users have them.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        // Whoever comes first installs it; the tests and the cache want the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { directory: tempfile::tempdir().unwrap(), issuer };
        std::fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for `name` and its key.
    fn certifies(&self, name: &str, is_over: bool) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if is_over {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = [certificate.pem(), key.serialize_pem()].map(|text| {
            let path = self.directory.path().join(format!("{:032x}.pem", rand()));
            std::fs::write(&path, text).unwrap();
            path
        });
        files.into()
    }
}

fn rand() -> u64 {
    cache_core::random_nonzero().get()
}

/// Ends encryption in front of a server that has none, as TLS proxies do; knows clients by `clients`, if it asks them.
async fn terminator(
    server: &RedisServer,
    (certificate, key): &(PathBuf, PathBuf),
    clients: Option<&Authority>,
) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let settings = match clients {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let acceptor = TlsAcceptor::from(Arc::new(settings.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, target) = (listener.local_addr().unwrap(), server.address());
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
    address
}

fn encrypted(address: SocketAddr, authority: &Authority) -> RedisConfig {
    config(address).tls().ca_file(authority.file())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_cache_is_a_cache() {
    let (server, authority) = (RedisServer::start().unwrap(), Authority::new());
    let address = terminator(&server, &authority.certifies("127.0.0.1", false), None).await;
    let cache = RedisBackend::connect(encrypted(address, &authority)).await.unwrap();
    let key = key("image:5:metadata");
    for entry in [small("x"), large("x")] {
        load(&cache, &key, entry).await;
        invalidate(&cache, &key).await;
        assert_eq!(held(&cache, &key).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_is_not_talked_to() {
    let (server, authority, other) = (RedisServer::start().unwrap(), Authority::new(), Authority::new());
    let good = authority.certifies("127.0.0.1", false);
    let (wrong_name, over) =
        (authority.certifies("example.org", false), authority.certifies("127.0.0.1", true));
    for (what, certificate, trusted) in [
        ("another authority", &good, Some(&other)),
        ("the world's authorities", &good, None),
        ("another name", &wrong_name, Some(&authority)),
        ("expired", &over, Some(&authority)),
    ] {
        let address = terminator(&server, certificate, None).await;
        let config = match trusted {
            Some(authority) => encrypted(address, authority),
            None => config(address).tls(),
        };
        let error = RedisBackend::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{what}: {error}");
        assert!(error.to_string().contains("certificate"), "{what}: {error}");
    }
    assert_eq!(calls(&server, "hget") + calls(&server, "set"), 0, "nothing was said to it");
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_is_never_given_up() {
    let (server, authority) = (RedisServer::start().unwrap(), Authority::new());
    let short = |config: RedisConfig| config.connect_timeout(Duration::from_millis(500));
    let plain = short(encrypted(server.address(), &authority));
    let error = RedisBackend::connect(plain).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");
    let address = terminator(&server, &authority.certifies("127.0.0.1", false), None).await;
    let error = RedisBackend::connect(short(config(address))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_who_its_client_is_gets_the_certificate() {
    let (server, authority, other) = (RedisServer::start().unwrap(), Authority::new(), Authority::new());
    let identity = authority.certifies("127.0.0.1", false);
    let address = terminator(&server, &identity, Some(&authority)).await;
    let at = || encrypted(address, &authority);
    let (certificate, private) = authority.certifies("client", false);
    RedisBackend::connect(at().client_certificate(certificate, private)).await.unwrap();
    let (certificate, private) = other.certifies("client", false);
    for config in [at(), at().client_certificate(certificate, private)] {
        let error = RedisBackend::connect(config).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Configuration | ErrorKind::Unavailable), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_be_used_are_named() {
    let server = RedisServer::start().unwrap();
    let at = || config(server.address()).tls();
    let error = RedisBackend::connect(at().ca_file("/nowhere/ca.pem")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    let junk = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(junk.path(), "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").unwrap();
    let error = RedisBackend::connect(at().ca_file(junk.path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("REDIS_CA_FILE"), "{error}");
}
