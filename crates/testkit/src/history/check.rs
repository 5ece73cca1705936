//! The check of a history.

use std::collections::HashMap;
use std::time::Duration;

use super::event::{Event, Reach, Read, Source};

/// The promise of the system under test beyond freshness.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// How long a process without the shared store may serve values that other processes invalidated there.
    pub own_for_at_most: Duration,
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Reads that were checked.
    pub reads: usize,
    /// Reads that a store answered.
    pub hits: usize,
    /// Reads that the shared store answered.
    pub shared_hits: usize,
    /// Reads that the memory in front of the shared store answered.
    pub memory_hits: usize,
    /// Invalidations that were acknowledged.
    pub invalidations: usize,
    /// Reads that broke the promise.
    pub violations: Vec<Violation>,
}

/// A read that broke the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// An older version than the acknowledged `promised` one.
    Stale {
        /// The process.
        process: usize,
        /// The read.
        read: Read,
        /// The oldest version that it was allowed to return.
        promised: u64,
    },
    /// A version whose write had not started, or the value of another row.
    Phantom {
        /// The process.
        process: usize,
        /// The read.
        read: Read,
    },
}

/// Checks the histories of several processes, each in the order of its events.
///
/// A process that was killed and restarted continues its history. Cost: O(n log n) in the number of events.
pub fn check(histories: &[Vec<Event>], promise: Promise) -> Verdict {
    let mut written: HashMap<(u32, u64), Duration> = HashMap::new();
    // The versions that every process must see, and those that each process must see besides.
    let mut everywhere = Floors::default();
    let mut own: Vec<Floors> = histories.iter().map(|_| Floors::default()).collect();
    let mut verdict = Verdict::default();
    for (events, own) in histories.iter().zip(&mut own) {
        let mut behind = Vec::new();
        for event in events {
            match *event {
                Event::Writes { row, version, at } => {
                    let first = written.entry((row, version)).or_insert(at);
                    *first = at.min(*first);
                }
                Event::Invalidated { row, version, at, reach } => {
                    verdict.invalidations += 1;
                    own.add(row, at, version);
                    match reach {
                        Reach::Everybody => everywhere.add(row, at, version),
                        Reach::Itself => behind.push((row, version)),
                    }
                }
                Event::CaughtUp { at } => {
                    behind.drain(..).for_each(|(row, version)| everywhere.add(row, at, version));
                }
                Event::Read(_) => {}
            }
        }
    }
    everywhere.sort();
    own.iter_mut().for_each(Floors::sort);
    for (process, (events, own)) in histories.iter().zip(&own).enumerate() {
        for event in events {
            let Event::Read(read) = *event else { continue };
            verdict.reads += 1;
            verdict.hits += usize::from(read.source != Source::Loaded);
            verdict.shared_hits += usize::from(read.source == Source::Shared);
            verdict.memory_hits += usize::from(read.source == Source::Memory);
            let seen_until = match read.source {
                Source::Shared | Source::Memory | Source::Loaded => read.start,
                Source::Own => read.start.saturating_sub(promise.own_for_at_most),
            };
            let promised = everywhere.at(read.row, seen_until).max(own.at(read.row, read.start));
            let is_known = read.version == 0
                || written.get(&(read.row, read.version)).is_some_and(|begun| *begun < read.end);
            if read.found != read.row || !is_known {
                verdict.violations.push(Violation::Phantom { process, read });
            } else if read.version < promised {
                verdict.violations.push(Violation::Stale { process, read, promised });
            }
        }
    }
    verdict
}

/// The version that reads of each row must return at least, by time.
#[derive(Debug, Default)]
struct Floors(HashMap<u32, Vec<(Duration, u64)>>);

impl Floors {
    fn add(&mut self, row: u32, at: Duration, version: u64) {
        self.0.entry(row).or_default().push((at, version));
    }

    fn sort(&mut self) {
        for floors in self.0.values_mut() {
            floors.sort_unstable();
            let mut highest = 0;
            for (_, version) in floors {
                highest = highest.max(*version);
                *version = highest;
            }
        }
    }

