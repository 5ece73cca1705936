//! Freshness: a value whose load started before an invalidation was called is never served after the invalidation returned.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::probe::{Probe, key, what};
use super::subject::Subject;
use cache_core::{CacheBackendExt, Invalidated, Invalidation};

const KEY: &str = "image:5:metadata";

/// The race of histories 1 and 16, once as a first fill and once as a refresh:
///
/// 1. A reader looks up.
/// 2. A writer invalidates.
/// 3. The reader fills, which must be refused.
async fn a_fill_after_this_is_refused(subject: &dyn Subject, invalidation: &str, victim: &str) {
    let probe = Probe::open(subject).await;
    let victim = key(victim);

    let first = probe.token(&victim).await;
    probe.invalidate(&what(invalidation)).await;
    probe.must_refuse(&victim, first, "old").await;
    probe.must_miss(&victim).await;

    probe.load(&victim, "old").await;
    probe.must_hit(&victim, "old").await;
    let refresh = probe.token(&victim).await;
    probe.invalidate(&what(invalidation)).await;
    probe.must_miss(&victim).await;
    probe.must_refuse(&victim, refresh, "old again").await;
    probe.must_miss(&victim).await;

    probe.load(&victim, "new").await;
    probe.must_hit(&victim, "new").await;
}

/// The invalidation is of the exact key.
pub async fn a_fill_after_its_keys_invalidation_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "key image:5:metadata", KEY).await;
}

/// The invalidation is of the group.
pub async fn a_fill_after_its_groups_invalidation_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "group image:5", KEY).await;
}

/// The invalidation is of a prefix of three segments, inside one group.
pub async fn a_fill_after_a_deeper_prefix_was_cleared_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "pattern image:5:tiles", "image:5:tiles:0:0").await;
}

/// The invalidation is of a prefix of one segment, over many groups.
pub async fn a_fill_after_its_family_was_cleared_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "pattern image", KEY).await;
}

/// The invalidation is of a glob whose matches share a group.
pub async fn a_fill_after_a_glob_within_its_group_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "pattern image:5:meta*", KEY).await;
}

/// The invalidation is of a glob over many groups, with and without a literal prefix.
pub async fn a_fill_after_a_glob_over_groups_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "pattern image:*:metadata", KEY).await;
    a_fill_after_this_is_refused_again(subject, "pattern *:meta?ata").await;
}

async fn a_fill_after_this_is_refused_again(subject: &dyn Subject, invalidation: &str) {
    let probe = Probe::open_at(subject, "again").await;
    let token = probe.token(&key(KEY)).await;
    probe.invalidate(&what(invalidation)).await;
    probe.must_refuse(&key(KEY), token, "old").await;
    probe.must_miss(&key(KEY)).await;
}

/// The invalidation is of everything.
pub async fn a_fill_after_a_clear_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "everything", KEY).await;
}

/// The invalidation is of everything, and the key has a scope.
pub async fn a_clear_takes_the_tokens_of_every_scope(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "everything", "[reports]image:5:metadata").await;
}

/// The invalidation is of the whole scope.
pub async fn a_fill_after_its_scope_was_cleared_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "pattern [reports]", "[reports]image:5:metadata").await;
}

/// The invalidation is of a group inside a scope.
pub async fn a_fill_after_its_scoped_groups_invalidation_is_refused(subject: &dyn Subject) {
    a_fill_after_this_is_refused(subject, "group [reports]image:5", "[reports]image:5:metadata").await;
}

/// Each of several invalidations in one call revokes tokens.
pub async fn a_fill_after_one_of_many_invalidations_is_refused(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let victims = [key("image:5:metadata"), key("thumbnail:5:64x64"), key("project_images:7:skip:0")];
    let mut tokens = Vec::new();
    for victim in &victims {
        tokens.push(probe.token(victim).await);
    }
    probe
        .invalidate(&[
            what("key image:5:metadata"),
            what("group thumbnail:5"),
            what("pattern project_images:7"),
        ])
        .await;
    for (victim, token) in victims.iter().zip(tokens) {
        probe.must_refuse(victim, token, "old").await;
        probe.must_miss(victim).await;
    }
}

