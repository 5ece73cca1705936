//! Encryption by the settings: if it is impossible the fallback is used, and nothing is sent in plain text.

use cache_facade::{
    BackendKind, CacheConfig,
    config::{RedisConfigBuilder, Tls},
};
use testkit::{Authority, Lines, RedisServer, terminator};
use tracing::Level;

use crate::support::*;

const FALLS_BACK: &str = "WARN Redis cache initialization failed, falling back to disk cache error=";

/// The commands that the server has run, except those of the test itself.
fn commands(server: &RedisServer) -> Vec<String> {
    let ran = raw(server, &["INFO", "commandstats"]);
    let names = ran.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
    names.map(|(name, _)| name.to_owned()).filter(|name| !["info", "ping"].contains(&name.as_str())).collect()
}

async fn backend_of(redis: RedisConfigBuilder) -> (BackendKind, Instance) {
    let one = Instance::with(redis_address(&redis), |config| config.redis(redis)).await;
    (one.cache.backend_kind(), one)
}

fn redis_address(redis: &RedisConfigBuilder) -> std::net::SocketAddr {
    let config = CacheConfig::builder().redis(redis.clone()).build().unwrap();
    let redis = config.redis();
    format!("{}:{}", redis.host(), redis.port()).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_an_encrypted_redis_with_and_without_a_certificate_of_their_own() {
    let (server, authority) = (RedisServer::start().unwrap(), Authority::new().unwrap());
    let identity = authority.certifies("127.0.0.1").unwrap();
    let open = terminator(server.address(), &identity, None).await.unwrap();
    let closed = terminator(server.address(), &identity, Some(&authority)).await.unwrap();
    let (certificate, key) = authority.certifies("client").unwrap();
    let patient = |address| {
        let patience = std::time::Duration::from_secs(30);
        let redis = redis_at(address).timeout(patience).connect_timeout(patience);
        redis.tls(Tls::On).ca_file(authority.file())
    };
    let (kind, one) = backend_of(patient(open)).await;
    assert_eq!(kind, BackendKind::Redis, "{:?}", one.cache.health().await);
    let (kind, two) = backend_of(patient(closed).client_certificate(certificate, key)).await;
    assert_eq!(kind, BackendKind::Redis, "{:?}", two.cache.health().await);

    let database = Database::new();
    database.read(&one.cache, 1).await;
    eventually("the value is shared", async || database.hits(&two.cache, 1).await).await;
    let _ = database.write(&two.cache, 1).await;
    assert_eq!(database.read(&one.cache, 1).await.0, 1);
}

#[tokio::test]
async fn a_refused_certificate_means_the_fallback_and_nothing_is_sent_in_plain_text() {
    Lines::capture(Level::TRACE);
    let (server, authority) = (RedisServer::start().unwrap(), Authority::new().unwrap());
    let other = Authority::new().unwrap();
    let identity = authority.certifies("127.0.0.1").unwrap();
    let encrypted = terminator(server.address(), &identity, None).await.unwrap();
    let asks = terminator(server.address(), &identity, Some(&authority)).await.unwrap();
    let named = |address, authority: &Authority| {
        redis_at(address).password("hunter2").tls(Tls::On).ca_file(authority.file())
    };
    let expired = authority.certified_once("127.0.0.1").unwrap();
    let expired = terminator(server.address(), &expired, None).await.unwrap();
    for (number, (what, redis)) in [
        ("another authority", named(encrypted, &other)),
        ("the world's authorities", redis_at(encrypted).tls(Tls::On)),
        ("expired", named(expired, &authority)),
        ("no certificate of its own", named(asks, &authority)),
        ("a plain server", named(server.address(), &authority)),
        ("no such file", redis_at(encrypted).tls(Tls::On).ca_file("/nowhere/ca.pem")),
        ("an authority, and TLS off", redis_at(server.address()).ca_file(authority.file())),
    ]
    .into_iter()
    .enumerate()
    {
        let (kind, one) = backend_of(redis).await;
        assert_eq!(kind, BackendKind::Fallback, "{what}");
        assert_eq!(Lines::with(FALLS_BACK).len(), number + 1, "{what}: {:?}", Lines::with(FALLS_BACK));
        let database = Database::new();
        is_away(&one.cache).await;
        eventually("the disk stands in", async || database.hits(&one.cache, 1).await).await;
        one.cache.close().await.unwrap();
    }
    assert_eq!(commands(&server), [""; 0], "no command was sent");
    assert!(Lines::with("hunter2").is_empty());
}