    /// The version promised strictly before `time`.
    fn at(&self, row: u32, time: Duration) -> u64 {
        let Some(floors) = self.0.get(&row) else { return 0 };
        let before = floors.partition_point(|(at, _)| *at < time);
        before.checked_sub(1).and_then(|last| floors.get(last)).map_or(0, |(_, version)| *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise { own_for_at_most: Duration::from_secs(100) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn writes(version: u64, seconds: u64) -> Event {
        Event::Writes { row: 7, version, at: at(seconds) }
    }

    fn invalidated(version: u64, seconds: u64, reach: Reach) -> Event {
        Event::Invalidated { row: 7, version, at: at(seconds), reach }
    }

    fn read(version: u64, seconds: u64, source: Source) -> Event {
        let (start, end) = (at(seconds), at(seconds + 1));
        Event::Read(Read { row: 7, found: 7, version, start, end, source })
    }

    fn violations(histories: &[Vec<Event>]) -> usize {
        check(histories, PROMISE).violations.len()
    }

    #[test]
    fn a_read_that_started_before_the_acknowledgement_may_be_old_and_one_after_it_may_not() {
        let writer = vec![writes(1, 1), writes(2, 5), invalidated(2, 10, Reach::Everybody)];
        assert_eq!(violations(&[writer.clone(), vec![read(1, 10, Source::Shared)]]), 0);
        assert_eq!(violations(&[writer.clone(), vec![read(1, 11, Source::Shared)]]), 1);
        assert_eq!(violations(&[writer.clone(), vec![read(1, 11, Source::Loaded)]]), 1);
        assert_eq!(violations(&[writer, vec![read(2, 11, Source::Shared)]]), 0);
    }

    #[test]
    fn a_later_promise_of_an_older_version_takes_nothing_back() {
        let writer = vec![
            writes(1, 1),
            writes(2, 2),
            invalidated(2, 10, Reach::Everybody),
            invalidated(1, 12, Reach::Everybody),
        ];
        assert_eq!(violations(&[writer, vec![read(1, 20, Source::Shared)]]), 1);
    }

    #[test]
    fn a_process_without_the_shared_store_sees_its_own_invalidations_and_those_of_others_after_the_window() {
        let mut writer = vec![writes(1, 1), invalidated(1, 10, Reach::Everybody)];
        let reader = |seconds| vec![read(0, seconds, Source::Own)];
        assert_eq!(violations(&[writer.clone(), reader(105)]), 0);
        assert_eq!(violations(&[writer.clone(), reader(111)]), 1);
        writer.extend(reader(20));
        assert_eq!(violations(&[writer]), 1);
    }

    #[test]
    fn a_journaled_invalidation_covers_its_process_and_the_others_once_it_was_replayed() {
        let mut writer = vec![writes(1, 1), invalidated(1, 10, Reach::Itself)];
        let reader = |seconds| vec![read(0, seconds, Source::Shared)];
        assert_eq!(violations(&[writer.clone(), reader(50)]), 0);
        writer.push(Event::CaughtUp { at: at(40) });
        assert_eq!(violations(&[writer.clone(), reader(50)]), 1);
        assert_eq!(violations(&[writer.clone(), reader(39)]), 0);
        writer.extend(reader(20));
        assert_eq!(violations(&[writer]), 1);
    }

    #[test]
    fn an_unwritten_version_and_the_value_of_another_row_are_phantoms() {
        assert_eq!(violations(&[vec![writes(1, 5)], vec![read(1, 2, Source::Shared)]]), 1);
        assert_eq!(violations(&[vec![writes(1, 5)], vec![read(1, 4, Source::Shared)]]), 1);
        assert_eq!(violations(&[vec![writes(1, 5)], vec![read(1, 5, Source::Loaded)]]), 0);
        let (start, end) = (at(9), at(10));
        let foreign = Read { row: 7, found: 8, version: 1, start, end, source: Source::Shared };
        assert_eq!(violations(&[vec![writes(1, 5), Event::Read(foreign)]]), 1);
    }
}
