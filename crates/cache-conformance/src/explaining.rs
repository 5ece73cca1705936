//! Explanations of keys, and of their last miss.

use std::time::Duration;

use super::probe::{Probe, key, noise, what};
use super::subject::Subject;
use cache_core::{CacheKey, Explanation, MissCause, NewEntry};

async fn explain(probe: &Probe, key: &CacheKey) -> Option<Explanation> {
    probe.accept(probe.cache.explain(key).await)
}

/// An entry is explained by its size, age and remaining time; the call changes no figure.
pub async fn an_explanation_says_what_is_there(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    if !probe.promises.is_reliable() {
        return;
    }
    let key = key("[reports]image:5:metadata");
    probe.load(&key, NewEntry::new("12345").expires_in(Duration::from_secs(60))).await;
    probe.wait(Duration::from_secs(20));
    let before = probe.stats().await;
    let explanation = explain(&probe, &key).await.expect("a reliable store explains");
    assert_eq!((explanation.key.as_str(), explanation.group.as_str()), (key.as_str(), key.group()));
    assert_eq!(explanation.backend, probe.cache.kind());
    assert!(explanation.found);
    assert_eq!(explanation.size_bytes, Some(5));
    assert_eq!((explanation.age_ms, explanation.expires_in_ms), (Some(20_000), Some(40_000)));
    assert_eq!(explanation.codec, Some("raw"));
    let after = probe.stats().await;
    assert_eq!((after.hits, after.misses), (before.hits, before.misses), "an explanation is not a lookup");
}

/// An absent key has neither size nor age.
pub async fn an_explanation_says_what_is_not_there(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let Some(never) = explain(&probe, &key("image:5:metadata")).await else { return };
    assert!(
        !never.found && never.size_bytes.is_none() && never.age_ms.is_none() && never.expires_in_ms.is_none()
    );
    assert_eq!((never.codec, never.last_miss), (None, None), "it was never looked up");

    let gone = key("image:6:metadata");
    probe.load(&gone, NewEntry::new("x").expires_in(Duration::from_secs(1))).await;
    probe.wait(Duration::from_secs(1));
    assert!(explain(&probe, &gone).await.is_none_or(|gone| !gone.found), "it has expired");
}

/// Every cause of a miss is reported.
pub async fn an_explanation_says_why_the_last_lookup_missed(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    if !probe.promises.is_reliable() {
        return;
    }
    let key = key("image:5:metadata");
    let cause = async || explain(&probe, &key).await.and_then(|explanation| explanation.last_miss);

    probe.must_miss(&key).await;
    assert_eq!(cause().await, Some(MissCause::Absent));

    probe.load(&key, NewEntry::new("x").expires_in(Duration::from_secs(1))).await;
    probe.wait(Duration::from_secs(1));
    probe.must_miss(&key).await;
    assert_eq!(cause().await, Some(MissCause::Expired));

    probe.load(&key, "x").await;
    let old = probe.token(&key).await;
    probe.invalidate(&what("group image:5")).await;
    probe.must_miss(&key).await;
    assert_eq!(cause().await, Some(MissCause::Invalidated));

    probe.must_refuse(&key, old, "old").await;
    probe.must_miss(&key).await;
    assert_eq!(cause().await, Some(MissCause::Refused));

    probe.load(&key, "x").await;
    probe.must_hit(&key, "x").await;
    assert_eq!(cause().await, Some(MissCause::Refused), "a hit does not change the last miss");
}

/// Eviction is reported as the cause of a miss.
pub async fn an_explanation_says_that_an_entry_was_evicted(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let Some(limit) = probe.promises.limit_bytes.filter(|_| probe.promises.is_reliable()) else { return };
    let key = key("image:5:metadata");
    probe.load(&key, "x").await;
    let size = usize::try_from(limit / 20).expect("the suite opens stores of a few megabytes");
    for n in 0..1000_u64 {
        let other = CacheKey::builder("thumbnail", n).build().expect("the key is short");
        // Faster than a slow disk writes them: some fills may be refused.
        let token = probe.token(&other).await;
        probe.fill(&other, token, noise(n, size)).await;
        // The key is the oldest entry and is evicted first.
        if probe.cache.stats().await.is_ok_and(|stats| stats.evictions > 0) {
            break;
        }
    }
    probe.must_miss(&key).await;
    let explanation = explain(&probe, &key).await;
    assert_eq!(explanation.and_then(|explanation| explanation.last_miss), Some(MissCause::Evicted));
}
