//! Restarts and failovers: removed values do not come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cache_core::{CacheBackend, CacheBackendExt, ErrorKind, FillOutcome, HealthStatus};
use cache_redis::RedisBackend;
use testkit::{Mode, RedisServer, Restart, TcpProxy};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

const KEY: &str = "image:5:metadata";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_first_call_succeeds_and_old_tokens_are_worthless() {
    let mut site = Site::new(PATIENCE).await;
    let key = key(KEY);
    load(&site.through, &key, small("old")).await;
    let token = token(&site.through, &key).await;
    site.server.restart(Restart::Empty).unwrap();
    assert_eq!(held(&site.through, &key).await, None);
    assert_eq!(site.through.fill(&key, token, small("old")).await.unwrap(), FillOutcome::Refused);
    // As far as clocks can tell, the server was up when this cache last used another: it clears the server.
    assert_eq!(held(&site.beside, &key).await, None);
    load(&site.through, &key, small("new")).await;
    assert_eq!(held(&site.beside, &key).await.unwrap(), "new");
}

/// History 22: the snapshot is older than the invalidation.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_from_an_old_snapshot_brings_nothing_back() {
    let mut site = Site::new(PATIENCE).await;
    let key = key(KEY);
    load(&site.through, &key, small("old")).await;
    let _: () = site.raw(&["SAVE"]);
    invalidate(&site.through, &key).await;
    site.server.restart(Restart::WithData).unwrap();
    for cache in [&site.through, &site.beside] {
        assert_eq!(held(cache, &key).await, None);
    }
}

