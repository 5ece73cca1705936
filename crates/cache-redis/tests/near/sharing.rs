//! Instances that share a server see each other's changes at once.

use std::time::Duration;

use cache_core::{BackendKind, CacheBackend, NewEntry};
use testkit::RedisServer;

use crate::support::*;

const KEY: &str = "image:5:metadata";

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_read_is_at_hand_until_another_instance_invalidates_it() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (with_memory(server.port()).await, with_memory(server.port()).await);
    let (key, neighbour) = (key(KEY), key("image:6:metadata"));
    assert_eq!(at_hand(&one, &key), None);
    load(&one, &key, "old").await;
    load(&one, &neighbour, "same").await;
    assert_eq!(at_hand(&one, &key), None, "a fill keeps nothing: the next read does");
    for backend in [&one, &other] {
        assert_eq!(read(backend, &key).await.as_deref(), Some("old"));
        assert_eq!(read(backend, &neighbour).await.as_deref(), Some("same"));
        remembers(backend, &key, "old").await;
    }
    assert_eq!(one.at_hand(&key).unwrap().backend, BackendKind::Memory);
    for what in ["key image:5:metadata", "group image:5", "pattern image:5:*"] {
        past_the_beginning().await;
        let took = invalidate(&other, what).await;
        assert!(took < NO_WAIT, "{what} took {took:?}");
        for backend in [&one, &other] {
            assert_eq!(at_hand(backend, &key), None, "{what}");
            remembers(backend, &neighbour, "same").await;
        }
        load(&one, &key, "old").await;
        for backend in [&one, &other] {
            assert_eq!(read(backend, &key).await.as_deref(), Some("old"));
        }
    }
    for what in ["pattern image:*:metadata", "pattern image", "everything"] {
        invalidate(&other, what).await;
        for backend in [&one, &other] {
            assert_eq!((at_hand(backend, &key), at_hand(backend, &neighbour)), (None, None), "{what}");
        }
        load(&one, &key, "old").await;
        load(&one, &neighbour, "same").await;
        for backend in [&one, &other] {
            read(backend, &key).await;
            read(backend, &neighbour).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_one_instance_is_read_by_another_at_once() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (with_memory(server.port()).await, with_memory(server.port()).await);
    let key = key(KEY);
    for round in 0..20 {
        let value = format!("value {round}");
        other.set(&key, NewEntry::new(value.clone())).await.unwrap();
        assert_eq!(at_hand(&one, &key), None);
        assert_eq!(read(&one, &key).await.as_ref(), Some(&value));
        remembers(&one, &key, &value).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_value_soon_replaces_the_one_in_the_memory_of_others() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (with_memory(server.port()).await, with_memory(server.port()).await);
    let key = key(KEY);
    load(&one, &key, "first").await;
    let held = other.lookup(&key).await.unwrap();
    assert_eq!(read(&one, &key).await.as_deref(), Some("first"));
    let outcome = other.fill(&key, held.token, NewEntry::new("refreshed".to_owned())).await.unwrap();
    assert_eq!(outcome, cache_core::FillOutcome::Stored);
    assert_eq!(at_hand(&other, &key), None);
    eventually("the other instance follows", async || {
        read(&one, &key).await;
        at_hand(&one, &key).as_deref() == Some("refreshed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_in_memory_expires() {
    let server = RedisServer::start().unwrap();
    let one = with_memory(server.port()).await;
    let key = key(KEY);
    let token = one.lookup(&key).await.unwrap().token;
    let entry = NewEntry::new("short".to_owned()).expires_in(Duration::from_millis(300));
    let _ = one.fill(&key, token, entry).await.unwrap();
    read(&one, &key).await;
    assert_eq!(at_hand(&one, &key).as_deref(), Some("short"));
    tokio::time::sleep(Duration::from_millis(310)).await;
    assert_eq!(at_hand(&one, &key), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_from_memory_ask_the_server_nothing_and_count_as_hits() {
    let server = RedisServer::start().unwrap();
    let one = with_memory(server.port()).await;
    let key = key(KEY);
    load(&one, &key, "value").await;
    read(&one, &key).await;
    let reads = |server: &RedisServer| {
        let text: String = raw(server, &["INFO", "commandstats"]);
        text.lines().find(|line| line.starts_with("cmdstat_hget:")).map(str::to_owned)
    };
    let stats = one.stats().await.unwrap();
    let count = |line: Option<String>| line.and_then(|line| line.split(['=', ',']).nth(1).map(str::to_owned));
    let before = count(reads(&server));
    for _ in 0..1000 {
        remembers(&one, &key, "value").await;
    }
    // The scripts of the session call HGET too.
    let calls = |count: &Option<String>| count.as_ref().map_or(0, |count| count.parse::<u64>().unwrap());
    assert!(calls(&count(reads(&server))) < calls(&before) + 500);
    let after = one.stats().await.unwrap();
    assert!(after.hits - stats.hits >= 1000 && after.misses == stats.misses, "{after:?}");
    assert_eq!(after.families["image"].hits - stats.families["image"].hits, after.hits - stats.hits);
    let near = after.near.unwrap();
    assert_eq!((near.hits, near.entries), (1000, 1));
    assert_eq!(one.explain(&key).await.unwrap().in_memory, Some(true));
}
