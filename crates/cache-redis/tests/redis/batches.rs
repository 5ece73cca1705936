//! Many fills at once, whose values are stored in one step: each still by its own token.

use std::time::Duration;

use cache_core::{CacheBackend, CacheKey, ErrorKind, Fill, FillOutcome, NewEntry};
use cache_redis::RedisBackend;

use crate::support::*;

const KEYS: usize = 12;
const HOUR: i64 = 3_600_000;

fn keys() -> Vec<CacheKey> {
    (0..KEYS).map(|n| key(&format!("image:5:part{n}"))).collect()
}

/// Looks all up, and what is to be filled by the tokens.
async fn fills(cache: &RedisBackend, keys: &[CacheKey], entry: impl Fn(usize) -> NewEntry) -> Vec<Fill> {
    let lookups = cache.lookup_many(keys).await.expect("the server answers");
    let fill = |(n, (key, lookup)): (usize, (&CacheKey, cache_core::Lookup))| {
        assert!(!lookup.token.is_never(), "{key}");
        Fill { key: key.clone(), token: lookup.token, entry: entry(n) }
    };
    keys.iter().zip(lookups).enumerate().map(fill).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_stand_no_more_are_refused_and_their_neighbours_stored() {
    let site = Site::new(PATIENCE).await;
    let keys = keys();
    for entry in [small as fn(&str) -> NewEntry, large] {
        let batch = fills(&site.through, &keys, |_| entry("loaded")).await;
        // One is removed, another one stored by somebody else in between, and a third was never looked up.
        let winner = token(&site.beside, &keys[7]).await;
        let _ = site.beside.delete(&keys[3]).await.unwrap();
        let outcome = site.beside.fill(&keys[7], winner, entry("winner")).await.unwrap();
        assert_eq!(outcome, FillOutcome::Stored);
        load(&site.beside, &key("image:5:other"), small("neighbour")).await;
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
        assert_eq!(held(&site.beside, &key("image:5:other")).await.unwrap(), "neighbour");
        let groups: Vec<String> = site.raw(&["KEYS", "app:*:@*"]);
        assert_eq!(groups.len(), 1, "nothing is left behind: {groups:?}");
        let fields: Vec<String> = site.raw(&["HKEYS", &groups[0]]);
        assert_eq!(fields.len(), KEYS, "nor inside: {fields:?}");
        assert_eq!(site.raw::<i64>(&["PTTL", &groups[0]]), -1, "values for ever live for ever");
        invalidate(&site.through, &keys[0]).await;
    }
}

/// In one transaction nothing comes between its steps; before and after it, anything may.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_around_a_batch_costs_loads_at_most() {
    let site = Site::new(PATIENCE).await;
    let keys = keys();
    for trouble in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"], &["CLIENT", "KILL", "TYPE", "normal"]] {
        for before in [true, false] {
            let batch = fills(&site.through, &keys, |_| small("old")).await;
            let late = batch.clone();
            if before {
                site.raw::<redis::Value>(trouble);
            }
            let outcomes = site.through.fill_many(batch).await.expect("it is tried again");
            if !before {
                site.raw::<redis::Value>(trouble);
            }
            let is_lost = trouble == ["FLUSHALL"];
            for (key, outcome) in keys.iter().zip(outcomes) {
                assert_eq!(outcome == FillOutcome::Refused, is_lost && before, "{trouble:?}, {key}");
                assert_eq!(held(&site.beside, key).await.is_some(), !is_lost, "{trouble:?}, {key}");
            }
            invalidate(&site.beside, &keys[0]).await;
            let outcomes = site.through.fill_many(late).await.unwrap();
            assert!(outcomes.iter().all(|outcome| *outcome == FillOutcome::Refused), "{trouble:?}");
            let _ = site.through.lookup_many(&keys).await.unwrap();
            for key in &keys {
                assert_eq!(held(&site.through, key).await, None, "{trouble:?}, {key}");
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
    let group = site.raw::<Vec<String>>(&["KEYS", "app:*:@*"]).remove(0);
    let _: () = site.raw(&["SET", &group, "no hash"]);
    let outcomes = site.through.fill_many(refresh).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == FillOutcome::Refused));
    assert_eq!(site.raw::<Vec<String>>(&["KEYS", "app:*"]).len(), 2, "the group and the settings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_have_more_values_than_a_script_has_arguments() {
    let site = Site::new(PATIENCE).await;
    let keys: Vec<CacheKey> = (0..9000).map(|n| key(&format!("image:5:{n}"))).collect();
    let batch = fills(&site.through, &keys, |_| small("")).await;
    let outcomes = site.through.fill_many(batch).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == FillOutcome::Stored));
    let group = site.raw::<Vec<String>>(&["KEYS", "app:*:@*"]).remove(0);
    assert_eq!(site.raw::<usize>(&["HLEN", &group]), keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_lives_as_long_as_the_longest_value_of_a_batch() {
    let site = Site::new(PATIENCE).await;
    let keys = keys();
    let left = || {
        let group = site.raw::<Vec<String>>(&["KEYS", "app:*:@*"]).remove(0);
        site.raw::<i64>(&["PTTL", &group])
    };
    let hours = |n: usize| small("x").expires_in(Duration::from_hours(1 + n as u64));
    let batch = fills(&site.through, &keys, hours).await;
    site.through.fill_many(batch).await.unwrap();
    let longest = 12 * HOUR;
    assert!((longest..longest + 120_000).contains(&left()), "{}", left());
    let batch = fills(&site.through, &keys, |n| if n == 5 { small("x") } else { hours(n) }).await;
    site.through.fill_many(batch).await.unwrap();
    assert_eq!(left(), -1, "one is for ever");
    let batch = fills(&site.through, &keys, hours).await;
    site.through.fill_many(batch).await.unwrap();
    assert!((longest..longest + 120_000).contains(&left()), "all expire: {}", left());
}
