//! Server faults: each has an error kind and costs a call its deadline at most; afterwards the cache recovers and serves
//! nothing stale.

use std::time::{Duration, Instant};

use cache_core::{CacheBackend, CacheBackendExt, ErrorKind, FillOutcome, Invalidation, Result};
use cache_redis::RedisBackend;
use testkit::{RedisServer, Restart};

use crate::support::*;

const TIMEOUT: Duration = Duration::from_millis(250);
/// The deadline, a tenth more, and slack for a busy machine.
const BUDGET: Duration = Duration::from_millis(275 + 400);
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);
const KEY: &str = "image:5:metadata";

/// The outcomes of calls during a fault.
struct Outcomes {
    read: Result<()>,
    filled: Result<FillOutcome>,
    removed: Result<()>,
}

/// Makes one read, one fill and one removal, each within its budget.
async fn call_all(site: &Site) -> Outcomes {
    let key = key(KEY);
    let timed = async |what: &str, started: Instant| {
        let took = started.elapsed();
        assert!(took < BUDGET, "{what} took {took:?}");
    };
    let started = Instant::now();
    let lookup = site.through.lookup(&key).await;
    timed("a read", started).await;
    let token = lookup.as_ref().map_or_else(|_| cache_core::FillToken::never(), |lookup| lookup.token);
    let started = Instant::now();
    let filled = site.through.fill(&key, token, small("meanwhile")).await;
    timed("a fill", started).await;
    let started = Instant::now();
    let removed = site.through.invalidate(&[Invalidation::Key(key)]).await.map(drop);
    timed("a removal", started).await;
    Outcomes { read: lookup.map(drop), filled, removed }
}

/// Checks that everything works again within five seconds, and that a token is refused after an acknowledged removal.
async fn recovers(site: &Site) {
    let key = key(KEY);
    let started = Instant::now();
    eventually("removals are acknowledged", async || site.through.delete(&key).await.is_ok()).await;
    let late = token(&site.through, &key).await;
    let _ = site.through.delete(&key).await.expect("the cache works again");
    assert_eq!(site.through.fill(&key, late, small("old")).await.unwrap(), FillOutcome::Refused);
    load(&site.through, &key, small("new")).await;
    assert_eq!(held(&site.through, &key).await.unwrap(), "new");
    assert!(started.elapsed() < RECOVERS_WITHIN, "it took {:?}", started.elapsed());
    eventually("its health says so", async || site.through.probe().await.is_ok()).await;
}

fn kinds<T: std::fmt::Debug>(outcome: &Result<T>, allowed: &[ErrorKind], what: &str) {
    if let Err(error) = outcome {
        assert!(allowed.contains(&error.kind()), "{what}: {:?}: {error}", error.kind());
    }
}

