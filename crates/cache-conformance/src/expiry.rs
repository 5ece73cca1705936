//! Expiry: an entry is a miss from the instant it expires, even if the wall clock is set.

use std::time::Duration;

use super::probe::{Probe, key};
use super::subject::{Keeping, Subject};
use cache_core::NewEntry;

const KEY: &str = "image:5:metadata";
const TEN_YEARS: i64 = 10 * 365 * 86_400_000;

fn for_a_minute(payload: &'static str) -> NewEntry {
    NewEntry::new(payload).expires_in(Duration::from_secs(60))
}

/// An entry expires to the millisecond.
pub async fn an_entry_is_a_miss_from_the_instant_it_expires(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let (filled, set) = (key(KEY), key("image:6:metadata"));
    probe.load(&filled, for_a_minute("filled")).await;
    probe.set(&set, for_a_minute("set")).await;
    probe.wait(Duration::from_millis(59_999));
    probe.must_hit(&filled, "filled").await;
    probe.must_hit(&set, "set").await;
    probe.wait(Duration::from_millis(1));
    probe.must_miss(&filled).await;
    probe.must_miss(&set).await;
    assert_eq!(probe.accept(probe.cache.get(&filled).await).flatten(), None);
}

/// An entry without a TTL does not expire.
pub async fn without_a_ttl_an_entry_never_expires(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    probe.load(&key(KEY), "forever").await;
    let endless = NewEntry::new("endless").expires_in(Duration::MAX);
    probe.load(&key("image:6:metadata"), endless).await;
    probe.wait(Duration::from_secs(3600 * 100 * 365 * 24));
    probe.must_hit(&key(KEY), "forever").await;
    probe.must_hit(&key("image:6:metadata"), "endless").await;
}

/// An entry with a TTL of zero is never a hit.
pub async fn an_entry_with_a_ttl_of_zero_is_a_miss_at_once(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    probe.load(&key(KEY), NewEntry::new("gone").expires_in(Duration::ZERO)).await;
    probe.must_miss(&key(KEY)).await;
}

/// An expired entry is refilled like any other miss, and its TTL does not apply to the new entry.
pub async fn an_expired_entry_is_refilled_by_token(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    probe.load(&key, for_a_minute("first")).await;
    probe.wait(Duration::from_secs(60));
    probe.load(&key, "second").await;
    probe.must_hit(&key, "second").await;
    probe.wait(Duration::from_secs(3600));
    probe.must_hit(&key, "second").await;
}

/// The TTL is that of the value stored last.
pub async fn a_refill_brings_its_own_ttl(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    probe.load(&key, "without").await;
    probe.load(&key, for_a_minute("with")).await;
    probe.wait(Duration::from_secs(30));
    probe.load(&key, for_a_minute("with again")).await;
    probe.wait(Duration::from_millis(59_999));
    probe.must_hit(&key, "with again").await;
    probe.wait(Duration::from_millis(1));
    probe.must_miss(&key).await;
}

/// Expiry revokes no token, and no token survives an invalidation.
pub async fn a_fill_of_an_expired_entry_after_an_invalidation_is_refused(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    probe.load(&key, for_a_minute("old")).await;
    probe.wait(Duration::from_secs(60));
    let token = probe.token(&key).await;
    probe.invalidate(&key).await;
    probe.must_refuse(&key, token, "old again").await;
    probe.must_miss(&key).await;
}

/// History 13, forwards: the clock is set ten years ahead, and entries without a TTL are kept.
pub async fn a_clock_set_forward_expires_entries_with_a_ttl_alone(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    probe.load(&key(KEY), for_a_minute("with")).await;
    probe.load(&key("image:6:metadata"), "without").await;
    subject.clock().jump_wall(TEN_YEARS);
    probe.must_miss(&key(KEY)).await;
    probe.must_hit(&key("image:6:metadata"), "without").await;
}

/// History 13, backwards: with the clock set back by ten years or by seconds, no entry outlives its TTL by the monotonic
/// clock.
pub async fn a_clock_set_back_lets_no_entry_outlive_its_ttl(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let key = key(KEY);
    for step in [TEN_YEARS, 3_600_000, 4_000] {
        probe.load(&key, for_a_minute("before a step back")).await;
        subject.clock().jump_wall(-step);
        probe.wait(Duration::from_secs(60));
        probe.must_miss(&key).await;
        subject.clock().jump_wall(step);

        subject.clock().jump_wall(step);
        probe.load(&key, for_a_minute("after a step forward")).await;
        subject.clock().jump_wall(-step);
        probe.wait(Duration::from_secs(60));
        probe.must_miss(&key).await;
        probe.wait(Duration::from_millis(step.unsigned_abs()));
        probe.must_miss(&key).await;
    }
}

/// Entries without a TTL stay when the clock is set back.
pub async fn a_clock_set_back_leaves_entries_without_a_ttl_alone(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    probe.load(&key(KEY), "without").await;
    subject.clock().jump_wall(-TEN_YEARS);
    probe.must_hit(&key(KEY), "without").await;
}

/// An entry with a TTL that was stored in the future, by a process with a wrong clock, is a miss and is not deleted.
pub async fn an_entry_from_the_future_is_a_miss_and_stays(subject: &dyn Subject) {
    if subject.promises().keeping < Keeping::AcrossReopening {
        return;
    }
    let probe = Probe::open(subject).await;
    let (with, without, near) = (key(KEY), key("image:6:metadata"), key("image:7:metadata"));
    subject.clock().advance(Duration::from_millis(TEN_YEARS.unsigned_abs()));
    probe.load(&with, for_a_minute("with")).await;
    probe.load(&without, "without").await;

    let restart_at = |millis: i64| {
        subject.clock().jump_wall(millis);
        subject.clock().restart();
    };
    restart_at(-TEN_YEARS);
    let probe = probe.reopen(subject).await;
    probe.must_miss(&with).await;
    probe.must_hit(&without, "without").await;
    probe.load(&near, for_a_minute("near")).await;

    restart_at(-4_000);
    let probe = probe.reopen(subject).await;
    probe.must_hit(&near, "near").await;

    restart_at(TEN_YEARS + 4_000);
    let probe = probe.reopen(subject).await;
    probe.must_hit(&with, "with").await;
    probe.must_miss(&near).await;
}
