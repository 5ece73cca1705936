//! [`History`]: the last minutes of a cache, as differences of its counters.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cache_facade::{
    BackendKind,
    stats::{CacheStats, FamilyStats, HealthStatus},
};
use serde::Serialize;
use tokio::time::Instant;

use super::reading::{Reading, millis};

/// The time between two points.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Points that are kept: the longest window.
const MOST_POINTS: usize = 1_000;

/// Points of families that are kept.
const MOST_FAMILY_POINTS: usize = 60;

/// The lengths of the windows in seconds.
const WINDOWS: [u64; 3] = [10, 100, 1_000];

/// What happened in one period.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Point {
    #[serde(skip)]
    at: Instant,
    /// The end of the period, in milliseconds since 1970.
    at_ms: u64,
    seconds: f64,
    status: HealthStatus,
    backend: BackendKind,
    hits: u64,
    misses: u64,
    fills_refused: u64,
    invalidations: u64,
    invalidated_entries: u64,
    evictions: u64,
    loads: u64,
    load_ms: f64,
    saved_ms: f64,
}

/// What happened in the last seconds.
#[derive(Debug, Serialize)]
pub(super) struct Window {
    seconds: u64,
    /// How much of it was watched.
    covered_seconds: f64,
    hits: u64,
    misses: u64,
    /// `None` without a lookup.
    hit_ratio: Option<f64>,
    loads_per_second: f64,
    /// `None` without a load.
    mean_load_ms: Option<f64>,
    saved_ms: f64,
}

/// Hits and misses of a family in each of the last periods, oldest first.
#[derive(Debug, Default, Serialize)]
pub(super) struct Spark {
    hits: Vec<u64>,
    misses: Vec<u64>,
}

/// The last minutes that were watched.
#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    /// Hits and misses by family, for the latest points.
    families: VecDeque<BTreeMap<String, (u64, u64)>>,
}

impl History {
    /// Adds what happened between two readings, and returns it.
    pub(super) fn add(&mut self, before: &Reading, now: &Reading) -> Point {
        let counters = Counters::between(before, now);
        let (loads, _, load_time) = now.all_loads();
        let (loads_before, _, load_time_before) = before.all_loads();
        let by_family: BTreeMap<String, (u64, u64)> = counters
            .families
            .iter()
            .map(|(name, counted)| (name.clone(), (counted.hits, counted.misses)))
            .collect();
        let saved = by_family.iter().map(|(name, (hits, _))| now.saved(name, *hits).time).sum::<Duration>();
        let point = Point {
            at: now.at,
            at_ms: now.at_ms,
            seconds: now.at.saturating_duration_since(before.at).as_secs_f64(),
            status: now.health.status,
            backend: now.health.active,
            hits: counters.of(|stats| stats.hits),
            misses: counters.of(|stats| stats.misses),
            fills_refused: counters.of(|stats| stats.fills_refused),
            invalidations: counters.of(|stats| stats.invalidations + stats.clears),
            invalidated_entries: counters.of(|stats| stats.invalidated_entries),
            evictions: counters.of(|stats| stats.evictions),
            loads: loads.saturating_sub(loads_before),
            load_ms: millis(load_time.saturating_sub(load_time_before)),
            saved_ms: millis(saved),
        };
        push(&mut self.points, point.clone(), MOST_POINTS);
        push(&mut self.families, by_family, MOST_FAMILY_POINTS);
        point
    }

    /// All points, oldest first.
    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }

    /// What happened in the windows that end at `now`.
    pub(super) fn windows(&self, now: Instant) -> Vec<Window> {
        WINDOWS.iter().map(|seconds| self.window(*seconds, now)).collect()
    }

    /// Hits and misses of the family `name` in the latest periods.
    pub(super) fn spark(&self, name: &str) -> Spark {
        let counts = self.families.iter().map(|by_family| by_family.get(name).copied().unwrap_or_default());
        let (hits, misses) = counts.unzip();
        Spark { hits, misses }
    }

    fn window(&self, seconds: u64, now: Instant) -> Window {
        // Points come a little late each time: half a period more does not lose the oldest.
        let length = Duration::from_secs(seconds).saturating_sub(PERIOD / 2);
        let is_inside = |point: &&Point| now.saturating_duration_since(point.at) < length;
        let points: Vec<&Point> = self.points.iter().rev().take_while(is_inside).collect();
        let sum = |of: fn(&Point) -> f64| points.iter().map(|point| of(point)).sum::<f64>();
        let count = |of: fn(&Point) -> u64| points.iter().map(|point| of(point)).sum::<u64>();
        let (hits, misses, loads) =
            (count(|point| point.hits), count(|point| point.misses), count(|point| point.loads));
        let covered_seconds = sum(|point| point.seconds);
        let ratio = |part: f64, whole: u64| (whole > 0).then(|| part / whole as f64);
        Window {
            seconds,
            covered_seconds,
            hits,
            misses,
            hit_ratio: ratio(hits as f64, hits + misses),
            loads_per_second: if covered_seconds > 0.0 { loads as f64 / covered_seconds } else { 0.0 },
            mean_load_ms: ratio(sum(|point| point.load_ms), loads),
            saved_ms: sum(|point| point.saved_ms),
        }
    }
}

