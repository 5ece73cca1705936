//! The limit of a store, and the order of eviction.

use std::time::Duration;

use super::probe::{Probe, noise};
use super::subject::{Eviction, Figures, Subject};
use cache_core::{CacheKey, ErrorKind, Invalidation, NewEntry};

/// About a hundredth of the limit, which no store rounds up to much more.
fn piece(limit_bytes: u64) -> usize {
    usize::try_from(limit_bytes / 100).expect("the suite opens stores of a few megabytes")
}

fn image(n: u64) -> CacheKey {
    CacheKey::builder("image", n).part("metadata").build().expect("the key is short")
}

/// Opens a reliable store with a limit.
async fn bounded(subject: &dyn Subject) -> Option<(Probe, usize)> {
    let promises = subject.promises();
    let limit = promises.limit_bytes.filter(|_| promises.is_reliable())?;
    Some((Probe::open(subject).await, piece(limit)))
}

/// While three times the limit is stored, in values of several sizes, the size never exceeds the limit and the newest value
/// is kept.
pub async fn the_size_stays_within_the_limit(subject: &dyn Subject) {
    let Some((probe, piece)) = bounded(subject).await else { return };
    let limit = probe.promises.limit_bytes.unwrap_or(u64::MAX);
    for n in 0..300 {
        let size = if n % 3 == 0 { piece / 3 } else { piece + piece / 3 };
        probe.load(&image(n), noise(n, size)).await;
        let stats = probe.stats().await;
        assert!(stats.size_bytes <= limit, "{stats:?}");
        probe.must_hit(&image(n), noise(n, size)).await;
    }
    let stats = probe.stats().await;
    assert!(stats.evictions > 0 && stats.count > 20, "{stats:?}");
}

/// The least recently used entry is evicted first; a hit is a use.
pub async fn the_least_recently_used_entry_goes_first(subject: &dyn Subject) {
    let Some((probe, piece)) = bounded(subject).await else { return };
    if probe.promises.eviction != Eviction::LeastRecentlyUsed || probe.promises.figures != Figures::Exact {
        return;
    }
    let count = fill_until_full(&probe, piece).await + 1;
    probe.must_miss(&image(0)).await;
    // Image 1 is the next to go, unless it is used.
    probe.must_hit(&image(1), noise(1, piece)).await;
    let peeked =
        probe.accept(probe.cache.explain(&image(2)).await).is_some_and(|explanation| explanation.found);
    assert!(peeked, "image 2 is still there");
    probe.load(&image(count), noise(count, piece)).await;
    probe.must_miss(&image(2)).await;
    probe.must_hit(&image(1), noise(1, piece)).await;
    probe.must_hit(&image(3), noise(3, piece)).await;
}

/// Expired entries are removed before any live one.
pub async fn expired_entries_make_room_before_live_ones(subject: &dyn Subject) {
    let Some((probe, piece)) = bounded(subject).await else { return };
    let room = fill_until_full(&probe, piece).await;
    probe.invalidate(&Invalidation::Everything).await;
    let evictions = probe.stats().await.evictions;

    // The live entries are the older ones, which would be evicted first.
    let (live, expired) = (room / 3, room / 3 + room / 2);
    for n in 0..live {
        probe.load(&image(n), noise(n, piece)).await;
    }
    for n in live..expired {
        probe.load(&image(n), NewEntry::new(noise(n, piece)).expires_in(Duration::from_secs(1))).await;
    }
    probe.wait(Duration::from_secs(1));
    for n in expired..expired + room / 2 {
        probe.load(&image(n), noise(n, piece)).await;
    }
    for n in (0..live).chain(expired..expired + room / 2) {
        probe.must_hit(&image(n), noise(n, piece)).await;
    }
    if probe.promises.figures == Figures::Exact {
        let evicted = probe.stats().await.evictions - evictions;
        assert_eq!(evicted, 0, "live entries were evicted while expired ones were there");
    }
}

/// Stores entries of `piece` bytes until the first is evicted; returns how many there were.
async fn fill_until_full(probe: &Probe, piece: usize) -> u64 {
    let mut count = 0;
    while probe.stats().await.evictions == 0 {
        probe.load(&image(count), noise(count, piece)).await;
        count += 1;
        assert!(count < 1000, "nothing was evicted");
    }
    count - 1
}

/// A value over the limit for one entry is refused, and nothing is evicted for it.
pub async fn a_value_over_the_limit_for_one_entry_is_refused_and_evicts_nothing(subject: &dyn Subject) {
    let promises = subject.promises();
    let Some(largest) = promises.largest_value.filter(|_| promises.is_reliable()) else { return };
    let probe = Probe::open(subject).await;
    let largest = usize::try_from(largest).expect("the suite opens stores of a few megabytes");
    for n in 0..20 {
        probe.load(&image(n), noise(n, 1000)).await;
    }
    let huge = noise(99, largest + 1);
    let token = probe.token(&image(99)).await;
    let filled = probe.cache.fill(&image(99), token, NewEntry::new(huge.clone())).await;
    assert_eq!(filled.map_err(|error| error.kind()), Err(ErrorKind::TooLarge));
    let set = probe.cache.set(&image(98), NewEntry::new(huge)).await;
    assert_eq!(set.map_err(|error| error.kind()), Err(ErrorKind::TooLarge));
    probe.must_miss(&image(99)).await;
    probe.must_miss(&image(98)).await;
    for n in 0..20 {
        probe.must_hit(&image(n), noise(n, 1000)).await;
    }
    probe.load(&image(99), noise(99, largest / 2)).await;
    probe.must_hit(&image(99), noise(99, largest / 2)).await;
}

/// An evicted entry is a miss like any other: a fill is accepted, unless an invalidation came between.
pub async fn an_evicted_entry_does_not_come_back_after_its_invalidation(subject: &dyn Subject) {
    let Some((probe, piece)) = bounded(subject).await else { return };
    let token = probe.token(&image(0)).await;
    probe.must_store(&image(0), token, noise(0, piece)).await;
    let refresh = probe.token(&image(0)).await;
    for n in 1..250 {
        probe.load(&image(n), noise(n, piece)).await;
    }
    probe.invalidate(&image(0)).await;
    probe.must_refuse(&image(0), refresh, noise(0, piece)).await;
    probe.must_miss(&image(0)).await;
    probe.load(&image(0), "new").await;
    probe.must_hit(&image(0), "new").await;
}
