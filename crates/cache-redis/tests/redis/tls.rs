//! TLS: connections are verified or not made, and never replaced by unencrypted ones.

use std::net::SocketAddr;
use std::time::Duration;

use cache_core::ErrorKind;
use cache_redis::{RedisBackend, RedisConfig};
use testkit::{Authority, RedisServer, terminator};

use crate::support::*;

fn encrypted(address: SocketAddr, authority: &Authority) -> RedisConfig {
    config(address).tls().ca_file(authority.file())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_cache_is_a_cache() {
    let (server, authority) = (RedisServer::start().unwrap(), Authority::new().unwrap());
    let address =
        terminator(server.address(), &authority.certifies("127.0.0.1").unwrap(), None).await.unwrap();
    let cache = RedisBackend::connect(encrypted(address, &authority)).await.unwrap();
    let key = key("image:5:metadata");
    for entry in [small("x"), large("x")] {
        load(&cache, &key, entry).await;
        invalidate(&cache, &key).await;
        assert_eq!(held(&cache, &key).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_that_is_not_trusted() {
    let (server, authority, other) =
        (RedisServer::start().unwrap(), Authority::new().unwrap(), Authority::new().unwrap());
    let good = authority.certifies("127.0.0.1").unwrap();
    let (wrong_name, expired) =
        (authority.certifies("example.org").unwrap(), authority.certified_once("127.0.0.1").unwrap());
    for (what, certificate, trusted) in [
        ("another authority", &good, Some(&other)),
        ("public authorities", &good, None),
        ("another name", &wrong_name, Some(&authority)),
        ("expired", &expired, Some(&authority)),
    ] {
        let address = terminator(server.address(), certificate, None).await.unwrap();
        let config = match trusted {
            Some(authority) => encrypted(address, authority),
            None => config(address).tls(),
        };
        let error = RedisBackend::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{what}: {error}");
        assert!(error.to_string().contains("certificate"), "{what}: {error}");
    }
    assert_eq!(calls(&server, "hget") + calls(&server, "set"), 0, "no command was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_connection_never_falls_back_to_plain() {
    let (server, authority) = (RedisServer::start().unwrap(), Authority::new().unwrap());
    let short = |config: RedisConfig| config.connect_timeout(Duration::from_millis(500));
    let plain = short(encrypted(server.address(), &authority));
    let error = RedisBackend::connect(plain).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");
    let address =
        terminator(server.address(), &authority.certifies("127.0.0.1").unwrap(), None).await.unwrap();
    let error = RedisBackend::connect(short(config(address))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_client_certificate_gets_it() {
    let (server, authority, other) =
        (RedisServer::start().unwrap(), Authority::new().unwrap(), Authority::new().unwrap());
    let identity = authority.certifies("127.0.0.1").unwrap();
    let address = terminator(server.address(), &identity, Some(&authority)).await.unwrap();
    let at = || encrypted(address, &authority);
    let (certificate, private) = authority.certifies("client").unwrap();
    RedisBackend::connect(at().client_certificate(certificate, private)).await.unwrap();
    let (certificate, private) = other.certifies("client").unwrap();
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
