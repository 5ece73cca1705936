//! Fill tokens: the calls that issue and revoke them, and the stores that refuse them.

use super::probe::{Probe, key};
use super::subject::Subject;
use cache_core::{CacheKey, FillToken, Invalidation, NewEntry};

const KEY: &str = "image:5:metadata";

/// A miss issues a token that stores.
pub async fn a_miss_hands_out_a_token_that_fills(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    probe.must_miss(&key(KEY)).await;
    probe.load(&key(KEY), "loaded").await;
    probe.must_hit(&key(KEY), "loaded").await;
}

/// A hit issues a token that replaces the value.
pub async fn a_hit_hands_out_a_token_that_refreshes(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    probe.load(&key, "stale").await;
    let lookup = probe.lookup(&key).await;
    if probe.promises.is_reliable() {
        assert!(lookup.entry.is_some() && !lookup.token.is_never());
        probe.must_store(&key, lookup.token, "fresh").await;
        probe.must_hit(&key, "fresh").await;
    }
}

/// A load that started before a `set` does not overwrite it.
pub async fn a_set_takes_tokens_away(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    let first = probe.token(&key).await;
    probe.set(&key, "set").await;
    probe.must_refuse(&key, first, "old").await;
    probe.must_hit(&key, "set").await;

    let refresh = probe.token(&key).await;
    probe.set(&key, "set again").await;
    probe.must_refuse(&key, refresh, "old").await;
    probe.must_hit(&key, "set again").await;
}

/// A load that started before a `set_many` does not overwrite it.
pub async fn a_set_many_takes_tokens_away(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    if !probe.promises.is_reliable() {
        return;
    }
    let key = key(KEY);
    let token = probe.token(&key).await;
    probe.accept(probe.cache.set_many(vec![(key.clone(), NewEntry::new("set"))]).await);
    probe.must_refuse(&key, token, "old").await;
    probe.must_hit(&key, "set").await;
}

/// A token of one key must not bring back an invalidated value of another key.
pub async fn a_token_of_another_key_does_not_get_past_an_invalidation(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let (ours, other) = (key(KEY), key("analysis:9:results"));
    let token = probe.token(&other).await;
    probe.invalidate(&Invalidation::Everything).await;
    probe.must_refuse(&ours, token, "old").await;
    probe.must_miss(&ours).await;
}

/// `FillToken::never` fills nothing.
pub async fn the_token_never_is_refused(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    probe.must_refuse(&key(KEY), FillToken::never(), "old").await;
    probe.must_miss(&key(KEY)).await;
    probe.load(&key(KEY), "loaded").await;
    probe.must_refuse(&key(KEY), FillToken::never(), "old").await;
    probe.must_hit(&key(KEY), "loaded").await;
}

/// A store refuses the token of another store.
pub async fn a_token_of_another_store_is_refused(subject: &dyn Subject) {
    let ours = Probe::open(subject).await;
    let other = Probe::open_at(subject, "other").await;
    let token = other.token(&key(KEY)).await;
    ours.must_refuse(&key(KEY), token, "old").await;
    ours.must_miss(&key(KEY)).await;
    let token = FillToken::new(std::num::NonZeroU64::MIN, 0);
    ours.must_refuse(&key(KEY), token, "old").await;
    ours.must_miss(&key(KEY)).await;
}

/// A store refuses its own tokens after it was closed and opened again.
pub async fn a_token_from_before_reopening_is_refused(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let token = probe.token(&key(KEY)).await;
    let probe = probe.reopen(subject).await;
    probe.must_refuse(&key(KEY), token, "old").await;
    probe.must_miss(&key(KEY)).await;
}

/// A store refuses tokens from before the death of its process.
pub async fn a_token_from_before_a_crash_is_refused(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let token = probe.token(&key(KEY)).await;
    let probe = probe.crash(subject).await;
    probe.must_refuse(&key(KEY), token, "old").await;
    probe.must_miss(&key(KEY)).await;
}

/// Lookups of one key with nothing in between get equal tokens, so that their callers can share one load.
pub async fn lookups_with_nothing_between_share_a_token(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    let (first, second) = (probe.token(&key).await, probe.token(&key).await);
    assert!(first == second || first.is_never() || second.is_never());
    probe.load(&key, "loaded").await;
    let (first, second) = (probe.token(&key).await, probe.token(&key).await);
    assert!(first == second || first.is_never() || second.is_never());
}

/// A lookup after an invalidation gets another token, so that its caller does not join a load from before it.
pub async fn an_invalidation_changes_the_token(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    for what in
        [Invalidation::Key(key.clone()), Invalidation::Group(key.to_group()), Invalidation::Everything]
    {
        let before = probe.token(&key).await;
        probe.invalidate(&what).await;
        assert_ne!(probe.token(&key).await, before, "after {what}");
    }
}

/// An invalidation of one group revokes hardly any token of others.
pub async fn an_invalidation_takes_few_tokens_of_other_groups(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    if !probe.promises.is_reliable() {
        return;
    }
    let image = |id: u32| CacheKey::builder("image", id).part("metadata").build().expect("the key is short");
    let mut tokens = Vec::new();
    for id in 0..50 {
        tokens.push((image(id), probe.token(&image(id)).await));
    }
    probe.invalidate(&image(1000).to_group()).await;
    let mut stored = 0;
    for (key, token) in tokens {
        if probe.fill(&key, token, "loaded").await == Some(cache_core::FillOutcome::Stored) {
            stored += 1;
        }
    }
    assert!(stored >= 45, "{} of 50 fills refused by the invalidation of one other group", 50 - stored);
}
