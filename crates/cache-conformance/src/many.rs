//! Operations on many keys: the results are those of single operations, in the order of the keys.

use super::probe::{Probe, key, what};
use super::subject::Subject;
use cache_core::{CacheKey, Fill, FillOutcome, NewEntry};

fn keys() -> Vec<CacheKey> {
    // Over several groups, interleaved, unsorted, one twice.
    [
        "image:5:b",
        "image:9:a",
        "image:5:a",
        "[r]image:5:a",
        "analysis:1:results",
        "image:9:a",
        "image:7:never",
    ]
    .map(key)
    .to_vec()
}

async fn store_all_but_the_last(probe: &Probe, keys: &[CacheKey]) {
    for key in keys.iter().take(keys.len() - 1) {
        probe.load(key, key.as_str()).await;
    }
}

/// Hits, misses and a key that occurs twice are answered in order.
pub async fn lookup_many_answers_in_order(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let keys = keys();
    store_all_but_the_last(&probe, &keys).await;
    let Some(found) = probe.accept(probe.cache.lookup_many(&keys).await) else { return };
    assert_eq!(found.len(), keys.len());
    for (n, (key, lookup)) in keys.iter().zip(&found).enumerate() {
        match &lookup.entry {
            Some(entry) => assert_eq!(entry.payload, key.as_str(), "{key}"),
            None => assert!(n == keys.len() - 1 || !probe.promises.is_reliable(), "{key} is a miss"),
        }
    }
    assert!(found.last().is_some_and(|lookup| lookup.entry.is_none()));
    assert!(probe.accept(probe.cache.lookup_many(&[]).await).is_none_or(|none| none.is_empty()));
}

/// The tokens of `lookup_many` are valid until an invalidation covers their keys.
pub async fn lookup_many_hands_out_a_token_for_each_key(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let keys = keys();
    let Some(found) = probe.accept(probe.cache.lookup_many(&keys).await) else { return };
    probe.invalidate(&what("group image:5")).await;
    for (key, lookup) in keys.iter().zip(found) {
        if key.group() == "image:5" {
            probe.must_refuse(key, lookup.token, "old").await;
            probe.must_miss(key).await;
        } else if key.as_str() != "image:9:a" {
            // The key that occurs twice has two tokens, and the fill by the first may spend the second.
            probe.must_store(key, lookup.token, "new").await;
            probe.must_hit(key, "new").await;
        }
    }
}

/// Each fill of one call is accepted or refused by its own token.
pub async fn fill_many_goes_by_each_keys_own_token(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let keys: Vec<_> = ["image:5:b", "image:9:a", "image:5:a", "analysis:1:results"].map(key).to_vec();
    let mut fills = Vec::new();
    for key in &keys {
        let token = probe.token(key).await;
        fills.push(Fill { key: key.clone(), token, entry: NewEntry::new(key.as_str().to_owned()) });
    }
    probe.invalidate(&what("group image:5")).await;
    let Some(outcomes) = probe.accept(probe.cache.fill_many(fills).await) else {
        for key in keys.iter().filter(|key| key.group() == "image:5") {
            probe.must_miss(key).await;
        }
        return;
    };
    assert_eq!(outcomes.len(), keys.len());
    for (key, outcome) in keys.iter().zip(outcomes) {
        if key.group() == "image:5" {
            assert_eq!(outcome, FillOutcome::Refused, "{key}");
            probe.must_miss(key).await;
        } else {
            assert!(outcome == FillOutcome::Stored || !probe.promises.is_reliable(), "{key} was refused");
            probe.must_hit(key, key.as_str()).await;
        }
    }
    assert!(probe.accept(probe.cache.fill_many(Vec::new()).await).is_none_or(|none| none.is_empty()));
}

/// `get_many` answers in order.
pub async fn get_many_answers_in_order(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let keys = keys();
    store_all_but_the_last(&probe, &keys).await;
    let Some(found) = probe.accept(probe.cache.get_many(&keys).await) else { return };
    assert_eq!(found.len(), keys.len());
    for (n, (key, entry)) in keys.iter().zip(&found).enumerate() {
        match entry {
            Some(entry) => assert_eq!(entry.payload, key.as_str(), "{key}"),
            None => assert!(n == keys.len() - 1 || !probe.promises.is_reliable(), "{key} is a miss"),
        }
    }
    assert!(found.last().is_some_and(Option::is_none));
    assert!(probe.accept(probe.cache.get_many(&[]).await).is_none_or(|none| none.is_empty()));
}

/// `set_many` sets every key; of two values for one key the last is kept.
pub async fn set_many_sets_each_key(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let keys = keys();
    let mut entries: Vec<_> =
        keys.iter().map(|key| (key.clone(), NewEntry::new(key.as_str().to_owned()))).collect();
    entries.push((key("image:5:b"), NewEntry::new("the last one")));
    if probe.accept(probe.cache.set_many(entries).await).is_none() {
        return;
    }
    for key in keys.iter().filter(|key| key.as_str() != "image:5:b") {
        probe.must_hit(key, key.as_str()).await;
    }
    probe.must_hit(&key("image:5:b"), "the last one").await;
    probe.accept(probe.cache.set_many(Vec::new()).await);
}

/// `get` finds what `lookup` finds.
pub async fn get_finds_what_lookup_finds(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key("image:5:metadata");
    assert_eq!(probe.accept(probe.cache.get(&key).await).flatten(), None);
    probe.load(&key, "loaded").await;
    let (got, found) = (probe.accept(probe.cache.get(&key).await).flatten(), probe.lookup(&key).await.entry);
    assert!(got == found || !probe.promises.is_reliable(), "get: {got:?}, lookup: {found:?}");
}