fn all_kinds(outcomes: &Outcomes, allowed: &[ErrorKind]) {
    kinds(&outcomes.read, allowed, "read");
    kinds(&outcomes.filled, allowed, "fill");
    kinds(&outcomes.removed, allowed, "removal");
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_server_that_was_killed_is_used_again_once_it_is_back() {
    let mut site = Site::new(TIMEOUT).await;
    for _ in 0..3 {
        load(&site.through, &key(KEY), small("old")).await;
        site.server.kill().unwrap();
        let outcomes = call_all(&site).await;
        all_kinds(&outcomes, &[ErrorKind::Unavailable, ErrorKind::Timeout]);
        assert!(outcomes.removed.is_err());
        site.server.restart(Restart::Empty).unwrap();
        recovers(&site).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_paused_writes_time_out_and_are_refused_when_they_arrive() {
    let site = Site::new(TIMEOUT).await;
    let key = key(KEY);
    load(&site.through, &key, small("old")).await;
    let refresh = token(&site.through, &key).await;
    let _: () = site.raw(&["CLIENT", "PAUSE", "3000", "WRITE"]);
    assert_eq!(held(&site.through, &key).await.unwrap(), "old", "reads go on");
    let error = site.through.fill(&key, refresh, small("late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(site.through.delete(&key).await.unwrap_err().kind(), ErrorKind::Timeout);
    recovers(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_a_full_server_serves_and_removes_and_stores_nothing() {
    let site = Site::new(TIMEOUT).await;
    load(&site.through, &key(KEY), small("old")).await;
    let _: () = site.raw(&["CONFIG", "SET", "maxmemory", "1"]);
    let outcomes = call_all(&site).await;
    assert!(outcomes.read.is_ok() && outcomes.removed.is_ok());
    assert_eq!(outcomes.filled.unwrap_err().kind(), ErrorKind::WritesRefused);
    let outcomes = call_all(&site).await;
    assert!(outcomes.read.is_ok(), "a miss without a token");
    let _: () = site.raw(&["CONFIG", "SET", "maxmemory", "0"]);
    recovers(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d9_a_replica_acknowledges_nothing_and_is_left() {
    for serves_stale in ["yes", "no"] {
        let site = Site::new(TIMEOUT).await;
        load(&site.through, &key(KEY), small("old")).await;
        let _: () = site.raw(&["CONFIG", "SET", "replica-serve-stale-data", serves_stale]);
        let _: () = site.raw(&["REPLICAOF", "127.0.0.1", "1"]);
        let outcomes = call_all(&site).await;
        assert!(outcomes.removed.is_err());
        let allowed = [ErrorKind::WritesRefused, ErrorKind::Configuration, ErrorKind::Unavailable];
        all_kinds(&outcomes, &allowed);
        eventually("nothing is read from it", async || site.through.get(&key(KEY)).await.is_err()).await;
        let _: () = site.raw(&["REPLICAOF", "NO", "ONE"]);
        recovers(&site).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_a_server_that_is_loading_is_unavailable_until_it_has_loaded() {
    // A server answers its clients after every two megabytes that it has loaded.
    let site = Site::with_arguments(TIMEOUT, &["--key-load-delay", "400", "--rdbcompression", "no"]).await;
    let filler = "for i = 1, 1200 do redis.call('SET', 'filler' .. i, string.rep('x', 10000)) end";
    let _: () = site.raw(&["EVAL", filler, "0"]);
    load(&site.through, &key(KEY), small("old")).await;
    let _: () = site.raw(&["SAVE"]);
    let Site { mut server, proxy, through, beside } = site;
    // Returns when the server has loaded.
    let restarting = tokio::task::spawn_blocking(move || {
        server.restart(Restart::WithData).unwrap();
        server
    });
    let mut failed = 0;
    while !restarting.is_finished() {
        let started = Instant::now();
        if let Err(error) = through.get(&key(KEY)).await {
            assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
            failed += 1;
        }
        assert!(started.elapsed() < BUDGET);
    }
    assert!(failed > 0, "no call was made while the server was loading");
    let site = Site { server: restarting.await.unwrap(), proxy, through, beside };
    recovers(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d11_a_server_that_is_busy_with_a_script_is_unavailable() {
    let site = Site::new(TIMEOUT).await;
    load(&site.through, &key(KEY), small("old")).await;
    let _: () = site.raw(&["CONFIG", "SET", "lua-time-limit", "50"]);
    let client = redis::Client::open(site.server.url()).unwrap();
    let endless = tokio::task::spawn_blocking(move || {
        let mut connection = client.get_connection().unwrap();
        redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut connection)
    });
    eventually("it is busy", async || site.through.delete(&key(KEY)).await.is_err()).await;
    let outcomes = call_all(&site).await;
    all_kinds(&outcomes, &[ErrorKind::Unavailable, ErrorKind::Timeout]);
    assert!(outcomes.removed.is_err());
    let _: () = site.raw(&["SCRIPT", "KILL"]);
    assert!(endless.await.unwrap().is_err());
    recovers(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d11_forgotten_scripts_are_sent_again() {
    let site = Site::new(TIMEOUT).await;
    for entry in [small("x"), large("x")] {
        for at in 0..3 {
            let forget = |now: usize| {
                if now == at {
                    let _: () = site.raw(&["SCRIPT", "FLUSH"]);
                }
            };
            forget(0);
            let token = token(&site.through, &key(KEY)).await;
            forget(1);
            let filled = site.through.fill(&key(KEY), token, entry.clone()).await.unwrap();
            assert_eq!(filled, FillOutcome::Stored);
            forget(2);
            let _ = site.through.delete(&key(KEY)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_changed_password_is_a_configuration_error_until_it_is_changed_back() {
    let server = RedisServer::start().unwrap();
    raw::<()>(&server, &["ACL", "SETUSER", "cache", "on", ">s3cr3t-one", "~*", "+@all"]);
    let at = config(server.address()).timeout(TIMEOUT).username("cache").password("s3cr3t-one");
    let cache = RedisBackend::connect(at).await.unwrap();
    load(&cache, &key(KEY), small("old")).await;
    raw::<()>(&server, &["ACL", "SETUSER", "cache", "resetpass", ">s3cr3t-two"]);
    raw::<()>(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
    let error = cache.delete(&key(KEY)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(!format!("{error} {error:?} {cache:?}").contains("s3cr3t"));
    let health = format!("{:?}", {
        let _ = cache.probe().await;
        cache.health().await
    });
    assert!(health.contains("REDIS_") && !health.contains("s3cr3t"), "{health}");
    raw::<()>(&server, &["ACL", "SETUSER", "cache", ">s3cr3t-one"]);
    eventually("it works again", async || cache.delete(&key(KEY)).await.is_ok()).await;
    load(&cache, &key(KEY), small("new")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_newly_required_password_is_noticed_within_a_heartbeat() {
    let site = Site::new(TIMEOUT).await;
    load(&site.through, &key(KEY), small("old")).await;
    let _: () = site.raw(&["CONFIG", "SET", "requirepass", "s3cr3t"]);
    eventually("nothing is read any more", async || site.through.get(&key(KEY)).await.is_err()).await;
    let outcomes = call_all(&site).await;
    all_kinds(&outcomes, &[ErrorKind::Configuration]);
    let mut client = redis::Client::open(format!("redis://:s3cr3t@{}/", site.server.address()))
        .and_then(|client| client.get_connection())
        .unwrap();
    redis::cmd("CONFIG").arg(&["SET", "requirepass", ""]).exec(&mut client).unwrap();
    recovers(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_too_many_clients_do_not_affect_existing_connections() {
    let site = Site::new(TIMEOUT).await;
    load(&site.through, &key(KEY), small("old")).await;
    let mut guard =
        redis::Client::open(site.server.url()).and_then(|client| client.get_connection()).unwrap();
    redis::cmd("CONFIG").arg(&["SET", "maxclients", "1"]).exec(&mut guard).unwrap();
    for _ in 0..20 {
        // The heartbeat cannot connect; existing connections are served.
        assert_eq!(held(&site.through, &key(KEY)).await.unwrap(), "old");
        let error = site.through.probe().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    }
    redis::cmd("CONFIG").arg(&["SET", "maxclients", "1000"]).exec(&mut guard).unwrap();
    recovers(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_killed_connections_are_replaced() {
    let site = Site::new(Duration::from_secs(5)).await;
    let mut killer =
        redis::Client::open(site.server.url()).and_then(|client| client.get_connection()).unwrap();
    for turn in 0..200 {
        let started = Instant::now();
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).exec(&mut killer).unwrap();
        load(&site.through, &key(KEY), small("x")).await;
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).exec(&mut killer).unwrap();
        assert!(held(&site.through, &key(KEY)).await.is_some(), "turn {turn}");
        invalidate(&site.through, &key(KEY)).await;
        assert_eq!(held(&site.through, &key(KEY)).await, None);
        // A request that was sent as its connection ended does not wait for its deadline.
        assert!(started.elapsed() < Duration::from_secs(4), "turn {turn}: {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d17_a_missing_or_forbidden_command_is_reported_at_the_start() {
    let renamed = RedisServer::start_with(&["--rename-command", "EVAL", ""]).unwrap();
    let error = RedisBackend::connect(config(renamed.address())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("EVAL"), "{error}");
    let server = RedisServer::start().unwrap();
    for command in ["unlink", "hget", "hdel", "eval", "scan", "hset", "hlen", "exec"] {
        let rules =
            ["ACL", "SETUSER", "cache", "reset", "on", ">s3cr3t", "~*", "+@all", &format!("-{command}")];
        raw::<()>(&server, &rules);
        let at = config(server.address()).username("cache").password("s3cr3t");
        let connected = RedisBackend::connect(at).await.map(drop);
        let error = connected.expect_err(command);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{command}: {error}");
        assert!(error.to_string().to_lowercase().contains(command), "{command}: {error}");
    }
}
