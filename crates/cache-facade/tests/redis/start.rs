//! The selection of a backend, and its exact log lines.

use cache_facade::{
    BackendKind, Cache, ErrorKind, Invalidated,
    stats::{BreakerState, HealthStatus, JournalKind},
};
use testkit::{Lines, RedisServer, Restart};
use tracing::Level;

use crate::support::*;

#[tokio::test]
async fn two_instances_share_redis_and_see_each_others_changes_at_once() {
    Lines::capture(Level::TRACE);
    let server = RedisServer::start().unwrap();
    let (one, two) = (Instance::patient(server.address()).await, Instance::patient(server.address()).await);
    let database = Database::new();
    assert_eq!(Lines::with("INFO Using Redis cache backend").len(), 2);
    assert!(Lines::with("disk cache").is_empty());
    for _ in 0..50 {
        database.read(&one.cache, 1).await;
        // A load returns before its value is stored.
        eventually("the value is shared", async || database.hits(&two.cache, 1).await).await;
        assert!(matches!(database.write(&one.cache, 1).await, Invalidated::Applied { .. }));
        assert_eq!(database.read(&two.cache, 1).await.0, database.version(1));
    }
    let health = one.cache.health().await;
    assert_eq!(
        (health.status, health.wanted, health.active),
        (HealthStatus::Ok, BackendKind::Redis, BackendKind::Redis)
    );
    assert_eq!(
        (health.breaker, health.journal, health.journal_depth),
        (Some(BreakerState::Closed), JournalKind::File, 0)
    );
}

#[tokio::test]
async fn without_a_server_the_warning_is_exact_and_the_fallback_is_used_until_there_is_one() {
    Lines::capture(Level::TRACE);
    let mut server = RedisServer::start().unwrap();
    server.kill().unwrap();
    let one = Instance::with(server.address(), |config| {
        config.redis(redis_at(server.address()).password("hunter2-secret"))
    })
    .await;
    let warnings = Lines::with("WARN ");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("WARN Redis cache initialization failed, falling back to disk cache error=")
    );
    assert!(warnings[0].contains(&server.port().to_string()), "{warnings:?}");
    assert!(Lines::with("INFO Using").is_empty(), "no other line about the disk backend");

    let database = Database::new();
    is_away(&one.cache).await;
    database.read(&one.cache, 1).await;
    assert!(database.hits(&one.cache, 1).await, "the fallback is used");
    let health = one.cache.health().await;
    assert_eq!(
        (health.status, health.wanted, health.active),
        (HealthStatus::Degraded, BackendKind::Redis, BackendKind::Fallback)
    );
    assert!(health.cause.is_some());
    assert!(matches!(database.write(&one.cache, 1).await, Invalidated::Journaled { .. }));
    assert_eq!(one.cache.health().await.journal_depth, 1);
    assert_eq!(database.read(&one.cache, 1).await.0, 1);
    assert!(Lines::with("hunter2").is_empty());
}

#[tokio::test]
async fn redis_recovers_by_itself_and_logs_it() {
    Lines::capture(Level::TRACE);
    let mut server = RedisServer::start().unwrap();
    server.kill().unwrap();
    let one = Instance::new(server.address()).await;
    server.restart(Restart::Empty).unwrap();
    is_back(&one.cache).await;
    assert_eq!(Lines::with("INFO Redis cache available again").len(), 1);
    assert!(Lines::with("Using").is_empty());
    let database = Database::new();
    eventually("values are kept", async || database.hits(&one.cache, 1).await).await;
}

#[tokio::test]
async fn a_wrong_password_falls_back_and_shows_no_secret() {
    Lines::capture(Level::TRACE);
    let server = RedisServer::start_with(&["--requirepass", "right-secret"]).unwrap();
    let with = |password: &'static str| {
        let redis = redis_at(server.address()).password(password);
        Instance::with(server.address(), |config| config.redis(redis))
    };
    let one = with("wrong-secret").await;
    assert_eq!(Lines::with("WARN Redis cache initialization failed, falling back to disk cache").len(), 1);
    assert_eq!(one.cache.backend_kind(), BackendKind::Fallback);
    let two = with("right-secret").await;
    assert_eq!(two.cache.backend_kind(), BackendKind::Redis);
    let shown = format!("{:?} {:?} {:?}", one.cache.health().await, one.cache, two.cache);
    assert!(!shown.contains("secret"), "{shown}");
    assert!(Lines::with("secret").is_empty(), "{:?}", Lines::with("secret"));
}