/// History 33: no heartbeat sees the server in between, and its `run_id` is the one of before.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_there_and_back_between_two_heartbeats_brings_nothing_back() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let follow = |server: &RedisServer, other: &str| {
        raw::<()>(server, &["REPLICAOF", "127.0.0.1", other]);
    };
    let holds_group = async |server: &RedisServer| raw::<u64>(server, &["EXISTS", "app:image:5:@"]) == 1;
    // The first replica of a server changes its replication id, too.
    follow(&second, &first.port().to_string());
    eventually("the second server follows", async || {
        raw::<String>(&second, &["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    let hour = Duration::from_secs(3600);
    let cache = RedisBackend::connect(config(first.address()).heartbeat(hour)).await.unwrap();
    let (key, before) = (key(KEY), key("image:6:metadata"));
    load(&cache, &key, small("old")).await;
    let before_token = token(&cache, &before).await;
    eventually("the second server has the value", async || holds_group(&second).await).await;
    // Cut off, so that it misses the removal.
    follow(&second, "1");
    invalidate(&cache, &key).await;
    raw::<()>(&second, &["REPLICAOF", "NO", "ONE"]);
    follow(&first, &second.port().to_string());
    eventually("the first server has it back", async || holds_group(&first).await).await;
    raw::<()>(&first, &["REPLICAOF", "NO", "ONE"]);
    cache.probe().await.unwrap();
    let found = cache.lookup(&key).await.unwrap();
    assert_eq!(found.entry, None);
    assert_eq!(cache.fill(&before, before_token, small("late")).await.unwrap(), FillOutcome::Refused);
    // The value of the earlier incarnation is replaced where it is.
    assert_eq!(cache.fill(&key, found.token, small("new")).await.unwrap(), FillOutcome::Stored);
    assert_eq!(held(&cache, &key).await.unwrap(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_the_layout_of_earlier_versions_are_removed_and_nothing_else_is() {
    let server = RedisServer::start().unwrap();
    let names = ["app:image:5:@0123456789abcdef", "app:image:5:@0123", "other:image:5:@0123456789abcdef"];
    for name in names {
        raw::<()>(&server, &["HSET", name, "metadata", "old"]);
    }
    let _cache = RedisBackend::connect(config(server.address())).await.unwrap();
    let exists = async |name: &str| raw::<u64>(&server, &["EXISTS", name]) == 1;
    eventually("the old group is removed", async || !exists(names[0]).await).await;
    assert!(exists(names[1]).await && exists(names[2]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_other_settings_are_in_force_nothing_is_read_or_acknowledged() {
    let server = RedisServer::start().unwrap();
    let cache = RedisBackend::connect(config(server.address())).await.unwrap();
    let key = key(KEY);
    load(&cache, &key, small("x")).await;
    raw::<()>(&server, &["SET", "app:#settings", "trust_restart=true layout=2", "PX", "60000"]);
    eventually("a heartbeat sees it", async || cache.health().await.status == HealthStatus::Degraded).await;
    for _ in 0..20 {
        assert!(cache.get(&key).await.is_err() && cache.delete(&key).await.is_err());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    raw::<()>(&server, &["DEL", "app:#settings"]);
    eventually("it is used again", async || cache.get(&key).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_instance_of_an_earlier_version_the_server_is_not_used() {
    let server = RedisServer::start().unwrap();
    raw::<()>(&server, &["SET", "app:#settings", "trust_restart=false", "PX", "1000"]);
    let error = RedisBackend::connect(config(server.address())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("an instance of an earlier version runs"), "{error}");
    eventually("it is used when that instance has ended", async || {
        RedisBackend::connect(config(server.address())).await.is_ok()
    })
    .await;
}

/// With `trust_restart` the value of the test above is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_trusted_brings_old_values_back() {
    let mut server = RedisServer::start().unwrap();
    let cache = RedisBackend::connect(config(server.address()).trust_restart()).await.unwrap();
    let key = key(KEY);
    load(&cache, &key, small("old")).await;
    raw::<()>(&server, &["SAVE"]);
    invalidate(&cache, &key).await;
    server.restart(Restart::WithData).unwrap();
    assert_eq!(held(&cache, &key).await.unwrap(), "old");
}

/// History 22: a planned failover there and back, during which the first server stays up.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_there_and_back_brings_nothing_back() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let mut proxy = TcpProxy::start(first.address()).await.unwrap();
    let cache = RedisBackend::connect(config(proxy.address())).await.unwrap();
    let key = key(KEY);
    load(&cache, &key, small("old")).await;
    let before = token(&cache, &key).await;
    for (server, is_back) in [(&second, false), (&first, true)] {
        proxy.lead_to(server.address());
        proxy.set(Mode::Reset).await;
        proxy.set(Mode::Pass).await;
        // A connection that was being made during the failover may time out.
        eventually("the server behind the address answers", async || match cache.get(&key).await {
            Ok(found) => {
                assert_eq!(found, None, "back: {is_back}");
                true
            }
            Err(_) => false,
        })
        .await;
        assert_eq!(cache.fill(&key, before, small("old")).await.unwrap(), FillOutcome::Refused);
        invalidate(&cache, &key).await;
    }
    load(&cache, &key, small("new")).await;
    assert_eq!(held(&cache, &key).await.unwrap(), "new");
}

/// History 22: an old master is alive, and the pool has warm connections to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_warm_connection_to_an_old_master_is_dropped_by_the_heartbeat() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let proxy = TcpProxy::start(first.address()).await.unwrap();
    let cache = RedisBackend::connect(config(proxy.address())).await.unwrap();
    let key = key(KEY);
    load(&cache, &key, small("old")).await;
    proxy.lead_to(second.address());
    eventually("the heartbeat sees another server", async || held(&cache, &key).await.is_none()).await;
    load(&cache, &key, small("new")).await;
    let keys: Vec<String> = raw(&second, &["KEYS", "app:image:5:@*"]);
    assert_eq!(keys.len(), 1, "it was stored in the new server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_master_is_not_used_after_a_heartbeat() {
    let site = Site::new(PATIENCE).await;
    let key = key(KEY);
    load(&site.through, &key, small("old")).await;
    let _: () = site.raw(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = site.through.delete(&key).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::WritesRefused | ErrorKind::Configuration),
        "a replica acknowledges nothing: {error}"
    );
    eventually("nothing is read from a replica", async || site.through.get(&key).await.is_err()).await;
    eventually("its health says so", async || site.through.health().await.status == HealthStatus::Degraded)
        .await;
    let _: () = site.raw(&["REPLICAOF", "NO", "ONE"]);
    eventually("it is a master again", async || site.through.probe().await.is_ok()).await;
    assert_eq!(held(&site.through, &key).await, None, "it may have missed invalidations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_refused_at_the_start() {
    let server = RedisServer::start().unwrap();
    raw::<()>(&server, &["REPLICAOF", "127.0.0.1", "1"]);
    let error =
        RedisBackend::connect(config(server.address()).timeout(Duration::from_secs(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("replica"), "{error}");
}

/// History 22: instances with different guard settings.
#[tokio::test(flavor = "multi_thread")]
async fn instances_must_agree_on_what_a_restart_means() {
    let server = RedisServer::start().unwrap();
    let _first = RedisBackend::connect(config(server.address())).await.unwrap();
    let error = RedisBackend::connect(config(server.address()).trust_restart()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("REDIS_TRUST_RESTART"), "{error}");
    RedisBackend::connect(config(server.address()).trust_restart().namespace("other")).await.unwrap();
}

/// Starts a proxy that alternates between two servers.
async fn mixing(targets: [SocketAddr; 2]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for target in targets.into_iter().cycle() {
            let Ok((mut client, _)) = listener.accept().await else { return };
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    address
}

/// History 22: a proxy that alternates two servers.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_mixes_servers_is_refused() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let address = mixing([first.address(), second.address()]).await;
    let error = RedisBackend::connect(config(address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("two servers"), "{error}");
}

/// History 22: two builds side by side. A value of the other build is not damage, is replaced by its nonce, and goes with
/// every removal.
#[tokio::test(flavor = "multi_thread")]
async fn entries_of_another_build_are_replaced_by_their_nonces_and_removed_with_their_groups() {
    let site = Site::new(PATIENCE).await;
    let key = key(KEY);
    load(&site.through, &key, small("ours")).await;
    let group = site.raw::<Vec<String>>(&["KEYS", "app:image:5:@*"]).remove(0);
    let mut raw = redis::Client::open(site.server.url()).and_then(|client| client.get_connection()).unwrap();
    let mut theirs: Vec<u8> = redis::cmd("HGET").arg(&group).arg("metadata").query(&mut raw).unwrap();
    theirs[17] += 1; // The version of the format.
    let mut plant = redis::cmd("HSET");
    plant.arg(&group).arg("metadata").arg(&theirs);
    plant.exec(&mut raw).unwrap();
    let before = site.through.stats().await.unwrap().corrupt;
    let (token, late) = (token(&site.through, &key).await, token(&site.beside, &key).await);
    assert_eq!(token.value(), late.value(), "the nonce of what is there");
    assert_eq!(site.through.stats().await.unwrap().corrupt, before);
    assert_eq!(site.through.fill(&key, token, small("ours again")).await.unwrap(), FillOutcome::Stored);
    assert_eq!(site.beside.fill(&key, late, small("late")).await.unwrap(), FillOutcome::Refused);
    plant.exec(&mut raw).unwrap();
    invalidate(&site.through, &key).await;
    assert_eq!(site.raw::<u64>(&["EXISTS", &group]), 0);
}
