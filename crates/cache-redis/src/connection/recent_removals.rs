//! [`RecentRemovals`]: what this process has removed last, for a server that takes over and may have missed it.

use std::collections::VecDeque;
use std::time::Duration;

use cache_core::{Invalidation, Monotonic};

/// Removals that are kept at most.
const MOST: usize = 4096;

/// The last removals that a server acknowledged, with the time of each.
#[derive(Debug)]
pub(crate) struct RecentRemovals {
    removals: VecDeque<(Monotonic, Invalidation)>,
    /// Removals up to this time are not all here.
    incomplete_until: Monotonic,
}

impl RecentRemovals {
    /// Creates a list without removals; of those before `now` nothing is known.
    pub(crate) fn since(now: Monotonic) -> Self {
        Self { removals: VecDeque::new(), incomplete_until: now }
    }

    /// Adds `what`, which was acknowledged at `now` at the latest.
    pub(crate) fn add(&mut self, what: &[Invalidation], now: Monotonic) {
        for what in what {
            if self.removals.len() >= MOST
                && let Some((at, _)) = self.removals.pop_front()
            {
                self.incomplete_until = self.incomplete_until.max(at);
            }
            self.removals.push_back((now, what.clone()));
        }
    }

    /// Returns the removals of the last `age` before `now`; `None` if they are not all here.
    pub(crate) fn of_the_last(&self, age: Duration, now: Monotonic) -> Option<Vec<Invalidation>> {
        if now.saturating_since(self.incomplete_until) <= age {
            return None;
        }
        let recent = self.removals.iter().filter(|(at, _)| now.saturating_since(*at) <= age);
        let recent: Vec<Invalidation> = recent.map(|(_, what)| what.clone()).collect();
        let is_clear = recent.contains(&Invalidation::Everything);
        Some(if is_clear { vec![Invalidation::Everything] } else { recent })
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{CacheKey, Clock, ManualClock};

    use super::*;

    fn key(number: usize) -> Invalidation {
        Invalidation::Key(CacheKey::builder("image", number).build().unwrap())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn removals_are_returned_by_age_and_none_from_before_the_list_began() {
        let clock = ManualClock::new();
        let mut recent = RecentRemovals::since(clock.monotonic());
        clock.advance(SECOND);
        recent.add(&[key(1)], clock.monotonic());
        clock.advance(5 * SECOND);
        recent.add(&[key(2)], clock.monotonic());
        clock.advance(SECOND);
        let of_the_last = |seconds: u32| recent.of_the_last(seconds * SECOND, clock.monotonic());
        assert_eq!(of_the_last(0), Some(Vec::new()));
        assert_eq!(of_the_last(1), Some(vec![key(2)]));
        assert_eq!(of_the_last(6), Some(vec![key(1), key(2)]));
        assert_eq!(of_the_last(7), None);
    }

    #[test]
    fn after_too_many_removals_the_older_ones_are_unknown() {
        let clock = ManualClock::new();
        let mut recent = RecentRemovals::since(clock.monotonic());
        for number in 0..2 * MOST {
            clock.advance(SECOND);
            recent.add(&[key(number)], clock.monotonic());
        }
        let kept = u32::try_from(MOST).unwrap();
        assert_eq!(recent.of_the_last((kept - 1) * SECOND, clock.monotonic()).unwrap().len(), MOST);
        assert_eq!(recent.of_the_last(kept * SECOND, clock.monotonic()), None);
    }

    #[test]
    fn a_clear_stands_for_all_removals() {
        let clock = ManualClock::new();
        let mut recent = RecentRemovals::since(clock.monotonic());
        clock.advance(SECOND);
        recent.add(&[key(1), Invalidation::Everything, key(2)], clock.monotonic());
        let expected = Some(vec![Invalidation::Everything]);
        assert_eq!(recent.of_the_last(Duration::ZERO, clock.monotonic()), expected);
    }
}
