//! [`LoadStats`]: loads by key family, counted where a loader returns.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::MOST_FAMILIES;
use cache_core::family_counters::FamilyNames;

/// Figures of the loads of one key family since the start of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadStats {
    /// Calls of loaders.
    pub loads: u64,
    /// Those that returned an error or panicked.
    pub failed: u64,
    /// Keys for which they were called: more than `loads` where one call loads many.
    pub keys: u64,
    /// How long they took together.
    pub time: Duration,
    /// Loaded values that were not stored: they may have been older than an invalidation, or the store was too busy.
    pub fills_refused: u64,
}

impl LoadStats {
    /// The mean time of a call; `None` before the first.
    pub fn mean_time(&self) -> Option<Duration> {
        mean(self.time, self.loads)
    }

    /// The mean time for each key, which a hit saves; `None` before the first load.
    pub fn mean_time_per_key(&self) -> Option<Duration> {
        mean(self.time, self.keys)
    }
}

fn mean(time: Duration, count: u64) -> Option<Duration> {
    let nanos = time.as_nanos().checked_div(count.into())?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// Counts loads by family. A hit does not come here.
pub(crate) struct LoadCounters {
    names: FamilyNames,
    /// By the number of the family.
    families: [Counters; MOST_FAMILIES + 1],
}

#[derive(Default)]
struct Counters {
    loads: AtomicU64,
    failed: AtomicU64,
    keys: AtomicU64,
    nanos: AtomicU64,
    refused: AtomicU64,
}

impl Default for LoadCounters {
    fn default() -> Self {
        Self { names: FamilyNames::default(), families: std::array::from_fn(|_| Counters::default()) }
    }
}

impl LoadCounters {
    /// Counts a call of a loader for `keys` keys of `family`.
    pub(crate) fn loaded(&self, family: &str, keys: usize, taken: Duration, is_failure: bool) {
        let Some(counters) = self.of(family) else { return };
        let nanos = u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX);
        counters.loads.fetch_add(1, Ordering::Relaxed);
        counters.failed.fetch_add(is_failure.into(), Ordering::Relaxed);
        counters.keys.fetch_add(keys as u64, Ordering::Relaxed);
        counters.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts a loaded value of `family` that was not stored.
    pub(crate) fn refused(&self, family: &str) {
        if let Some(counters) = self.of(family) {
            counters.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The figures by name, without families for which nothing is counted.
    pub(crate) fn named(&self) -> BTreeMap<String, LoadStats> {
        let mut by_name = BTreeMap::<String, LoadStats>::new();
        for (name, counters) in self.names.names().zip(&self.families) {
            let figures = counters.read();
            if figures != LoadStats::default() {
                // Added and not inserted: a family may be called as those past the limit are.
                let sum = by_name.entry(name.to_owned()).or_default();
                sum.loads += figures.loads;
                sum.failed += figures.failed;
                sum.keys += figures.keys;
                sum.time += figures.time;
                sum.fills_refused += figures.fills_refused;
            }
        }
        by_name
    }

    fn of(&self, family: &str) -> Option<&Counters> {
        self.families.get(usize::from(self.names.id(family).to_byte()))
    }
}

impl Counters {
    fn read(&self) -> LoadStats {
        let Self { loads, failed, keys, nanos, refused } = self;
        LoadStats {
            loads: loads.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
            keys: keys.load(Ordering::Relaxed),
            time: Duration::from_nanos(nanos.load(Ordering::Relaxed)),
            fills_refused: refused.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for LoadCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.named()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_counted_by_family_and_a_load_of_many_keys_is_one_call() {
        let counters = LoadCounters::default();
        counters.loaded("user", 1, Duration::from_millis(30), false);
        counters.loaded("user", 3, Duration::from_millis(10), true);
        counters.refused("page");
        let named = counters.named();
        let user = named["user"];
        assert_eq!((user.loads, user.failed, user.keys), (2, 1, 4));
        assert_eq!(user.mean_time(), Some(Duration::from_millis(20)));
        assert_eq!(user.mean_time_per_key(), Some(Duration::from_millis(10)));
        assert_eq!((named["page"].fills_refused, named["page"].mean_time()), (1, None));
    }

    #[test]
    fn families_past_the_limit_are_counted_together() {
        let counters = LoadCounters::default();
        for n in 0..40 {
            counters.loaded(&format!("family{n}"), 1, Duration::ZERO, false);
        }
        assert_eq!(counters.named().len(), MOST_FAMILIES + 1);
        assert_eq!(counters.named()["other"].loads, 8);
    }
}
