//! The checks of the doctor: they end at the first that fails, give advice, and show no secret.

use std::time::Duration;

use cache_redis::{Diagnosis, RedisConfig, diagnose};
use testkit::{Authority, RedisServer, terminator};

use crate::support::*;

const CHECKS: [&str; 10] = [
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

/// Runs the checks. Returns their names, the last diagnosis, and the whole text.
async fn run(config: RedisConfig) -> (Vec<&'static str>, Diagnosis, String) {
    let checks = diagnose(&config).await;
    let text = format!("{checks:#?}");
    assert!(!text.contains("secret"), "{text}");
    let names: Vec<_> = checks.iter().map(|(name, _)| *name).collect();
    let (last, earlier) = checks.split_last().unwrap();
    for (name, diagnosis) in earlier {
        assert!(!matches!(diagnosis, Diagnosis::Wrong { .. }), "{name} is not the last check: {text}");
    }
    (names, last.1.clone(), text)
}

/// Runs the checks, of which the last must fail. Returns its name and advice.
async fn failed(config: RedisConfig) -> (&'static str, String) {
    let (names, last, text) = run(config.connect_timeout(Duration::from_secs(1))).await;
    let advice = match last {
        Diagnosis::Wrong { advice, .. } => Some(advice),
        Diagnosis::Fine(_) | Diagnosis::Doubtful { .. } => None,
    };
    (names.last().unwrap(), advice.expect(&text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_passes_all_checks_and_nothing_is_left_behind() {
    let server =
        RedisServer::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]).unwrap();
    let (names, _, text) = run(config(server.address())).await;
    assert_eq!(names, CHECKS);
    assert!(!text.contains("Doubtful"), "{text}");
    assert!(
        text.contains("of 64 MB in use, allkeys-lru") && text.contains("none; after a restart"),
        "{text}"
    );
    let keys: Vec<String> = raw(&server, &["KEYS", "*"]);
    assert!(
        keys.iter().all(|key| key.ends_with("#settings")),
        "only the shared settings, which expire: {keys:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_problem_is_found_by_its_check_with_advice() {
    let closed = RedisServer::start_with(&["--requirepass", "the-secret"]).unwrap();
    let at = || config(closed.address());
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let few = RedisServer::start().unwrap();
    let allowed =
        ["ACL", "SETUSER", "few", "on", ">the-secret", "~app:*", "+info", "+ping", "+echo", "+select"];
    let _: String = raw(&few, &allowed);
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", "1"]).unwrap();
    for (config, check, advice) in [
        (at().namespace(""), "settings", "correct the setting"),
        (RedisConfig::new("no-such-host.invalid"), "name", "REDIS_HOST"),
        (config(unused), "connection", "start the server"),
        (at(), "login", "set REDIS_PASSWORD"),
        (at().password("a-wrong-secret"), "login", "correct REDIS_PASSWORD"),
        (at().password_file("/nowhere/password"), "login", "correct what the message names"),
        (at().password("the-secret").db(99), "login", "REDIS_DB"),
        (config(replica.address()), "server", "another server"),
        (config(few.address()).username("few").password("the-secret"), "commands", "access list"),
    ] {
        let (ends, says) = failed(config).await;
        assert_eq!(ends, check, "{says}");
        assert!(says.contains(advice), "{check}: {says}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_has_a_check_of_its_own() {
    let (server, authority) = (RedisServer::start().unwrap(), Authority::new().unwrap());
    let identity = authority.certifies("127.0.0.1").unwrap();
    let address = terminator(server.address(), &identity, None).await.unwrap();
    let (names, _, text) = run(config(address).tls().ca_file(authority.file())).await;
    assert_eq!(names, CHECKS, "{text}");
    let (check, advice) = failed(config(address).tls()).await;
    assert_eq!((check, advice.contains("REDIS_CA_FILE")), ("TLS", true), "{advice}");
    let (check, advice) = failed(config(server.address()).tls().ca_file(authority.file())).await;
    assert_eq!((check, advice.contains("REDIS_TLS=false")), ("TLS", true), "{advice}");
    let (check, advice) = failed(config(address)).await;
    assert_eq!((check, advice.contains("REDIS_TLS=true")), ("login", true), "{advice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_restarts_and_a_server_without_a_memory_limit_are_doubtful() {
    let server = RedisServer::start().unwrap();
    let (_, last, text) = run(config(server.address()).trust_restart()).await;
    assert!(text.contains("no memory limit"), "{text}");
    assert!(matches!(last, Diagnosis::Doubtful { .. }), "{last:?}");
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).unwrap();
    let (_, last, _) = run(config(server.address()).trust_restart()).await;
    assert!(matches!(last, Diagnosis::Fine(_)), "{last:?}");
}
