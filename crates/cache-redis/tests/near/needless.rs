//! Waits and work that memory must not cost.

use std::time::{Duration, Instant};

use cache_core::{CacheBackend, FillOutcome, NearConfig, NewEntry};
use cache_redis::{RedisBackend, RedisConfig};
use testkit::{Mode, RedisServer, TcpProxy};

use crate::support::*;

const KEY: &str = "image:5:metadata";
const WHAT: &str = "key image:5:metadata";

fn near() -> NearConfig {
    NearConfig::new(8 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_list_without_the_commands_keeps_memory_off_and_slows_nothing_down() {
    let server = RedisServer::start().unwrap();
    for rules in [
        "reset on >p ~app:* -@all +info +echo +ping +multi +exec +scan +eval +evalsha",
        "+hget +hmget +hset +hdel +hlen +hstrlen +hscan +unlink +persist +pexpire +pttl",
        "+rename +get +set +incrby +memory|usage",
    ] {
        let mut words = vec!["ACL", "SETUSER", "cache"];
        words.extend(rules.split(' '));
        let () = raw(&server, &words);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let login = |config: RedisConfig| config.username("cache").password("p");
    let other = RedisBackend::connect(login(config(server.port()))).await.unwrap();
    let one = RedisBackend::connect(login(config(server.port()).near(near()))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut slow = 0;
    for _ in 0..6 {
        for backend in [&other, &one] {
            let took = invalidate(backend, WHAT).await;
            slow += u32::from(took > Duration::from_millis(400));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // Also when the memory is switched off again.
    one.close().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = invalidate(&other, WHAT).await;
    assert!(slow <= 2 && after < NO_WAIT, "{slow} of 12 slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_takes_no_longer_than_a_handle_waits() {
    let server = RedisServer::start().unwrap();
    let config = || config(server.port()).heartbeat(Duration::from_secs(1));
    let one = RedisBackend::connect(config().near(near())).await.unwrap();
    serves(&one).await;
    let mut slow = Vec::new();
    let began = Instant::now();
    let set = async |backend: &RedisBackend| {
        let started = Instant::now();
        backend.set(&key(KEY), NewEntry::new("value")).await.unwrap();
        started.elapsed()
    };
    slow.push(("at the start", set(&one).await));
    while began.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let other = RedisBackend::connect(config().near(near())).await.unwrap();
    serves(&other).await;
    drop(other);
    slow.push(("after a crash", set(&one).await));
    assert!(slow.iter().all(|(_, took)| *took < Duration::from_millis(245)), "{slow:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_whose_refresh_is_refused_is_read_again() {
    let server = RedisServer::start().unwrap();
    let one = with_memory(server.port()).await;
    load(&one, &key(KEY), "old").await;
    read(&one, &key(KEY)).await;
    // Hits ask the server nothing, so that what is read most is evicted first.
    let () = raw(&server, &["UNLINK", "app:image:5:@"]);
    let mut loads = 0;
    while let Some(found) = one.at_hand(&key(KEY)) {
        loads += 1;
        let outcome = one.fill(&key(KEY), found.token, NewEntry::new("new")).await.unwrap();
        assert_eq!(outcome, FillOutcome::Refused);
        if loads == 50 {
            break;
        }
    }
    assert!(loads <= 1, "{loads} loads were refused, and the value is still served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_does_not_cost_the_shared_connection() {
    let server = RedisServer::start().unwrap();
    let mut proxy = TcpProxy::start(server.address()).await.unwrap();
    let one = with_memory(server.port()).await;
    let far = config(proxy.port()).heartbeat(Duration::from_secs(100));
    let other = RedisBackend::connect(far).await.unwrap();
    invalidate(&other, WHAT).await;
    past_the_beginning().await;
    // As far away as another zone.
    proxy.set(Mode::DelayReplies(Duration::from_millis(4))).await;
    let connections = || {
        let text: String = raw(&server, &["INFO", "stats"]);
        let line = text.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    one.close().await.unwrap();
    let registry = registry(&server);
    let _: u64 = raw(&server, &["HLEN", &registry]);
    let before = connections();
    for round in 0..8 {
        let () = raw(&server, &["HSET", &registry, &format!("silent{round}"), "0 0"]);
        let took = invalidate(&other, WHAT).await;
        assert!(took > Duration::from_millis(450), "{took:?}");
    }
    // Each `raw` is a connection.
    let made = connections() - before - 9;
    assert!(made <= 1, "{made} connections made anew in 8 waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_relies_on_its_own_registry_after_half_a_second() {
    let server = RedisServer::start().unwrap();
    let config = config(server.port()).heartbeat(Duration::from_secs(1)).near(near());
    let one = RedisBackend::connect(config).await.unwrap();
    let began = Instant::now();
    serves(&one).await;
    tokio::time::sleep_until((began + Duration::from_millis(850)).into()).await;
    let took = invalidate(&one, WHAT).await;
    assert!(took < NO_WAIT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_invalidations_that_wait_for_one_session_do_not_flood_the_server() {
    let server = RedisServer::start().unwrap();
    let one = std::sync::Arc::new(with_memory(server.port()).await);
    past_the_beginning().await;
    let () = raw(&server, &["HSET", &registry(&server), "silent", "0 0"]);
    let () = raw(&server, &["CONFIG", "RESETSTAT"]);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let one = std::sync::Arc::clone(&one);
        tasks.spawn(async move { invalidate(&one, &format!("key image:{number}:metadata")).await });
    }
    tasks.join_all().await;
    let text: String = raw(&server, &["INFO", "commandstats"]);
    let line = text.lines().find(|line| line.starts_with("cmdstat_hmget:")).unwrap().to_owned();
    let calls: u64 = line.split(['=', ',']).nth(1).unwrap().parse().unwrap();
    assert!(calls < 10_000, "{calls} polls for one silent session");
}
