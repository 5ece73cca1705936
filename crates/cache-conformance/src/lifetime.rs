//! Opening, closing and reopening of stores.

use std::time::Duration;

use super::probe::{Probe, key, noise, what};
use super::subject::{Keeping, Subject};
use cache_core::{
    CacheBackendExt, CacheKey, ErrorKind, Fill, FillToken, HealthStatus, Invalidation, NewEntry, Result,
};

/// Closing is idempotent.
pub async fn closing_twice_is_no_error(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    probe.close().await;
    probe.close().await;
}

/// Every method of a closed store fails with `Closed`.
pub async fn after_closing_every_call_says_closed(subject: &dyn Subject) {
    if !subject.promises().refuses_after_close {
        return;
    }
    let probe = Probe::open(subject).await;
    let key = key("image:5:metadata");
    let token = probe.token(&key).await;
    probe.load(&key, "x").await;
    probe.close().await;
    let cache = &probe.cache;
    let entry = || NewEntry::new("y");
    let fill = || Fill { key: key.clone(), token, entry: entry() };
    must_be_closed("lookup", cache.lookup(&key).await, &probe);
    must_be_closed("fill", cache.fill(&key, token, entry()).await, &probe);
    must_be_closed("set", cache.set(&key, entry()).await, &probe);
    must_be_closed("invalidate", cache.invalidate(&[Invalidation::Everything]).await, &probe);
    must_be_closed("stats", cache.stats().await, &probe);
    must_be_closed("get", cache.get(&key).await, &probe);
    must_be_closed("lookup_many", cache.lookup_many(std::slice::from_ref(&key)).await, &probe);
    must_be_closed("fill_many", cache.fill_many(vec![fill()]).await, &probe);
    must_be_closed("get_many", cache.get_many(std::slice::from_ref(&key)).await, &probe);
    must_be_closed("set_many", cache.set_many(vec![(key.clone(), entry())]).await, &probe);
    must_be_closed("delete", cache.delete(&key).await, &probe);
    must_be_closed("clear_pattern", cache.clear_pattern(&(&key.to_group()).into()).await, &probe);
    must_be_closed("clear", cache.clear().await, &probe);
    must_be_closed("explain", cache.explain(&key).await, &probe);
    if let Some(atomic) = probe.atomic() {
        must_be_closed("increment", atomic.increment(&key, 1).await, &probe);
        must_be_closed("add", atomic.add(&key, bytes::Bytes::new()).await, &probe);
        must_be_closed("reset", atomic.reset(&key).await, &probe);
    }
}

fn must_be_closed<T>(call: &str, result: Result<T>, probe: &Probe) {
    let kind = result.err().map(|error| error.kind());
    assert!(kind.is_some(), "{call} of a closed store succeeded");
    assert!(
        kind == Some(ErrorKind::Closed) || !probe.promises.is_reliable(),
        "{call} of a closed store: {kind:?}"
    );
}

/// A store that works reports that it is healthy.
pub async fn a_store_that_works_is_healthy(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    if !probe.promises.is_reliable() {
        return;
    }
    let health = probe.cache.health().await;
    assert_eq!((health.status, &health.cause), (HealthStatus::Ok, &None), "{health:?}");
    assert_eq!((health.wanted, health.active), (probe.cache.kind(), probe.cache.kind()));
    assert_eq!(health.journal_depth, 0);
}

