//! The cache directory of an instance on Redis is removed while it runs, or cannot be written.

use std::fs;

use cache_facade::stats::{HealthStatus, JournalKind};
use testkit::{Lines, Mode, RedisServer, TcpProxy};
use tracing::Level;

use crate::crash::{Victim, read};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_written_after_the_directory_was_lost_survives_a_kill() {
    let server = RedisServer::start().unwrap();
    let mut proxy = TcpProxy::start(server.address()).await.unwrap();
    let other = Instance::patient(server.address()).await;
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("1"), "old").unwrap();
    fs::write(root.path().join("2"), "unchanged").unwrap();
    let mut victim = Victim::start(root.path(), proxy.address(), "lost");
    tokio::task::block_in_place(|| victim.says("loaded"));
    proxy.set(Mode::Refuse).await;
    tokio::task::block_in_place(|| victim.says("journaled"));
    drop(victim);
    let next = connect(config(&root.path().join("cache"), server.address())).await;
    is_back(&next).await;
    for cache in [&next, &other.cache] {
        assert_eq!(read(cache, root.path(), 1).await.0, "new");
    }
}

#[tokio::test]
async fn a_lost_directory_is_created_again_and_redis_is_cleared() {
    let server = RedisServer::start().unwrap();
    let other = Instance::patient(server.address()).await;
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("cache");
    let cache = connect(config(&directory, server.address())).await;
    let database = Database::new();
    eventually("it is shared", async || {
        database.hits(&cache, 1).await && database.hits(&other.cache, 1).await
    })
    .await;
    fs::remove_dir_all(&directory).unwrap();
    eventually("Redis was cleared", async || !database.hits(&other.cache, 1).await).await;
    is_back(&cache).await;
    let health = cache.health().await;
    assert_eq!((health.status, health.journal), (HealthStatus::Ok, JournalKind::File));
    eventually("the record says so", async || {
        fs::read_to_string(directory.join("state")).is_ok_and(|text| text.contains("primary redis"))
    })
    .await;
    eventually("it is shared again", async || database.hits(&cache, 1).await).await;
}

#[tokio::test]
async fn a_healthy_redis_is_used_without_a_record_and_cleared_at_the_next_start() {
    let server = RedisServer::start().unwrap();
    let root = tempfile::tempdir().unwrap();
    // A directory at the path of the new record keeps it from being written, as a full disk does.
    let obstacle = root.path().join("instance-0/contact.new/x");
    fs::create_dir_all(&obstacle).unwrap();
    let cache = connect(config(root.path(), server.address())).await;
    is_back(&cache).await;
    let database = Database::new();
    eventually("it keeps values", async || database.hits(&cache, 1).await).await;
    cache.close().await.unwrap();
    fs::remove_dir_all(obstacle.parent().unwrap()).unwrap();
    let cache = connect(config(root.path(), server.address())).await;
    is_back(&cache).await;
    assert!(!database.hits(&cache, 1).await, "another server could have taken its place unnoticed");
}

const SAYS: &str = "WARN Redis is in use, and CACHE_DIR holds no record";

#[tokio::test]
async fn an_instance_without_a_record_over_a_redis_in_use_warns_and_clears_it_if_configured() {
    Lines::capture(Level::INFO);
    let server = RedisServer::start().unwrap();
    let first = Instance::patient(server.address()).await;
    assert!(Lines::beginning(SAYS).is_empty(), "it is not in use");
    let database = Database::new();
    eventually("it holds a value", async || database.hits(&first.cache, 1).await).await;
    let second = Instance::patient(server.address()).await;
    assert_eq!(Lines::beginning(SAYS).len(), 1);
    assert!(database.hits(&second.cache, 1).await);
    let third = Instance::with(server.address(), |config| config.clear_without_record(true)).await;
    is_back(&third.cache).await;
    assert!(!database.hits(&second.cache, 1).await, "a journal may have been lost");
    assert_eq!(Lines::beginning(SAYS).len(), 1);
    third.cache.close().await.unwrap();
    eventually("it holds a value", async || database.hits(&second.cache, 1).await).await;
    let again = connect(config(third.directory.path(), server.address()).clear_without_record(true)).await;
    is_back(&again).await;
    assert!(database.hits(&second.cache, 1).await, "now there is a record");
}

/// Also where that run had cleared Redis itself, and where another process of the directory did so after it.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_cleared_at_the_start_after_a_run_whose_journal_was_in_memory() {
    let mut stale = Vec::new();
    for case in ["trusted before", "distrusted before", "another starts beside it"] {
        let server = RedisServer::start().unwrap();
        let mut proxy = TcpProxy::start(server.address()).await.unwrap();
        let other = Instance::patient(server.address()).await;
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("1"), "old").unwrap();
        fs::write(root.path().join("2"), "unchanged").unwrap();
        let directory = root.path().join("cache");
        // A directory in place of the temporary file makes the creation of the journal fail.
        let obstacle = directory.join("instance-0/journal.new/x");
        fs::create_dir_all(&obstacle).unwrap();
        if case == "distrusted before" {
            fs::write(directory.join("state"), "").unwrap();
        }
        let mut victim = Victim::start(root.path(), proxy.address(), "journaled");
        tokio::task::block_in_place(|| victim.says("loaded"));
        if case == "another starts beside it" {
            let beside = connect(config(&directory, server.address())).await;
            is_back(&beside).await;
            beside.close().await.unwrap();
        }
        eventually("the old value is shared", async || {
            let (value, source) = read(&other.cache, root.path(), 1).await;
            value == "old" && source == cache_facade::Source::Hit
        })
        .await;
        proxy.set(Mode::Refuse).await;
        tokio::task::block_in_place(|| victim.says("journaled"));
        drop(victim);
        let _ = fs::remove_dir_all(obstacle.parent().unwrap());
        let next = connect(config(&directory, server.address())).await;
        is_back(&next).await;
        for (name, cache) in [("next", &next), ("other", &other.cache)] {
            let value = read(cache, root.path(), 1).await.0;
            if value != "new" {
                stale.push(format!("{case}: {name} reads {value}"));
            }
        }
    }
    assert!(stale.is_empty(), "{stale:?}");
}
