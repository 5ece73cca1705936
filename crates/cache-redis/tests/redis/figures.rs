//! Statistics follow the content of the server, also after changes of other instances.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheBackend, CacheBackendExt, CacheKey, CachePattern, Invalidation, ManualClock};
use cache_redis::{Diagnosis, RedisBackend, diagnose};
use testkit::RedisServer;

use crate::support::*;

async fn count(cache: &RedisBackend) -> u64 {
    cache.stats().await.expect("it is open").count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_set_a_thousand_times_is_one_entry() {
    let site = Site::new(PATIENCE).await;
    let key = key("image:5:metadata");
    for n in 0..1000 {
        site.through.set(&key, small(&n.to_string())).await.unwrap();
    }
    let stats = site.through.stats().await.unwrap();
    assert_eq!(stats.count, 1);
    assert!(stats.size_bytes < 200, "{stats:?}");
    // A set over a lease is a new entry; the second set in one batch is not, and a fill over a value is not.
    let other = super::support::key("image:6:metadata");
    let refresh = token(&site.through, &other).await;
    site.through.set_many(vec![(other.clone(), small("a")), (other.clone(), small("b"))]).await.unwrap();
    assert_eq!(count(&site.through).await, 2);
    let _ = site.through.fill(&other, refresh, small("late")).await.unwrap();
    for entry in [small("c"), large("c")] {
        load(&site.through, &other, entry).await;
        assert_eq!(count(&site.through).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invalidation_changes_the_figures_of_every_family_it_covers() {
    let site = Site::new(PATIENCE).await;
    let keys: Vec<CacheKey> =
        ["image:1:a", "image:2:a", "thumbnail:1:a", "thumbnail:2:a", "page:1:a", "page:2:a"]
            .map(key)
            .to_vec();
    for key in &keys {
        load(&site.through, key, small("x")).await;
    }
    assert_eq!(count(&site.through).await, 6);
    let what = [Invalidation::Key(keys[0].clone()), Invalidation::Group(keys[2].to_group())];
    let _ = site.through.invalidate(&what).await.unwrap();
    assert_eq!(count(&site.through).await, 4);
    let _ = site.through.clear_pattern(&CachePattern::parse("page:*").unwrap()).await.unwrap();
    let stats = site.through.stats().await.unwrap();
    let counts = ["image", "thumbnail", "page"].map(|family| stats.families[family].count);
    assert_eq!(counts, [1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_lease_is_not_counted_as_an_entry() {
    let site = Site::new(PATIENCE).await;
    load(&site.through, &key("image:5:a"), small("x")).await;
    for _ in 0..5 {
        token(&site.through, &key("image:6:a")).await;
        assert_eq!(site.through.delete(&key("image:6:a")).await.unwrap().removed(), 0);
    }
    assert_eq!(count(&site.through).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_another_instance_clears_leave_the_figures() {
    let site = Site::new(PATIENCE).await;
    for n in 0..50 {
        load(&site.through, &key(&format!("image:{n}:a")), small("x")).await;
    }
    assert!(count(&site.through).await >= 50);
    // The heartbeat must have seen the keys before they are cleared.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _ = site.beside.clear().await.unwrap();
    eventually("the figures follow", async || count(&site.through).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_carry_a_name_where_the_server_allows_it() {
    let server = RedisServer::start().unwrap();
    let _cache = RedisBackend::connect(config(server.address()).namespace("shop")).await.unwrap();
    let clients: String = raw(&server, &["CLIENT", "LIST"]);
    let name = format!("name=cache:shop:{}", std::process::id());
    assert!(clients.contains(&name), "{clients}");
    // Without the permission everything else works, and the server's log of refusals has one entry.
    let rules = ["ACL", "SETUSER", "few", "on", ">s3cr3t", "~*", "+@all", "-client"];
    let _: String = raw(&server, &rules);
    let few = config(server.address()).namespace("few").username("few").password("s3cr3t");
    let cache = RedisBackend::connect(few).await.unwrap();
    load(&cache, &key("image:5:a"), small("x")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log: redis::Value = raw(&server, &["ACL", "LOG"]);
    let redis::Value::Array(entries) = log else { unreachable!("a list") };
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_clock_skew() {
    let server = RedisServer::start().unwrap();
    let clock = Arc::new(ManualClock::new());
    let checks = diagnose(&config(server.address()).clock(clock)).await;
    let (_, diagnosis) = checks.iter().find(|(name, _)| *name == "clock").unwrap();
    let Diagnosis::Doubtful { found, advice } = diagnosis else { unreachable!("{diagnosis:?}") };
    assert!(found.contains("s behind the server's") && advice.contains("NTP"), "{found}; {advice}");
    let checks = diagnose(&config(server.address())).await;
    assert!(
        checks.iter().any(|(name, diagnosis)| *name == "clock" && matches!(diagnosis, Diagnosis::Fine(_)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_what_a_removal_reports_and_removes_nothing() {
    let site = Site::new(PATIENCE).await;
    let keys = ["image:1:a", "image:1:b", "image:10:a", "image:2:a", "imagery:1:a", "[r]image:1:a"].map(key);
    // Leases are no entries of their own.
    let _ = token(&site.through, &key("image:9:lease")).await;
    for text in [
        "key image:1:a",
        "key image:9:lease",
        "key image:9:none",
        "group image:1",
        "group image:7",
        "pattern image:1:a",
        "pattern image:1:*",
        "pattern image:*:a",
        "pattern *:a",
        "pattern imag*",
        "pattern [r]",
        "pattern image",
        "everything",
    ] {
        for key in &keys {
            load(&site.through, key, small("x")).await;
        }
        let what: Invalidation = text.parse().unwrap();
        let counted = site.through.count_matches(&what).await.unwrap();
        for key in &keys {
            assert!(held(&site.beside, key).await.is_some(), "{text}: {key}");
        }
        let removed = site.through.invalidate(&[what]).await.unwrap().removed();
        assert_eq!(counted, Some(removed), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_are_counted_once_each() {
    let site = Site::new(PATIENCE).await;
    let entries: Vec<_> = (0..3000).map(|n| (key(&format!("image:{}:{n}", n % 1500)), small("x"))).collect();
    site.through.set_many(entries).await.unwrap();
    for (text, count) in [("pattern image", 3000), ("pattern image:*:1?", 10), ("everything", 3000)] {
        let what: Invalidation = text.parse().unwrap();
        assert_eq!(site.through.count_matches(&what).await.unwrap(), Some(count), "{text}");
    }
}
