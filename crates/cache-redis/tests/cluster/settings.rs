//! Settings and clusters that do not fit.

use cache_core::{CacheBackend, ErrorKind, NewEntry};
use cache_redis::{Diagnosis, RedisBackend, RedisConfig, RedisMode};
use testkit::{RedisCluster, RedisServer};

use crate::support::*;

async fn refused(config: RedisConfig) -> String {
    let error = RedisBackend::connect(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_fit_say_what_to_set() {
    let (cluster, single) = (RedisCluster::start_with(3, 0, &[]).unwrap(), RedisServer::start().unwrap());
    let of_single = || RedisConfig::new("127.0.0.1").port(single.port());
    for (config, advice) in [
        (config(&cluster).mode(RedisMode::Single), "REDIS_MODE=single; remove REDIS_MODE"),
        (of_single().mode(RedisMode::Cluster), "REDIS_MODE=cluster; correct REDIS_HOST"),
        (config(&cluster).trust_restart(), "remove REDIS_TRUST_RESTART"),
        (config(&cluster).db(1), "refused to switch database"),
        (config(&cluster).mode(RedisMode::Cluster).db(1), "remove REDIS_DB"),
    ] {
        let error = refused(config).await;
        assert!(error.contains(advice), "{error}");
    }
    for mode in [RedisMode::Auto, RedisMode::Single] {
        RedisBackend::connect(of_single().mode(mode)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_leads_to_all_and_more_are_asked_where_the_first_is_away() {
    let mut cluster = RedisCluster::start().unwrap();
    let addresses: Vec<_> = (0..6).map(|node| ("127.0.0.1".to_owned(), cluster.node(node).port())).collect();
    for (_, port) in &addresses {
        let cache = RedisBackend::connect(RedisConfig::new("127.0.0.1").port(*port)).await.unwrap();
        for number in 0..20 {
            cache.set(&key(number), NewEntry::new("a value")).await.unwrap();
        }
    }
    let replica = cluster.replica_of(0).unwrap().unwrap();
    cluster.nodes()[0].kill().unwrap();
    cluster.wait_for_master(replica).unwrap();
    cluster.settle().unwrap();
    let error = RedisBackend::connect(config(&cluster)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let cache = RedisBackend::connect(config(&cluster).nodes(addresses)).await.unwrap();
    for number in 0..20 {
        cache.lookup(&key(number)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diagnosis_names_the_node_that_is_away() {
    let mut cluster = RedisCluster::start_with(3, 0, &["--cluster-require-full-coverage", "no"]).unwrap();
    let found = async |cluster: &RedisCluster| {
        let checks = cache_redis::diagnose(&config(cluster)).await;
        checks.into_iter().find(|(name, _)| *name == "cluster").unwrap().1
    };
    let fine = "3 masters that can be reached, 0 replicas, 16384 of 16384 slots";
    assert_eq!(found(&cluster).await, Diagnosis::Fine(fine.to_owned()));
    cluster.nodes()[2].kill().unwrap();
    let port = cluster.node(2).port().to_string();
    match found(&cluster).await {
        Diagnosis::Wrong { found, advice } => {
            assert!(found.contains(&port) && advice.contains(&port), "{found}; {advice}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_announce_addresses_that_cannot_be_reached_are_mapped() {
    let node =
        RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-announce-ip", "192.0.2.1"]).unwrap();
    for first in (0..16384).step_by(1024) {
        let slots: Vec<String> = (first..first + 1024).map(|slot| slot.to_string()).collect();
        assert_eq!(node.command(&format!("CLUSTER ADDSLOTS {}", slots.join(" "))).unwrap(), "+OK");
    }
    let config = || RedisConfig::new("127.0.0.1").port(node.port()).heartbeat(BEAT);
    eventually("the cluster is up", async || {
        node.command("CLUSTER INFO").is_ok_and(|_| node.command("SET a b").unwrap() == "+OK")
    })
    .await;
    let error = RedisBackend::connect(config()).await.unwrap_err().to_string();
    assert!(error.contains("192.0.2.1") && error.contains("REDIS_NODE_MAP"), "{error}");
    let pair = (("192.0.2.1".to_owned(), node.port()), ("127.0.0.1".to_owned(), node.port()));
    let cache = RedisBackend::connect(config().node_map([pair])).await.unwrap();
    load(&cache, &key(1), "a value").await;
    assert_eq!(held(&cache, &key(1)).await.unwrap(), "a value");
}
