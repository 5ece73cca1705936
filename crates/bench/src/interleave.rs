//! Measures a [`Case`] in short slices that alternate between ours and the peer, over several rounds.

use std::time::Duration;

use crate::Outcome;
use crate::case::{Case, Pace, Unit};

/// About how long a slice takes: shorter than a time slice of the machine's scheduler, so that the median slice was not
/// interrupted; long enough to fill the caches of the processor at its beginning.
const SLICE: Duration = Duration::from_millis(2);

/// How long and how often is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds; how far they differ is the spread.
    pub rounds: usize,
    /// Slices of each side in a round.
    pub slices: usize,
    /// About how long a slice takes.
    pub slice: Duration,
}

impl Plan {
    /// Tens of seconds for all rows.
    pub const QUICK: Self = Self { rounds: 9, slices: 60, slice: SLICE };
    /// Minutes for all rows.
    pub const FULL: Self = Self { rounds: 15, slices: 100, slice: SLICE };
}

/// How often each number of operations is tried to find how many fill a slice.
const TRIALS: usize = 5;

/// Nanoseconds an operation, slice by slice, of one round.
#[derive(Debug, Clone, Default)]
pub struct Round {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    rounds: Vec<Round>,
}

impl Measured {
    /// Adds a round of one slice each, in nanoseconds an operation, that was measured elsewhere.
    pub fn add(&mut self, ours: f64, peer: f64) {
        self.rounds.push(Round { ours: vec![ours], peer: vec![peer] });
    }

    /// Ours: the median over all slices.
    pub fn ours(&self, unit: Unit) -> f64 {
        unit.figure(median(self.rounds.iter().flat_map(|round| &round.ours)))
    }

    /// The peer's: the median over all slices.
    pub fn peer(&self, unit: Unit) -> f64 {
        unit.figure(median(self.rounds.iter().flat_map(|round| &round.peer)))
    }

    /// The lowest and the highest ratio of medians that a single round gave.
    pub fn spread(&self, unit: Unit) -> [f64; 2] {
        let ratio = |round: &Round| unit.figure(median(&round.ours)) / unit.figure(median(&round.peer));
        self.rounds
            .iter()
            .map(ratio)
            .fold([f64::INFINITY, 0.0], |[low, high], ratio| [low.min(ratio), high.max(ratio)])
    }
}

/// Measures `case`.
pub fn measure(case: &mut dyn Case, pace: Pace, plan: Plan) -> Outcome<Measured> {
    let (ours, peer, slices) = match pace {
        Pace::Slices { most } | Pace::FewSlices { most } => {
            let ours = fitting(most, plan.slice, |operations| case.ours(operations))?;
            let peer = fitting(most, plan.slice, |operations| case.peer(operations))?;
            let are_few = matches!(pace, Pace::FewSlices { .. });
            (ours, peer, if are_few { plan.slices.div_ceil(10) } else { plan.slices })
        }
        // The first time warms a store up that has just been filled.
        Pace::Whole { operations } => {
            case.ours(operations)?;
            case.peer(operations)?;
            (operations, operations, 1)
        }
    };
    // Chance decides which side is first, so that no rhythm of the machine falls together with the alternation.
    let mut random = fastrand::Rng::with_seed(1);
    let mut measured = Measured::default();
    for _ in 0..plan.rounds {
        let mut round = Round::default();
        for _ in 0..slices {
            let ours_first = random.bool();
            if !ours_first {
                round.peer.push(nanos(case.peer(peer)?, peer));
            }
            round.ours.push(nanos(case.ours(ours)?, ours));
            if ours_first {
                round.peer.push(nanos(case.peer(peer)?, peer));
            }
        }
        measured.rounds.push(round);
    }
    Ok(measured)
}

/// How many operations fill a slice; finding out warms up too.
fn fitting(most: u64, slice: Duration, mut run: impl FnMut(u64) -> Outcome<Duration>) -> Outcome<u64> {
    let mut operations = 1;
    loop {
        // The shortest of several: a single one that was interrupted would make every slice too short.
        let mut taken = Duration::MAX;
        for _ in 0..TRIALS {
            taken = taken.min(run(operations)?);
        }
        if operations >= most {
            return Ok(most);
        }
        if taken * 2 >= slice {
            let fits = slice.as_secs_f64() / (taken.as_secs_f64() / operations as f64);
            return Ok((fits as u64).clamp(1, most));
        }
        operations = (operations * 2).min(most);
    }
}

fn nanos(taken: Duration, operations: u64) -> f64 {
    taken.as_nanos() as f64 / operations as f64
}

/// The value in the middle; of none, not a number.
pub(crate) fn median<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().copied().collect();
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2);
    let lower = values.get(values.len().wrapping_sub(1) / 2);
    upper.zip(lower).map_or(f64::NAN, |(upper, lower)| f64::midpoint(*upper, *lower))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures of a fixed clock are exact")]
mod tests {
    use super::*;

    /// Takes the times it is given, and notes how many operations it was asked for.
    struct Fixed {
        ours: Duration,
        peer: Duration,
        asked: Vec<u64>,
    }

    impl Case for Fixed {
        fn ours(&mut self, operations: u64) -> Outcome<Duration> {
            self.asked.push(operations);
            Ok(self.ours * u32::try_from(operations)?)
        }

        fn peer(&mut self, operations: u64) -> Outcome<Duration> {
            Ok(self.peer * u32::try_from(operations)?)
        }
    }

    fn fixed() -> Fixed {
        Fixed { ours: Duration::from_micros(2), peer: Duration::from_micros(4), asked: Vec::new() }
    }

    #[test]
    fn what_is_measured_is_the_time_of_an_operation() {
        let measured = measure(&mut fixed(), Pace::Slices { most: 1 << 20 }, Plan::QUICK).unwrap();
        assert_eq!((measured.ours(Unit::Micros), measured.peer(Unit::Micros)), (2.0, 4.0));
        assert_eq!(measured.spread(Unit::Micros), [0.5, 0.5]);
        assert_eq!(measured.spread(Unit::PerSecond), [2.0, 2.0]);
        assert_eq!(measured.ours(Unit::PerSecond), 500_000.0);
    }

    #[test]
    fn a_slice_is_as_long_as_planned_unless_that_is_too_many_operations() {
        let mut case = fixed();
        measure(&mut case, Pace::Slices { most: 1 << 20 }, Plan::QUICK).unwrap();
        assert_eq!(case.asked.last(), Some(&1000));
        measure(&mut case, Pace::Slices { most: 7 }, Plan::QUICK).unwrap();
        assert_eq!(case.asked.last(), Some(&7));
        case.asked.clear();
        measure(&mut case, Pace::Whole { operations: 100 }, Plan::QUICK).unwrap();
        assert_eq!(case.asked, [100; 1 + Plan::QUICK.rounds]);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }
}