/// History 3 (ABA): the older fill comes last and is refused.
pub async fn the_newer_of_two_fills_around_an_invalidation_stands(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    let older = probe.token(&key).await;
    probe.invalidate(&key).await;
    let newer = probe.token(&key).await;
    probe.must_store(&key, newer, "new").await;
    probe.must_refuse(&key, older, "old").await;
    probe.must_hit(&key, "new").await;
}

/// An old token stays refused through several invalidations and newer fills.
pub async fn an_old_token_stays_refused_whatever_comes_later(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    let mut old = vec![probe.token(&key).await];
    for version in ["1", "2", "3", "4"] {
        probe.invalidate(&key.to_group()).await;
        for token in &old {
            probe.must_refuse(&key, *token, "old").await;
        }
        let token = probe.token(&key).await;
        probe.must_store(&key, token, version).await;
        for token in &old {
            probe.must_refuse(&key, *token, "old").await;
        }
        probe.must_hit(&key, version).await;
        old.push(token);
    }
}

/// Every kind of invalidation removes the entry that it covers.
pub async fn an_invalidation_removes_what_was_stored(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    for invalidation in [
        "key image:5:metadata",
        "group image:5",
        "pattern image:5:metadata",
        "pattern image",
        "pattern *5*",
        "everything",
    ] {
        probe.load(&key, "loaded").await;
        probe.invalidate(&what(invalidation)).await;
        probe.must_miss(&key).await;
        probe.set(&key, "set").await;
        probe.must_hit(&key, "set").await;
        probe.invalidate(&what(invalidation)).await;
        probe.must_miss(&key).await;
    }
}

/// Invalidating absent keys is not an error.
pub async fn an_invalidation_of_nothing_removes_nothing(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    probe.load(&key(KEY), "kept").await;
    let mut removed = probe.invalidate(&Vec::<Invalidation>::new()).await;
    removed += probe.invalidate(&what("key image:6:metadata")).await;
    removed += probe.invalidate(&what("group image:6")).await;
    removed += probe.invalidate(&what("pattern analysis:*")).await;
    assert_eq!(removed, 0, "no entry matched");
    probe.must_hit(&key(KEY), "kept").await;
}

/// `delete`, `clear_pattern` and `clear` invalidate.
pub async fn delete_clear_pattern_and_clear_invalidate(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    if !probe.promises.is_reliable() {
        return;
    }
    let key = key(KEY);
    for round in 0..3 {
        probe.load(&key, "loaded").await;
        let token = probe.token(&key).await;
        let outcome = match round {
            0 => probe.cache.delete(&key).await,
            1 => probe.cache.clear_pattern(&(&key.to_group()).into()).await,
            _ => probe.cache.clear().await,
        };
        assert_eq!(outcome.map_err(|error| error.to_string()), Ok(Invalidated::Applied { removed: 1 }));
        probe.must_refuse(&key, token, "old").await;
        probe.must_miss(&key).await;
    }
}

/// An invalidation that was polled once completes, even if its caller is dropped.
pub async fn a_dropped_invalidation_still_happens(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    if !probe.promises.is_reliable() {
        return;
    }
    let key = key(KEY);
    probe.load(&key, "old").await;
    let invalidation = [Invalidation::Group(key.to_group())];
    let mut call = probe.cache.invalidate(&invalidation);
    poll_fn(|context| {
        let _ = call.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
    drop(call);
    let deadline = Instant::now() + Duration::from_secs(10);
    while probe.lookup(&key).await.entry.is_some() {
        assert!(
            Instant::now() < deadline,
            "an invalidation that was polled once has not happened within 10 s"
        );
        std::thread::yield_now();
    }
}
