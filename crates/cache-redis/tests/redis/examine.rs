//! The walk of the doctor: it ends where the way ends, says what to do, and tells no secret.

use std::time::Duration;

use cache_redis::{Finding, RedisConfig, examine};
use testkit::{Authority, RedisServer, terminator};

use crate::support::*;

const STEPS: [&str; 10] = [
    "settings",
    "name",
    "connection",
    "TLS",
    "login",
    "server",
    "clock",
    "commands",
    "memory",
    "persistence",
];

/// The names of the steps, and everything that was said.
async fn walk(config: RedisConfig) -> (Vec<&'static str>, Finding, String) {
    let steps = examine(&config).await;
    let text = format!("{steps:#?}");
    assert!(!text.contains("secret"), "{text}");
    let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
    let (last, earlier) = steps.split_last().unwrap();
    for (name, finding) in earlier {
        assert!(!matches!(finding, Finding::Wrong { .. }), "{name} ends the way: {text}");
    }
    (names, last.1.clone(), text)
}

/// Where the way ends, and the advice there.
async fn dead_end(config: RedisConfig) -> (&'static str, String) {
    let (names, last, text) = walk(config.connect_timeout(Duration::from_secs(1))).await;
    let advice = match last {
        Finding::Wrong { advice, .. } => Some(advice),
        Finding::Fine(_) | Finding::Doubtful { .. } => None,
    };
    (names.last().unwrap(), advice.expect(&text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_way_is_walked_to_its_end_and_leaves_nothing_behind() {
    let server =
        RedisServer::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]).unwrap();
    let (names, _, text) = walk(config(server.address())).await;
    assert_eq!(names, STEPS);
    assert!(!text.contains("Doubtful"), "{text}");
    assert!(
        text.contains("of 64 MB in use, allkeys-lru") && text.contains("none; after a restart"),
        "{text}"
    );
    let keys: Vec<String> = raw(&server, &["KEYS", "*"]);
    assert!(
        keys.iter().all(|key| key.ends_with("#settings")),
        "what instances agree on goes by itself: {keys:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_obstacle_is_found_at_its_step_with_what_to_do() {
    let closed = RedisServer::start_with(&["--requirepass", "the-secret"]).unwrap();
    let at = || config(closed.address());
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let few = RedisServer::start().unwrap();
    let allowed =
        ["ACL", "SETUSER", "few", "on", ">the-secret", "~app:*", "+info", "+ping", "+echo", "+select"];
    let _: String = raw(&few, &allowed);
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", "1"]).unwrap();
    for (config, step, advice) in [
        (at().namespace(""), "settings", "correct the setting"),
        (RedisConfig::new("no-such-host.invalid"), "name", "REDIS_HOST"),
        (config(nobody), "connection", "start the server"),
        (at(), "login", "set REDIS_PASSWORD"),
        (at().password("a-wrong-secret"), "login", "correct REDIS_PASSWORD"),
        (at().password_file("/nowhere/password"), "login", "correct what the message names"),
        (at().password("the-secret").db(99), "login", "REDIS_DB"),
        (config(replica.address()), "server", "another server"),
        (config(few.address()).username("few").password("the-secret"), "commands", "access list"),
    ] {
        let (ends, says) = dead_end(config).await;
        assert_eq!(ends, step, "{says}");
        assert!(says.contains(advice), "{step}: {says}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_has_a_step_of_its_own() {
    let (server, authority) = (RedisServer::start().unwrap(), Authority::new().unwrap());
    let identity = authority.certifies("127.0.0.1").unwrap();
    let address = terminator(server.address(), &identity, None).await.unwrap();
    let (names, _, text) = walk(config(address).tls().ca_file(authority.file())).await;
    assert_eq!(names, STEPS, "{text}");
    let (step, advice) = dead_end(config(address).tls()).await;
    assert_eq!((step, advice.contains("REDIS_CA_FILE")), ("TLS", true), "{advice}");
    let (step, advice) = dead_end(config(server.address()).tls().ca_file(authority.file())).await;
    assert_eq!((step, advice.contains("REDIS_TLS=false")), ("TLS", true), "{advice}");
    let (step, advice) = dead_end(config(address)).await;
    assert_eq!((step, advice.contains("REDIS_TLS=true")), ("login", true), "{advice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restart_brings_back_and_a_server_without_a_limit_are_doubtful() {
    let server = RedisServer::start().unwrap();
    let (_, last, text) = walk(config(server.address()).trust_restart()).await;
    assert!(text.contains("no memory limit"), "{text}");
    assert!(matches!(last, Finding::Doubtful { .. }), "{last:?}");
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).unwrap();
    let (_, last, _) = walk(config(server.address()).trust_restart()).await;
    assert!(matches!(last, Finding::Fine(_)), "{last:?}");
}
