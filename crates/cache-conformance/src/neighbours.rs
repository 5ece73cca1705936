//! An invalidation removes the entries that it covers and no others.

use super::probe::{Probe, key, what};
use super::subject::{Figures, Subject};

/// Fills a store with similar keys, applies `invalidation` and asserts that only `gone` are removed.
async fn only_these_go(subject: &dyn Subject, place: &str, invalidation: &str, gone: &[&str]) {
    let probe = Probe::open_at(subject, place).await;
    for &text in ALIKE {
        probe.load(&key(text), text).await;
    }
    let removed = probe.invalidate(&what(invalidation)).await;
    for &text in ALIKE {
        if gone.contains(&text) {
            probe.must_miss(&key(text)).await;
        } else {
            probe.must_hit(&key(text), text).await;
        }
    }
    if probe.promises.figures == Figures::Exact && probe.promises.is_reliable() {
        assert_eq!(removed, gone.len() as u64, "entries removed by {invalidation}");
    }
}

/// Keys that a wrong comparison confuses.
const ALIKE: &[&str] = &[
    "project_images:42",
    "project_images:42:skip:0",
    "project_images:42:skip:100",
    "project_images:4:skip:0",
    "project_images:420",
    "project_images:420:skip:0",
    "project_images:42%3Askip:0",
    "project_images2:42:skip:0",
    "project:42:skip:0",
    "image:42:skip:0",
    "[a]project_images:42:skip:0",
    "[ab]project_images:42:skip:0",
];

/// `project_images:42` is not `project_images:420`.
pub async fn a_group_clears_no_neighbour(subject: &dyn Subject) {
    let gone = ["project_images:42", "project_images:42:skip:0", "project_images:42:skip:100"];
    only_these_go(subject, "group", "group project_images:42", &gone).await;
    only_these_go(subject, "prefix", "pattern project_images:42", &gone).await;
}

/// A key is not a prefix.
pub async fn a_key_clears_itself_alone(subject: &dyn Subject) {
    only_these_go(subject, "short", "key project_images:42", &["project_images:42"]).await;
    only_these_go(subject, "long", "key project_images:42:skip:0", &["project_images:42:skip:0"]).await;
}

/// A prefix matches whole segments.
pub async fn a_prefix_clears_whole_segments(subject: &dyn Subject) {
    let deep = ["project_images:42:skip:0", "project_images:42:skip:100"];
    only_these_go(subject, "deep", "pattern project_images:42:skip", &deep).await;
    only_these_go(subject, "exact", "pattern project_images:42:skip:0", &["project_images:42:skip:0"]).await;
    only_these_go(subject, "half", "pattern project_images:42:ski", &[]).await;
    let family = [
        "project_images:42",
        "project_images:42:skip:0",
        "project_images:42:skip:100",
        "project_images:4:skip:0",
        "project_images:420",
        "project_images:420:skip:0",
        "project_images:42%3Askip:0",
    ];
    only_these_go(subject, "family", "pattern project_images", &family).await;
}

/// A glob is matched against the whole key.
pub async fn a_glob_clears_what_matches_the_whole_key(subject: &dyn Subject) {
    let skips = [
        "project_images:42:skip:0",
        "project_images:4:skip:0",
        "project_images:420:skip:0",
        "project_images:42%3Askip:0",
    ];
    only_these_go(subject, "star", "pattern project_images:4*:0", &skips).await;
    only_these_go(subject, "one", "pattern project_images:42?", &["project_images:420"]).await;
    let images = ["image:42:skip:0"];
    only_these_go(subject, "leading", "pattern ?mage*", &images).await;
    only_these_go(subject, "none", "pattern *skip", &[]).await;
}

/// Patterns without a scope match unscoped keys, those with a scope the keys of that scope.
pub async fn a_scope_is_a_name_space_of_its_own(subject: &dyn Subject) {
    let unscoped: Vec<_> = ALIKE.iter().filter(|key| !key.starts_with('[')).copied().collect();
    only_these_go(subject, "unscoped", "pattern *", &unscoped).await;
    let in_a = ["[a]project_images:42:skip:0"];
    only_these_go(subject, "scope", "pattern [a]", &in_a).await;
    only_these_go(subject, "inside", "pattern [a]*", &in_a).await;
    only_these_go(subject, "scopedgroup", "group [a]project_images:42", &in_a).await;
}

/// A clear covers every scope.
pub async fn a_clear_clears_everything(subject: &dyn Subject) {
    only_these_go(subject, "main", "everything", ALIKE).await;
}

/// All invalidations of one call are applied. An entry that two of them cover counts once.
pub async fn many_invalidations_in_one_call_remove_all_they_name(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    for &text in ALIKE {
        probe.load(&key(text), text).await;
    }
    let named = [
        what("key image:42:skip:0"),
        what("group project_images:420"),
        what("pattern project_images:420:skip"),
        what("pattern [ab]"),
        what("key image:42:never:stored"),
    ];
    let removed = probe.invalidate(&named).await;
    let mut gone = 0;
    for &text in ALIKE {
        if named.iter().any(|what| what.matches(text)) {
            gone += 1;
            probe.must_miss(&key(text)).await;
        } else {
            probe.must_hit(&key(text), text).await;
        }
    }
    if probe.promises.figures == Figures::Exact && probe.promises.is_reliable() {
        assert_eq!(removed, gone, "entries removed by {named:?}");
    }
}
