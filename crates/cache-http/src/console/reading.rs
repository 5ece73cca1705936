//! [`Reading`]: the figures of a cache at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use cache_facade::{
    Cache,
    backend::{Clock, SystemClock},
    stats::{CacheStats, FamilyStats, Health, LoadStats},
};
use tokio::time::Instant;

/// The figures of a cache at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) at: Instant,
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) health: Health,
    /// `None` where the backend has none.
    pub(super) stats: Option<CacheStats>,
    pub(super) loads: BTreeMap<String, LoadStats>,
}

/// What hits have saved: their number times the mean time of a load, summed over the families.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Saved {
    pub(super) time: Duration,
    /// Hits of families that were not loaded in this process, so that the time of their loads is not known.
    pub(super) hits_unmeasured: u64,
}

impl Reading {
    /// Reads the figures.
    pub(super) async fn take(cache: &Cache) -> Self {
        let health = cache.health().await;
        let stats = cache.stats().await.ok();
        let at_ms = SystemClock.now().as_millis();
        Self { at: Instant::now(), at_ms, health, stats, loads: cache.load_stats() }
    }

    /// The figures of the store by family.
    pub(super) fn families(&self) -> impl Iterator<Item = (&String, &FamilyStats)> {
        self.stats.iter().flat_map(|stats| &stats.families)
    }

    /// The figures of all loads together.
    pub(super) fn all_loads(&self) -> (u64, u64, Duration) {
        let add = |(loads, failed, time): (u64, u64, Duration), one: &LoadStats| {
            (loads + one.loads, failed + one.failed, time + one.time)
        };
        self.loads.values().fold((0, 0, Duration::ZERO), add)
    }

    /// What `hits` of a family have saved.
    pub(super) fn saved(&self, family: &str, hits: u64) -> Saved {
        match self.loads.get(family).and_then(LoadStats::mean_time_per_key) {
            Some(mean) => Saved {
                time: Duration::try_from_secs_f64(mean.as_secs_f64() * hits as f64).unwrap_or(Duration::MAX),
                hits_unmeasured: 0,
            },
            None => Saved { time: Duration::ZERO, hits_unmeasured: hits },
        }
    }
}

impl std::iter::Sum for Saved {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            time: sum.time.saturating_add(one.time),
            hits_unmeasured: sum.hits_unmeasured + one.hits_unmeasured,
        })
    }
}

/// A duration in milliseconds, for JSON.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
