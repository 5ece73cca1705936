//! Statistics.

use std::time::Duration;

use super::probe::{Probe, key, noise, what};
use super::subject::{Figures, Subject};
use cache_core::{CacheKey, MEGABYTE, MOST_FAMILIES, NewEntry};

async fn exact(subject: &dyn Subject) -> Option<Probe> {
    let probe = Probe::open(subject).await;
    (probe.promises.figures == Figures::Exact && probe.promises.is_reliable()).then_some(probe)
}

/// A new store is empty, and reports its kind.
pub async fn a_new_store_is_empty(subject: &dyn Subject) {
    let probe = Probe::open(subject).await;
    let stats = probe.stats().await;
    assert_eq!((stats.hits, stats.misses, stats.fills), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.backend, probe.cache.kind());
    if probe.promises.figures == Figures::Exact {
        assert_eq!((stats.size_bytes, stats.count), (0, 0), "{stats:?}");
    }
    if let Some(limit_bytes) = probe.promises.limit_bytes {
        assert_eq!(stats.limit_mb, limit_bytes / MEGABYTE);
    }
}

/// Derived figures agree with the counted ones, rounded as documented.
pub async fn derived_figures_follow_from_the_counted_ones(subject: &dyn Subject) {
    let Some(probe) = exact(subject).await else { return };
    for n in 0..3_u32 {
        let key = CacheKey::builder("image", n).build().expect("the key is short");
        probe.load(&key, noise(n.into(), 50_000)).await;
    }
    probe.must_hit(&key("image:0"), noise(0, 50_000)).await;
    let stats = probe.stats().await;
    let rounded = |value: f64, steps: f64| (value * steps).round() / steps;
    let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
    assert!(close(stats.size_mb, rounded(stats.size_bytes as f64 / MEGABYTE as f64, 100.0)), "{stats:?}");
    assert!(close(stats.hit_ratio, 0.25), "1 of 4 lookups hit: {stats:?}");
    if let Some(limit) = probe.promises.limit_bytes {
        let percent = rounded(stats.size_bytes as f64 * 100.0 / limit as f64, 100.0);
        assert!(close(stats.usage_percent, percent), "{stats:?}");
    }
}

/// Hits, misses, fills, refusals, invalidations and clears are each counted once.
pub async fn every_operation_is_counted_once(subject: &dyn Subject) {
    let Some(probe) = exact(subject).await else { return };
    let (one, two) = (key("image:1:metadata"), key("image:2:metadata"));
    let token = probe.token(&one).await; // A miss.
    probe.must_store(&one, token, "1").await; // A fill.
    probe.must_hit(&one, "1").await; // A hit.
    probe.set(&two, "2").await;
    probe.must_hit(&two, "2").await; // A hit.
    let old = probe.token(&two).await; // A hit.
    probe.invalidate(&[what("group image:2"), what("key image:3:metadata")]).await; // Two invalidations, one entry.
    probe.must_refuse(&two, old, "old").await; // A refused fill.
    probe.must_miss(&two).await; // A miss.
    let stats = probe.stats().await;
    assert_eq!((stats.hits, stats.misses), (3, 2), "{stats:?}");
    assert_eq!((stats.fills, stats.fills_refused), (1, 1), "{stats:?}");
    assert_eq!((stats.invalidations, stats.invalidated_entries, stats.clears), (2, 1, 0), "{stats:?}");
    assert_eq!((stats.corrupt, stats.errors, stats.evictions, stats.expirations), (0, 0, 0, 0), "{stats:?}");
    probe.invalidate(&what("everything")).await;
    let stats = probe.stats().await;
    assert_eq!((stats.invalidations, stats.clears, stats.count), (2, 1, 0), "{stats:?}");
}