/// A durable store keeps entries of every size, with their times.
pub async fn reopening_keeps_every_entry(subject: &dyn Subject) {
    if subject.promises().keeping < Keeping::AcrossReopening {
        return;
    }
    let mut probe = Probe::open(subject).await;
    let sizes = [0, 1, 4079, 4080, 4081, 16_384, 102_400];
    let image = |n: usize| CacheKey::builder("image", n).part("metadata").build().expect("the key is short");
    for (n, size) in sizes.iter().enumerate() {
        probe.load(&image(n), noise(1, *size)).await;
    }
    probe.set(&key("image:set"), "set").await;
    probe.load(&key("image:brief"), NewEntry::new("brief").expires_in(Duration::from_secs(60))).await;
    for _ in 0..3 {
        probe = probe.reopen(subject).await;
        for (n, size) in sizes.iter().enumerate() {
            probe.must_hit(&image(n), noise(1, *size)).await;
        }
        probe.must_hit(&key("image:set"), "set").await;
        probe.must_hit(&key("image:brief"), "brief").await;
        // A store that is still counting its entries reports approximate figures.
        let stats = probe.stats().await;
        assert!(stats.approximate || stats.count == sizes.len() as u64 + 2, "{stats:?}");
    }
    probe.wait(Duration::from_secs(60));
    probe.must_miss(&key("image:brief")).await;
    let probe = probe.reopen(subject).await;
    probe.must_miss(&key("image:brief")).await;
}

/// An invalidated entry does not come back: neither after closing and reopening nor after the death of the process.
pub async fn what_was_invalidated_never_comes_back(subject: &dyn Subject) {
    let removals =
        ["key image:5:metadata", "group image:5", "pattern image:5:meta*", "pattern image", "everything"];
    for is_crash in [false, true] {
        let mut probe = Probe::open_at(subject, if is_crash { "crash" } else { "reopen" }).await;
        for removal in removals {
            let key = key("image:5:metadata");
            probe.load(&key, "old").await;
            // Reopened in between, the old value is durable before it is removed.
            probe = probe.reopen(subject).await;
            probe.load(&key, "old, refreshed").await;
            probe.invalidate(&what(removal)).await;
            probe.must_miss(&key).await;
            probe = if is_crash { probe.crash(subject).await } else { probe.reopen(subject).await };
            probe.must_miss(&key).await;
        }
    }
}

/// History 8: a durable value is evicted, replaced or expired, so that the store may not know its key any more, and is
/// then deleted. It does not come back after the death of the process.
pub async fn what_was_invalidated_unknown_never_comes_back(subject: &dyn Subject) {
    for (place, gone_by) in [("evicted", 0), ("replaced", 1), ("expired", 2)] {
        let probe = Probe::open_at(subject, place).await;
        let key = key("image:5:metadata");
        probe.load(&key, NewEntry::new("old").expires_in(Duration::from_secs(3600))).await;
        let probe = probe.reopen(subject).await;
        match (gone_by, probe.promises.limit_bytes) {
            (0, Some(limit)) => {
                let size = usize::try_from(limit / 20).expect("the suite opens stores of a few megabytes");
                for n in 0..40_u64 {
                    let other = CacheKey::builder("thumbnail", n).build().expect("the key is short");
                    probe.load(&other, noise(n, size)).await;
                }
            }
            (1, _) => probe.set(&key, NewEntry::new("newer").expires_in(Duration::from_secs(1))).await,
            _ => {
                probe.wait(Duration::from_secs(3600));
                probe
                    .load(&super::probe::key("image:6:metadata"), "makes the store look at what expired")
                    .await;
            }
        }
        probe.invalidate(&key).await;
        probe.must_miss(&key).await;
        let probe = probe.crash(subject).await;
        probe.must_miss(&key).await;
    }
}

/// After the death of the process a store opens, and holds nothing but what was stored.
pub async fn after_a_crash_a_store_opens_and_holds_no_wrong_value(subject: &dyn Subject) {
    let mut probe = Probe::open(subject).await;
    let keys: Vec<_> = (0..50_u32)
        .map(|n| CacheKey::builder("image", n).part("metadata").build().expect("the key is short"))
        .collect();
    for _ in 0..3 {
        for key in &keys {
            probe.load(key, key.as_str()).await;
        }
        probe = probe.crash(subject).await;
        for key in &keys {
            if let Some(entry) = probe.lookup(key).await.entry {
                assert_eq!(entry.payload, key.as_str());
            }
        }
        probe.must_refuse(&super::probe::key("image:1:metadata"), FillToken::never(), "wrong").await;
    }
}
