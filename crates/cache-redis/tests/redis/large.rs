//! Values that do not pass through scripts. History 17: a refused fill must not remove the value of the fill that won.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheBackend, CacheBackendExt, ErrorKind, Fill, FillOutcome, NewEntry};
use cache_redis::RedisBackend;
use testkit::RedisServer;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_large_fill_leaves_the_winner_and_its_neighbours() {
    let site = Site::new(PATIENCE).await;
    let (key, neighbour) = (key("thumbnail:5:640x480"), key("thumbnail:5:64x64"));
    load(&site.through, &neighbour, small("neighbour")).await;
    for winner in [small("winner"), large("winner")] {
        let (one, other) = (token(&site.through, &key).await, token(&site.beside, &key).await);
        assert_eq!(site.through.fill(&key, one, winner.clone()).await.unwrap(), FillOutcome::Stored);
        assert_eq!(site.beside.fill(&key, other, large("loser")).await.unwrap(), FillOutcome::Refused);
        assert_eq!(held(&site.beside, &key).await, Some(winner.payload));
        assert_eq!(held(&site.beside, &neighbour).await.unwrap(), "neighbour");
        let keys: Vec<String> = site.raw(&["KEYS", "app:*:@*"]);
        assert_eq!(keys.len(), 1, "nothing is left behind: {keys:?}");
        let fields: Vec<String> = site.raw(&["HKEYS", &keys[0]]);
        assert_eq!(fields.len(), 2, "nor inside: {fields:?}");
        let left: i64 = site.raw(&["PTTL", &keys[0]]);
        assert_eq!(left, -1, "a group with a value that does not expire does not expire");
        let _ = site.through.delete(&key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_step_that_fails_leaves_no_evidence() {
    let site = Site::new(PATIENCE).await;
    let key = key("thumbnail:5:640x480");
    let token = token(&site.through, &key).await;
    let group = site.raw::<Vec<String>>(&["KEYS", "app:*:@*"]).remove(0);
    // The key holds no hash: the first step fails inside the transaction, and the others run.
    let _: () = site.raw(&["SET", &group, "no hash"]);
    assert_eq!(site.through.fill(&key, token, large("old")).await.unwrap(), FillOutcome::Refused);
    assert_eq!(site.raw::<String>(&["GET", &group]), "no hash");
    assert_eq!(site.raw::<Vec<String>>(&["KEYS", "*:@*"]).len(), 1);
    load(&site.through, &key, large("new")).await;
    assert!(held(&site.beside, &key).await.is_some(), "content without a nonce is replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_keeps_its_values_and_its_invalidations() {
    let site = Site::new(PATIENCE).await;
    let (key, other) = (key("thumbnail:5:640x480"), key("thumbnail:6:640x480"));
    load(&site.through, &key, large("winner")).await;
    let refresh = token(&site.through, &key).await;
    let _: () = site.raw(&["CONFIG", "SET", "maxmemory", "1"]);
    for entry in [small("late"), large("late")] {
        let error = site.through.fill(&key, refresh, entry).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WritesRefused, "{error}");
    }
    assert_eq!(held(&site.through, &key).await, Some(large("winner").payload), "hits are served");
    let miss = site.through.lookup(&other).await.expect("a full server answers lookups");
    assert!(miss.entry.is_none() && miss.token.is_never());
    invalidate(&site.through, &key).await;
    assert_eq!(held(&site.beside, &key).await, None);
    let _: () = site.raw(&["CONFIG", "SET", "maxmemory", "0"]);
    load(&site.through, &key, large("new")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_small_fills_of_one_batch_are_stored_each_by_its_token() {
    let site = Site::new(PATIENCE).await;
    let keys: Vec<_> = (0..6).map(|n| key(&format!("image:{}:part{n}", n % 2))).collect();
    let lookups = site.through.lookup_many(&keys).await.unwrap();
    let _ = site.beside.delete(&keys[2]).await.unwrap();
    let _ = site.beside.delete(&keys[3]).await.unwrap();
    let fills = keys.iter().zip(lookups).enumerate().map(|(n, (key, lookup))| Fill {
        key: key.clone(),
        token: lookup.token,
        entry: if n % 2 == 0 { small(key.as_str()) } else { large(key.as_str()) },
    });
    let outcomes = site.through.fill_many(fills.collect()).await.unwrap();
    for (n, (key, outcome)) in keys.iter().zip(outcomes).enumerate() {
        let is_stored = n != 2 && n != 3;
        assert_eq!(outcome == FillOutcome::Stored, is_stored, "{key}");
        assert_eq!(held(&site.beside, key).await.is_some(), is_stored, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_lives_as_long_as_its_longest_value() {
    let site = Site::new(PATIENCE).await;
    let left = |site: &Site| {
        let group = site.raw::<Vec<String>>(&["KEYS", "app:*:@*"]).remove(0);
        site.raw::<i64>(&["PTTL", &group])
    };
    for make in [small as fn(&str) -> _, large] {
        token(&site.through, &key("image:5:a")).await;
        assert!((1..=60_000).contains(&left(&site)), "a group of leases alone expires");
        load(&site.through, &key("image:5:a"), make("a").expires_in(Duration::from_secs(10 * 60))).await;
        assert!(left(&site) > 600_000, "a value prolongs it");
        load(&site.through, &key("image:5:b"), make("b").expires_in(Duration::from_secs(5 * 60))).await;
        assert!(left(&site) > 600_000, "a shorter one does not shorten it");
        load(&site.through, &key("image:5:c"), make("c")).await;
        assert_eq!(left(&site), -1, "without expiry");
        load(&site.through, &key("image:5:d"), make("d").expires_in(Duration::from_secs(5 * 60))).await;
        assert_eq!(left(&site), -1, "it stays without expiry");
        invalidate(&site.through, &key("image:5:a")).await;
        site.through.set(&key("image:5:a"), make("a").expires_in(Duration::from_secs(5 * 60))).await.unwrap();
        assert!(left(&site) > 300_000, "after a set it expires, too");
        site.through.set(&key("image:5:a"), make("a")).await.unwrap();
        assert_eq!(left(&site), -1);
        invalidate(&site.through, &key("image:5:a")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_fills_open_eight_connections_at_most() {
    let server = RedisServer::start().unwrap();
    let settings = config(server.address()).pool_size(2).timeout(PATIENCE);
    let cache = Arc::new(RedisBackend::connect(settings).await.unwrap());
    let fills: Vec<_> = (0..24)
        .map(|number| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move {
                let key = key(&format!("image:{number}:original"));
                let token = token(&cache, &key).await;
                cache.fill(&key, token, NewEntry::new(vec![7; 4 << 20])).await.unwrap()
            })
        })
        .collect();
    let mut most = 0;
    while fills.iter().any(|fill| !fill.is_finished()) {
        let clients: String = raw(&server, &["CLIENT", "LIST"]);
        most = most.max(clients.lines().filter(|line| line.contains("name=cache:")).count());
    }
    for fill in fills {
        assert_eq!(fill.await.unwrap(), FillOutcome::Stored);
    }
    // Two that are shared, eight for large values, and that of the heartbeat; a few may be closing.
    assert!((3..=14).contains(&most), "{most} connections");
}