#[tokio::test]
async fn wrong_settings_are_logged_once_a_minute() {
    Lines::capture(Level::TRACE);
    let server = RedisServer::start_with(&["--requirepass", "right-secret"]).unwrap();
    let clock = std::sync::Arc::new(cache_facade::ManualClock::new());
    let _one = Instance::with(server.address(), |config| config.clock(clock.clone())).await;
    let said =
        || Lines::with("WARN Redis cannot be used as it is configured; the fallback stays error=").len();
    for minute in 0..3 {
        assert_eq!(said(), minute);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(said(), minute);
        clock.advance(std::time::Duration::from_secs(60));
        eventually("it is said again", async || said() > minute).await;
    }
}

#[tokio::test]
async fn without_a_directory_redis_is_used_and_pending_invalidations_are_in_memory() {
    Lines::capture(Level::TRACE);
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    let mut server = RedisServer::start().unwrap();
    let one = connect(config(&root.path().join("file/below"), server.address())).await;
    assert_eq!(one.backend_kind(), BackendKind::Redis);
    let warning = "WARN the cache directory cannot be used; invalidations that Redis misses while it is away are lost with this process";
    assert_eq!(Lines::with(warning).len(), 1);
    assert_eq!(one.health().await.journal, JournalKind::Memory);
    assert_eq!(one.health().await.status, HealthStatus::Degraded);
    let database = Database::new();
    database.read(&one, 1).await;
    server.kill().unwrap();
    assert!(matches!(database.write(&one, 1).await, Invalidated::Journaled { .. }));
    assert_eq!(one.health().await.journal_depth, 1);
    assert_eq!(database.read(&one, 1).await.0, 1);
    server.restart(Restart::Empty).unwrap();
    is_back(&one).await;
    assert_eq!(one.health().await.journal_depth, 0);
}

#[tokio::test]
async fn with_caching_disabled_everything_is_loaded_and_redis_is_still_invalidated() {
    Lines::capture(Level::TRACE);
    let server = RedisServer::start().unwrap();
    let on = Instance::new(server.address()).await;
    let off = Instance::with(server.address(), |config| config.enabled(false)).await;
    assert_eq!(Lines::with("INFO cache disabled").len(), 1);
    let database = Database::new();
    database.read(&on.cache, 1).await;
    assert!(!database.hits(&off.cache, 1).await && !database.hits(&off.cache, 1).await);
    assert!(matches!(database.write(&off.cache, 1).await, Invalidated::Applied { .. }));
    assert_eq!(database.read(&on.cache, 1).await.0, 1);
    assert_eq!(off.cache.health().await.status, HealthStatus::Off);
}

#[tokio::test]
async fn processes_on_redis_share_a_directory_and_one_on_disk_does_not() {
    let server = RedisServer::start().unwrap();
    let one = Instance::new(server.address()).await;
    let disk =
        cache_facade::CacheConfig::builder().directory(one.directory.path()).size_mb(8).build().unwrap();
    // The settings differ within one process.
    let error = Cache::connect(disk).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("REDIS_ENABLED"), "{error}");
    let again = connect(config(one.directory.path(), server.address())).await;
    assert_eq!(again.backend_kind(), BackendKind::Redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_diagnosis_refuses_a_directory_that_a_start_on_redis_refuses() {
    for name in ["state.lock", "lock"] {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        std::fs::write(&victim, "").unwrap();
        let directory = root.path().join("cache");
        std::fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink(&victim, directory.join(name)).unwrap();
        let config = config(&directory, nowhere()).build().unwrap();
        let started = Cache::connect(config.clone()).await.map(drop).map_err(|error| error.kind());
        assert_eq!(started, Err(cache_facade::ErrorKind::Configuration), "{name}");
        let report = cache_facade::diagnose(&config).await;
        let examined = report.checks.iter().find(|check| check.name == "CACHE_DIR");
        assert!(
            examined.is_some_and(|check| matches!(
                check.diagnosis,
                cache_facade::doctor::Diagnosis::Wrong { .. }
            )),
            "{report}"
        );
    }
}
