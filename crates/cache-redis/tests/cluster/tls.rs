//! Encrypted clusters, whose nodes announce IP addresses and have certificates for names.

use cache_core::{CacheBackend, ErrorKind, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use testkit::{Authority, RedisCluster, terminator};

use crate::support::*;

/// Returns the settings of a cluster behind encryption, whose certificates are for `localhost`; `host` leads to its first
/// node.
async fn encrypted(cluster: &RedisCluster, authority: &Authority, host: &str) -> RedisConfig {
    let identity = authority.certifies("localhost").unwrap();
    let (mut map, mut first) = (Vec::new(), 0);
    for node in 0..3 {
        let announced = cluster.node(node).address();
        let encrypted = terminator(announced, &identity, None).await.unwrap();
        first = if node == 0 { encrypted.port() } else { first };
        let address = |of: std::net::SocketAddr| (of.ip().to_string(), of.port());
        map.push((address(announced), address(encrypted)));
    }
    RedisConfig::new(host).port(first).heartbeat(BEAT).tls().ca_file(authority.file()).node_map(map)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_announce_addresses_are_verified_by_the_name_of_the_first_or_by_one_that_is_given() {
    let (cluster, authority) = (RedisCluster::start_with(3, 0, &[]).unwrap(), Authority::new().unwrap());
    let by_first = encrypted(&cluster, &authority, "localhost").await;
    let by_name = encrypted(&cluster, &authority, "127.0.0.1").await.tls_name("localhost");
    for config in [by_first, by_name] {
        let cache = RedisBackend::connect(config).await.unwrap();
        for number in 0..30 {
            cache.set(&key(number), NewEntry::new("a value")).await.unwrap();
            assert_eq!(held(&cache, &key(number)).await.unwrap(), "a value");
        }
        cache.probe().await.unwrap();
    }
    let by_address = encrypted(&cluster, &authority, "127.0.0.1").await;
    let error = RedisBackend::connect(by_address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let other = encrypted(&cluster, &authority, "localhost").await.tls_name("example.org");
    let error = RedisBackend::connect(other).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}