/// Count and size follow entries that are stored, replaced and removed.
pub async fn count_and_size_follow_the_entries(subject: &dyn Subject) {
    let Some(probe) = exact(subject).await else { return };
    let mut sizes = vec![0];
    for n in 0..10_u64 {
        let key = CacheKey::builder("image", n).part("metadata").build().expect("the key is short");
        probe.load(&key, noise(n, 20_000)).await;
        let stats = probe.stats().await;
        assert_eq!(stats.count, n + 1);
        assert!(stats.size_bytes >= sizes.last().copied().unwrap_or_default() + 20_000, "{stats:?}");
        sizes.push(stats.size_bytes);
    }
    probe.load(&key("image:9:metadata"), noise(9, 10)).await;
    let stats = probe.stats().await;
    assert_eq!(stats.count, 10, "a replaced value is one entry");
    assert!(stats.size_bytes < sizes.last().copied().unwrap_or_default(), "a smaller value takes less space");
    for n in (0..10_u64).rev() {
        let before = probe.stats().await.size_bytes;
        probe.invalidate(&what(&format!("group image:{n}"))).await;
        let stats = probe.stats().await;
        assert_eq!(stats.count, n);
        assert!(stats.size_bytes < before, "a removed entry takes no space: {stats:?}");
    }
    assert_eq!(probe.stats().await.size_bytes, 0);
}

/// An entry that was found expired is no longer counted as live.
pub async fn an_expired_entry_is_counted_as_expired(subject: &dyn Subject) {
    let Some(probe) = exact(subject).await else { return };
    let key = key("image:1:metadata");
    probe.load(&key, NewEntry::new("x").expires_in(Duration::from_secs(1))).await;
    probe.wait(Duration::from_secs(1));
    probe.must_miss(&key).await;
    probe.load(&key, "again").await;
    let stats = probe.stats().await;
    assert_eq!((stats.count, stats.expirations, stats.evictions), (1, 1, 0), "{stats:?}");
}

/// The figures by family add up to those of the store.
pub async fn families_add_up_to_the_whole(subject: &dyn Subject) {
    let Some(probe) = exact(subject).await else { return };
    for n in 0..40_u32 {
        let key = CacheKey::builder(format!("family{n}"), 1).build().expect("the key is short");
        probe.load(&key, "x").await;
        probe.must_hit(&key, "x").await;
    }
    let stats = probe.stats().await;
    assert!(stats.families.len() <= MOST_FAMILIES + 1, "{} families", stats.families.len());
    assert_eq!(stats.families.values().map(|family| family.hits).sum::<u64>(), stats.hits);
    assert_eq!(stats.families.values().map(|family| family.misses).sum::<u64>(), stats.misses);
    assert_eq!(stats.families.values().map(|family| family.count).sum::<u64>(), stats.count);
    assert_eq!(stats.families.values().map(|family| family.bytes).sum::<u64>(), stats.size_bytes);
    let other = stats.families.get("other").copied().unwrap_or_default();
    assert_eq!((other.hits, other.count), (8, 8), "the families past the first 32");
    probe.invalidate(&what("pattern family0")).await;
    let stats = probe.stats().await;
    assert!(stats.families.get("family0").is_none_or(|family| family.count == 0 && family.bytes == 0));
}

/// A count is the number of entries that the invalidation then removes, and changes nothing itself.
pub async fn a_count_is_what_an_invalidation_removes(subject: &dyn Subject) {
    let Some(probe) = exact(subject).await else { return };
    let keys =
        ["image:1", "image:1:a", "image:1:b", "image:10:a", "image:2:a", "imagery:1:a", "[r]image:1:a"];
    for text in [
        "key image:1:a",
        "key image:9:a",
        "group image:1",
        "group image:9",
        "pattern image",
        "pattern image:1:a",
        "pattern image:*:a",
        "pattern image:1*",
        "pattern imag*",
        "pattern *:a",
        "pattern [r]",
        "everything",
    ] {
        for (n, name) in (0..).zip(keys) {
            probe.load(&key(name), noise(n, 10_000)).await;
        }
        let before = probe.stats().await;
        let counted = probe.cache.count_matches(&what(text)).await.expect("a reliable store counts");
        let after = probe.stats().await;
        assert_eq!(
            (after.hits, after.misses, after.count),
            (before.hits, before.misses, before.count),
            "{text}"
        );
        let removed = probe.invalidate(&what(text)).await;
        if let Some(counted) = counted {
            assert_eq!(counted, removed, "{text}");
            let left = probe.cache.count_matches(&what(text)).await.expect("a reliable store counts");
            assert_eq!(left, Some(0), "{text}");
        }
    }
}
