//! A password that is rotated while the application runs: new connections read it again, without a restart.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_facade::{Cache, CacheConfig, config::Credentials};
use testkit::RedisServer;

use crate::support::*;

const FIRST: &str = "hunter2-first";
const SECOND: &str = "hunter2-second";

/// Replaces the password at the server and ends all connections that used the old one.
fn rotate(server: &RedisServer) {
    raw_as(server, Some(FIRST), &["CONFIG", "SET", "requirepass", SECOND]);
    raw_as(server, Some(SECOND), &["CLIENT", "KILL", "TYPE", "normal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_rotated_at_the_server_and_in_its_file_needs_no_restart() {
    let server = RedisServer::start_with(&["--requirepass", FIRST]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (password, user) = (directory.path().join("password"), directory.path().join("user"));
    fs::write(&password, format!("{FIRST}\n")).unwrap();
    fs::write(&user, "default\n").unwrap();
    let cache = directory.path().join("cache");
    let config = CacheConfig::from_pairs([
        ("CACHE_DIR", cache.to_str().unwrap()),
        ("REDIS_ENABLED", "true"),
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", &server.port().to_string()),
        ("REDIS_PASSWORD_FILE", password.to_str().unwrap()),
        ("REDIS_USERNAME_FILE", user.to_str().unwrap()),
    ])
    .unwrap();
    let cache = Cache::connect(config).await.unwrap();
    is_back(&cache).await;
    // At the server first: until the file follows it, the fallback is in use.
    rotate(&server);
    is_away(&cache).await;
    fs::write(&password, SECOND).unwrap();
    is_back(&cache).await;
    let database = Database::new();
    database.read(&cache, 1).await;
    eventually("values are stored", async || database.hits(&cache, 1).await).await;
    let health = format!("{:?}", cache.health().await);
    assert!(!health.contains("hunter2"), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_asks_the_application_for_its_credentials() {
    let server = RedisServer::start_with(&["--requirepass", FIRST]).unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let (counted, tokens) = (Arc::clone(&calls), Arc::new(AtomicU64::new(1)));
    let token = Arc::clone(&tokens);
    let redis = redis_at(server.address()).credentials(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let token = token.load(Ordering::SeqCst);
        async move {
            match token {
                1 => Ok(Credentials::new(FIRST).with_username("default")),
                2 => Ok(Credentials::new(SECOND)),
                _ => Err("the token service is away"),
            }
        }
    });
    assert!(!format!("{redis:?}").contains("hunter2"));
    let site = Instance::with(server.address(), |config| config.redis(redis)).await;
    is_back(&site.cache).await;
    let before = calls.load(Ordering::SeqCst);
    assert!(before > 0);
    tokens.store(2, Ordering::SeqCst);
    rotate(&server);
    eventually("new connections ask for new credentials", async || calls.load(Ordering::SeqCst) > before)
        .await;
    is_back(&site.cache).await;
    let database = Database::new();
    database.read(&site.cache, 1).await;
    eventually("values are stored", async || database.hits(&site.cache, 1).await).await;
    tokens.store(3, Ordering::SeqCst);
    // While the token service is away, new connections use the last token.
    let asked = calls.load(Ordering::SeqCst);
    raw_as(&server, Some(SECOND), &["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("new connections ask for credentials", async || calls.load(Ordering::SeqCst) > asked).await;
    is_back(&site.cache).await;
    raw_as(&server, Some(SECOND), &["CONFIG", "SET", "requirepass", FIRST]);
    raw_as(&server, Some(FIRST), &["CLIENT", "KILL", "TYPE", "normal"]);
    is_away(&site.cache).await;
    tokens.store(1, Ordering::SeqCst);
    is_back(&site.cache).await;
}
