//! Advice where the settings do not fit the server: a start and the doctor give the same.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use cache_core::ErrorKind;
use cache_redis::{Diagnosis, RedisBackend, RedisConfig, diagnose};
use testkit::{Authority, RedisServer, terminator};

use crate::support::*;

/// Checks that a start and the doctor both give `advice`.
async fn says(what: &str, config: RedisConfig, advice: &str) {
    let config = config.connect_timeout(Duration::from_secs(1));
    let error = RedisBackend::connect(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains(advice), "{what}, at the start: {error}");
    assert_eq!(error.matches("REDIS_*").count(), 0, "advice and a hint to look for some: {error}");
    let checks = diagnose(&config).await;
    let Some((_, Diagnosis::Wrong { found, advice: said })) = checks.last() else {
        unreachable!("{what}: {checks:?}")
    };
    assert!(format!("{found}; {said}").contains(advice), "{what}, from the doctor: {found}; {said}");
    assert!(!format!("{error} {checks:?}").contains("hunter2"), "{what}: {error} {checks:?}");
}

/// Starts a server with a TLS port beside the plain one; it asks clients for a certificate if `asks`.
fn tls_server(authority: &Authority, asks: bool) -> (RedisServer, SocketAddr) {
    let (certificate, key) = authority.certifies("127.0.0.1").unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let server = RedisServer::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &text(certificate),
        "--tls-key-file",
        &text(key),
        "--tls-ca-cert-file",
        &text(authority.file()),
        "--tls-auth-clients",
        if asks { "yes" } else { "no" },
    ]);
    (server.unwrap(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_on_a_tls_port_and_tls_on_a_plain_port_get_different_advice() {
    let authority = Authority::new().unwrap();
    let (server, encrypted) = tls_server(&authority, false);
    let behind =
        terminator(server.address(), &authority.certifies("127.0.0.1").unwrap(), None).await.unwrap();
    for port in [encrypted, behind] {
        says("plain on a TLS port", config(port), "this port speaks TLS: set REDIS_TLS=true").await;
        says("with a password", config(port).password("hunter2"), "set REDIS_TLS=true").await;
    }
    let plain = || config(server.address()).tls().ca_file(authority.file());
    says("TLS on a plain port", plain(), "REDIS_TLS=false").await;
    says("with a password", plain().password("hunter2"), "REDIS_TLS=false").await;
    assert_eq!(calls(&server, "auth"), 0, "a password was sent unencrypted, or while probing the port");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_untrusted_client_certificate_is_named() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let (server, asks) = tls_server(&authority, true);
    let behind = terminator(server.address(), &authority.certifies("127.0.0.1").unwrap(), Some(&authority))
        .await
        .unwrap();
    let (certificate, key) = other.certifies("client").unwrap();
    for port in [asks, behind] {
        let at = || config(port).tls().ca_file(authority.file());
        says("no certificate", at(), "set REDIS_CLIENT_CERT and REDIS_CLIENT_KEY").await;
        says("no certificate", at().password("hunter2"), "set REDIS_CLIENT_CERT and REDIS_CLIENT_KEY").await;
        says("another's", at().client_certificate(&certificate, &key), "must trust the authority").await;
        let (certificate, key) = authority.certifies("client").unwrap();
        RedisBackend::connect(at().client_certificate(certificate, key)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_the_wrong_content_is_named_with_its_content() {
    let authority = Authority::new().unwrap();
    let (_server, address) = tls_server(&authority, false);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (certificate, key) = authority.certifies("client").unwrap();
    let empty = file("empty", b"");
    let binary = file("der", &[0x30, 0x82, 1, 2]);
    let sealed =
        file("sealed", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let damaged = file("damaged", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    let at = || config(address).tls();
    let identified = |certificate: &PathBuf, key: &PathBuf| {
        at().ca_file(authority.file()).client_certificate(certificate, key)
    };
    for (name, config, advice) in [
        ("REDIS_CA_FILE", at().ca_file(&empty), "-----BEGIN CERTIFICATE-----"),
        ("REDIS_CA_FILE", at().ca_file(&binary), "DER"),
        ("REDIS_CA_FILE", at().ca_file(&key), "holds a private key"),
        ("REDIS_CA_FILE", at().ca_file(&damaged), "damaged"),
        ("REDIS_CA_FILE", at().ca_file(directory.path()), "directory"),
        ("REDIS_CLIENT_CERT", identified(&empty, &key), "-----BEGIN CERTIFICATE-----"),
        ("REDIS_CLIENT_CERT", identified(&key, &certificate), "exchanged"),
        ("REDIS_CLIENT_KEY", identified(&certificate, &certificate), "exchanged"),
        ("REDIS_CLIENT_KEY", identified(&certificate, &sealed), "openssl pkey"),
        ("REDIS_CLIENT_KEY", identified(&certificate, &empty), "-----BEGIN PRIVATE KEY-----"),
    ] {
        says(name, config.clone(), advice).await;
        let error = RedisBackend::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    says("no file of an authority", at(), "in REDIS_CA_FILE").await;
    let other = Authority::new().unwrap();
    says("another authority", at().ca_file(other.file()), "name the right file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_with_white_space_or_quotes_is_refused_with_that_advice() {
    let server = RedisServer::start_with(&["--requirepass", "hunter2"]).unwrap();
    let with = |password: &str| config(server.address()).password(password);
    says("a line break", with("hunter2\n"), "ends with a line break").await;
    says("a line break of Windows", with("hunter2\r\n"), "ends with a line break").await;
    says("a space", with(" hunter2"), "white space").await;
    says("quotes", with("\"hunter2\""), "stands in quotes").await;
    says("another", with("*******"), "correct REDIS_PASSWORD").await;
    says("none", config(server.address()), "set REDIS_PASSWORD").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_and_a_server_that_is_no_redis_are_named() {
    let sentinel = RedisServer::start_with(&["--sentinel"]).unwrap();
    says("a Sentinel", config(sentinel.address()), "is a Sentinel").await;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 64]).await;
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    says("HTTP", config(address), "is no Redis").await;
    says("HTTP, and TLS", config(address).tls(), "does not speak TLS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_the_connection_is_not_taken_for_another_program() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = RedisBackend::connect(config(address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.to_string().contains("REDIS_"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_address_is_shown_in_brackets() {
    let error = RedisBackend::connect(RedisConfig::new("::1").port(1)).await.unwrap_err();
    assert!(error.to_string().contains("Redis at [::1]:1"), "{error}");
}
