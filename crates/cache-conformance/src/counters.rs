//! Counters and claims, for stores that have them.

use bytes::Bytes;

use super::probe::{Probe, key, what};
use super::subject::{Keeping, Subject};
use cache_core::AtomicBackend;

/// A counter begins at zero and sums up positive and negative numbers.
pub async fn a_counter_begins_at_zero_and_adds_up(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let Some(atomic) = probe.atomic() else { return };
    let (one, other) = (key("counter:1"), key("counter:2"));
    for (by, sum) in [(1, 1), (41, 42), (-50, -8), (0, -8)] {
        assert_eq!(probe.accept(atomic.increment(&one, by).await), Some(sum));
    }
    assert_eq!(probe.accept(atomic.increment(&other, 5).await), Some(5));
}

/// A counter saturates at the ends of `i64`.
pub async fn a_counter_saturates(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let Some(atomic) = probe.atomic() else { return };
    let (high, low) = (key("counter:high"), key("counter:low"));
    for (key, by, sum) in [
        (&high, i64::MAX, i64::MAX),
        (&high, 1, i64::MAX),
        (&high, -1, i64::MAX - 1),
        (&low, i64::MIN, i64::MIN),
        (&low, -1, i64::MIN),
        (&low, 1, i64::MIN + 1),
    ] {
        assert_eq!(probe.accept(atomic.increment(key, by).await), Some(sum), "{key} by {by}");
    }
}

/// A key is claimed by the first call only.
pub async fn a_key_is_claimed_once(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let Some(atomic) = probe.atomic() else { return };
    let key = key("lock:1");
    assert_eq!(probe.accept(atomic.add(&key, Bytes::from_static(b"first")).await), Some(true));
    assert_eq!(probe.accept(atomic.add(&key, Bytes::from_static(b"second")).await), Some(false));
    probe.accept(atomic.reset(&key).await);
    assert_eq!(probe.accept(atomic.add(&key, Bytes::from_static(b"second")).await), Some(true));
}

/// A reset counter begins at zero; resetting an absent one is not an error.
pub async fn a_reset_counter_begins_at_zero(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let Some(atomic) = probe.atomic() else { return };
    let key = key("counter:1");
    probe.accept(atomic.reset(&key).await);
    assert_eq!(probe.accept(atomic.increment(&key, 7).await), Some(7));
    probe.accept(atomic.reset(&key).await);
    assert_eq!(probe.accept(atomic.increment(&key, 1).await), Some(1));
}

/// A counter and an entry of one key are independent.
pub async fn counters_have_a_name_space_of_their_own(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let Some(atomic) = probe.atomic() else { return };
    let key = key("image:5:views");
    probe.accept(atomic.increment(&key, 3).await);
    probe.accept(atomic.add(&key, Bytes::from_static(b"mine")).await);
    probe.must_miss(&key).await;
    probe.load(&key, "a value").await;
    assert_eq!(probe.accept(atomic.increment(&key, 1).await), Some(4));
    assert_eq!(probe.accept(atomic.add(&key, Bytes::from_static(b"yours")).await), Some(false));
    probe.must_hit(&key, "a value").await;
    probe.accept(atomic.reset(&key).await);
    probe.must_hit(&key, "a value").await;
}

/// Invalidations do not affect counters.
pub async fn no_invalidation_clears_a_counter(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let Some(atomic) = probe.atomic() else { return };
    let key = key("image:5:views");
    let mut sum = 0;
    for invalidation in
        ["key image:5:views", "group image:5", "pattern image", "pattern *views", "everything"]
    {
        sum += 1;
        assert_eq!(probe.accept(atomic.increment(&key, 1).await), Some(sum), "before {invalidation}");
        probe.invalidate(&what(invalidation)).await;
    }
    assert_eq!(probe.accept(atomic.increment(&key, 0).await), Some(sum));
}

/// A store that keeps its entries across reopening keeps its counters too.
pub async fn counters_survive_reopening_where_entries_do(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    if probe.promises.keeping < Keeping::AcrossReopening || probe.atomic().is_none() {
        return;
    }
    let (counter, lock) = (key("counter:1"), key("lock:1"));
    if let Some(atomic) = probe.atomic() {
        probe.accept(atomic.increment(&counter, 42).await);
        probe.accept(atomic.add(&lock, Bytes::from_static(b"first")).await);
    }
    let probe = probe.reopen(subject).await;
    let atomic: &dyn AtomicBackend = probe.atomic().expect("a store has counters at each opening");
    assert_eq!(probe.accept(atomic.increment(&counter, 1).await), Some(43));
    assert_eq!(probe.accept(atomic.add(&lock, Bytes::from_static(b"second")).await), Some(false));
}
