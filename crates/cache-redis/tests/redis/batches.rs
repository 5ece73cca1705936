//! Batches of fills, stored in one step: each by its own token.

use std::collections::BTreeSet;
use std::time::Duration;

use cache_core::{CacheBackend, CacheBackendExt, CacheKey, ErrorKind, Fill, FillOutcome, NewEntry};
use cache_redis::RedisBackend;

use crate::support::*;

const KEYS: usize = 12;
const GROUPS: usize = 3;
const HOUR: i64 = 3_600_000;

fn keys() -> Vec<CacheKey> {
    (0..KEYS).map(|n| key(&format!("image:{}:part{n}", n % GROUPS))).collect()
}

/// Lists the groups in the server.
fn groups(site: &Site) -> Vec<String> {
    site.raw(&["KEYS", "app:*:@*"])
}

/// Looks all keys up and makes fills from the tokens.
async fn fills(cache: &RedisBackend, keys: &[CacheKey], entry: impl Fn(usize) -> NewEntry) -> Vec<Fill> {
    let lookups = cache.lookup_many(keys).await.expect("the server answers");
    let fill = |(n, (key, lookup)): (usize, (&CacheKey, cache_core::Lookup))| {
        assert!(!lookup.token.is_never(), "{key}");
        Fill { key: key.clone(), token: lookup.token, entry: entry(n) }
    };
    keys.iter().zip(lookups).enumerate().map(fill).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_with_invalid_tokens_are_refused_and_the_others_stored() {
    let site = Site::new(PATIENCE).await;
    let keys = keys();
    for entry in [small as fn(&str) -> NewEntry, large] {
        let batch = fills(&site.through, &keys, |_| entry("loaded")).await;
        // One key is removed, one is stored by another cache in between, and one was never looked up.
        let winner = token(&site.beside, &keys[7]).await;
        let _ = site.beside.delete(&keys[3]).await.unwrap();
        let outcome = site.beside.fill(&keys[7], winner, entry("winner")).await.unwrap();
        assert_eq!(outcome, FillOutcome::Stored);
        load(&site.beside, &key("image:1:other"), small("neighbour")).await;
        let outcomes = site.through.fill_many(batch).await.unwrap();
        for (n, (key, outcome)) in keys.iter().zip(outcomes).enumerate() {
            assert_eq!(outcome == FillOutcome::Refused, n == 3 || n == 7, "{key}");
            let expected = match n {
                3 => None,
                7 => Some(entry("winner").payload),
                _ => Some(entry("loaded").payload),
            };
            assert_eq!(held(&site.beside, key).await, expected, "{key}");
        }
        assert_eq!(held(&site.beside, &key("image:1:other")).await.unwrap(), "neighbour");
        let staged: Vec<String> = site.raw(&["KEYS", "app:stage:*"]);
        assert!(staged.is_empty(), "nothing is left behind: {staged:?}");
        let groups = groups(&site);
        let fields: usize = groups.iter().map(|group| site.raw::<usize>(&["HLEN", group])).sum();
        assert_eq!((groups.len(), fields), (GROUPS, KEYS), "nor inside");
        for group in groups {
            assert_eq!(
                site.raw::<i64>(&["PTTL", &group]),
                -1,
                "a group with values that do not expire does not expire"
            );
        }
        for key in &keys {
            invalidate(&site.through, key).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_fills_of_one_key_the_first_is_stored() {
    let site = Site::new(PATIENCE).await;
    let batch = fills(&site.through, &keys(), |_| small("first")).await;
    let again = Fill { entry: small("second"), ..batch[4].clone() };
    let outcomes = site.through.fill_many(batch.into_iter().chain([again]).collect()).await.unwrap();
    assert_eq!(outcomes.last(), Some(&FillOutcome::Refused), "{outcomes:?}");
    assert!(outcomes[..KEYS].iter().all(|outcome| *outcome == FillOutcome::Stored), "{outcomes:?}");
    assert_eq!(held(&site.beside, &keys()[4]).await.unwrap(), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_around_a_batch_costs_loads_at_most() {
    let site = Site::new(PATIENCE).await;
    let keys = keys();
    for fault in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"], &["CLIENT", "KILL", "TYPE", "normal"]] {
        for before in [true, false] {
            let batch = fills(&site.through, &keys, |_| small("old")).await;
            let late = batch.clone();
            if before {
                site.raw::<redis::Value>(fault);
            }
            let outcomes = site.through.fill_many(batch).await.expect("it is retried");
            if !before {
                site.raw::<redis::Value>(fault);
            }
            let is_lost = fault == ["FLUSHALL"];
            for (key, outcome) in keys.iter().zip(outcomes) {
                assert_eq!(outcome == FillOutcome::Refused, is_lost && before, "{fault:?}, {key}");
                assert_eq!(held(&site.beside, key).await.is_some(), !is_lost, "{fault:?}, {key}");
            }
            for key in &keys {
                invalidate(&site.beside, key).await;
            }
            let outcomes = site.through.fill_many(late).await.unwrap();
            assert!(outcomes.iter().all(|outcome| *outcome == FillOutcome::Refused), "{fault:?}");
            let _ = site.through.lookup_many(&keys).await.unwrap();
            for key in &keys {
                assert_eq!(held(&site.through, key).await, None, "{fault:?}, {key}");
            }
        }
    }
    assert_eq!(site.raw::<Vec<String>>(&["KEYS", "app:stage:*"]), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_stored_leaves_everything_as_it_was() {
    let site = Site::new(PATIENCE).await;
    let keys = keys();
    let batch = fills(&site.through, &keys, |_| small("first")).await;
    let stored = site.through.fill_many(batch).await.unwrap();
    assert!(stored.iter().all(|outcome| *outcome == FillOutcome::Stored));
    let refresh = fills(&site.through, &keys, |_| small("late")).await;
    let _: () = site.raw(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = site.through.fill_many(refresh.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WritesRefused, "{error}");
    let _: () = site.raw(&["CONFIG", "SET", "maxmemory", "0"]);
    for key in &keys {
        assert_eq!(held(&site.beside, key).await.unwrap(), "first");
    }
    let group = groups(&site).into_iter().find(|group| group.contains("image:1:")).unwrap();
    let _: () = site.raw(&["SET", &group, "no hash"]);
    let outcomes = site.through.fill_many(refresh).await.unwrap();
    for (key, outcome) in keys.iter().zip(outcomes) {
        let is_in_it = key.group() == "image:1";
        assert_eq!(outcome == FillOutcome::Refused, is_in_it, "{key}");
        assert_eq!(held(&site.beside, key).await.is_none(), is_in_it, "{key}");
    }
    assert_eq!(site.raw::<String>(&["GET", &group]), "no hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_have_more_values_than_a_script_has_arguments() {
    let site = Site::new(PATIENCE).await;
    let keys: Vec<CacheKey> = (0..9000).map(|n| key(&format!("image:5:{n}"))).collect();
    let batch = fills(&site.through, &keys, |_| small("")).await;
    let outcomes = site.through.fill_many(batch).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == FillOutcome::Stored));
    let group = groups(&site).remove(0);
    assert_eq!(site.raw::<usize>(&["HLEN", &group]), keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_lives_as_long_as_the_longest_value_of_a_batch() {
    let site = Site::new(PATIENCE).await;
    let keys = keys();
    let left = || -> Vec<i64> { groups(&site).iter().map(|group| site.raw(&["PTTL", group])).collect() };
    let hours = |n: usize| small("x").expires_in(Duration::from_secs(3600 * (1 + n as u64)));
    let fill = async |entry: &dyn Fn(usize) -> NewEntry| {
        let batch = fills(&site.through, &keys, entry).await;
        site.through.fill_many(batch).await.unwrap()
    };
    // The longest-lived values of the groups are those of the last keys: ten, eleven and twelve hours, and the grace period.
    let longest = || left().iter().map(|left| left / HOUR).collect::<BTreeSet<i64>>();
    fill(&hours).await;
    assert_eq!(longest(), BTreeSet::from([10, 11, 12]));
    fill(&|n| if n == 5 { small("x") } else { hours(n) }).await;
    assert_eq!(
        left().iter().filter(|left| **left == -1).count(),
        1,
        "one group has a value that does not expire: {:?}",
        left()
    );
    fill(&hours).await;
    assert_eq!(longest(), BTreeSet::from([10, 11, 12]), "all expire again");
}