/// Differences of counters between two readings.
struct Counters<'a> {
    both: Option<(&'a CacheStats, &'a CacheStats)>,
    families: BTreeMap<String, FamilyStats>,
}

impl<'a> Counters<'a> {
    /// Figures of two stores, as before and in an outage, have no difference.
    fn between(before: &'a Reading, now: &'a Reading) -> Self {
        let both = before.stats.as_ref().zip(now.stats.as_ref());
        let both = both.filter(|(before, now)| before.backend == now.backend);
        let mut families = BTreeMap::new();
        if let Some((before, now)) = both {
            for (name, now) in &now.families {
                let before = before.families.get(name).copied().unwrap_or_default();
                let hits = difference(before.hits, now.hits);
                let misses = difference(before.misses, now.misses);
                families.insert(name.clone(), FamilyStats { hits, misses, ..*now });
            }
        }
        Self { both, families }
    }

    fn of(&self, counter: fn(&CacheStats) -> u64) -> u64 {
        self.both.map_or(0, |(before, now)| difference(counter(before), counter(now)))
    }
}

/// How much a counter grew, which begins at 0 again with each store.
fn difference(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    queue.push_back(item);
    if queue.len() > most {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use cache_facade::{Cache, stats::LoadStats};

    use super::*;

    async fn reading(hits: u64, misses: u64, at: Instant) -> Reading {
        let reading = Reading::take(&Cache::memory()).await;
        let families = [("user".to_owned(), FamilyStats { hits, misses, count: 1, bytes: 1 })].into();
        let stats = CacheStats { families, ..reading.stats.unwrap().with_lookups(hits, misses) };
        Reading { at, stats: Some(stats), ..reading }
    }

    #[tokio::test]
    async fn windows_sum_up_the_points_inside_and_say_how_much_of_them_was_watched() {
        let (start, mut history) = (Instant::now(), History::default());
        let mut before = reading(0, 0, start).await;
        for second in 1..=20_u64 {
            // A hit and a miss each second, and in the last ten three hits more.
            let hits = second + 3 * second.saturating_sub(10);
            let now = reading(hits, second, start + Duration::from_secs(second)).await;
            history.add(&before, &now);
            before = now;
        }
        let windows = history.windows(start + Duration::from_secs(20));
        let [ten, hundred, _] = windows.as_slice() else { panic!("{windows:?}") };
        assert_eq!((ten.hits, ten.misses, ten.hit_ratio), (40, 10, Some(0.8)));
        assert!((ten.covered_seconds - 10.0).abs() < 0.001);
        assert_eq!((hundred.hits, hundred.misses), (50, 20));
        assert!((hundred.covered_seconds - 20.0).abs() < 0.001);
        assert_eq!(history.spark("user").hits.iter().sum::<u64>(), 50);
        let later = history.windows(start + Duration::from_secs(60));
        assert_eq!((later[0].hits, later[0].hit_ratio), (0, None), "not the last of what was watched");
    }

    #[tokio::test]
    async fn another_store_has_other_counters_and_makes_no_difference() {
        let (start, mut history) = (Instant::now(), History::default());
        let before = reading(1_000, 10, start).await;
        let mut outage = reading(3, 4, start + PERIOD).await;
        outage.stats.as_mut().unwrap().backend = BackendKind::Fallback;
        assert_eq!(history.add(&before, &outage).hits, 0);
        let back = reading(1_001, 10, start + 2 * PERIOD).await;
        assert_eq!(history.add(&outage, &back).hits, 0);
        let restarted = reading(5, 0, start + 3 * PERIOD).await;
        assert_eq!(history.add(&back, &restarted).hits, 5, "counters of the same store that begin again");
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let (start, mut history) = (Instant::now(), History::default());
        let (before, now) = (reading(0, 0, start).await, reading(1, 0, start + PERIOD).await);
        for _ in 0..2 * MOST_POINTS {
            history.add(&before, &now);
        }
        assert_eq!((history.points.len(), history.families.len()), (MOST_POINTS, MOST_FAMILY_POINTS));
    }

    #[tokio::test]
    async fn hits_save_the_time_of_the_loads_of_their_family() {
        let start = Instant::now();
        let mut now = reading(5, 0, start).await;
        assert_eq!(now.saved("user", 5).hits_unmeasured, 5);
        let mut loads = LoadStats::default();
        (loads.loads, loads.keys, loads.time) = (1, 2, Duration::from_millis(20));
        now.loads.insert("user".to_owned(), loads);
        let saved = now.saved("user", 5);
        assert_eq!((saved.hits_unmeasured, millis(saved.time)), (0, 50.0));
    }
}
