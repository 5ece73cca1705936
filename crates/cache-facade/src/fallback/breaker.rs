//! [`CircuitBreaker`]: to which zones of a store calls may go. A state machine without a clock or a task.

use std::collections::VecDeque;
use std::time::Duration;

use cache_core::{BreakerState, Error, ErrorKind, Monotonic};

use crate::durability::zones::{Zone, ZoneSet};

/// This many time-outs within [`WINDOW`] put their zones in doubt: a single one may be chance.
const TIMEOUTS: usize = 3;
const WINDOW: Duration = Duration::from_secs(1);
/// How long time-outs are ignored after a successful probe: probes of a busy store must not add to its load.
const REPRIEVE: Duration = Duration::from_millis(250);

/// The shortest and the longest wait before a probe.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(50);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A store that fails again within this time after its recovery is probed less and less often.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The store is away, or may not be used.
    Fatal,
    /// The call timed out.
    Timeout,
}

impl Failure {
    /// Classifies `error`; `None` for an error of the call itself, or one that a working store returns.
    pub(super) fn of(error: &Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::Timeout => Some(Self::Timeout),
            ErrorKind::Unavailable | ErrorKind::Configuration | ErrorKind::Io | ErrorKind::Closed => {
                Some(Self::Fatal)
            }
            // A full server still reads and removes; a failed fill costs one load.
            _ => None,
        }
    }
}

/// A breaker for each zone: closed, open, or half open during a probe. The zones that are not closed are probed together, so
/// that they share the waits between probes.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    all: ZoneSet,
    /// The zones that are not closed.
    away: ZoneSet,
    /// The zones that are away, are being probed, and have not failed since that began.
    half_open: ZoneSet,
    /// The half open zones whose servers have answered the probe.
    recovering: ZoneSet,
    timeouts: VecDeque<(Monotonic, ZoneSet)>,
    /// The closed zones for which a probe has to tell whether they are away or busy.
    in_doubt: ZoneSet,
    cleared_at: Option<Monotonic>,
    /// Rounds of probes since the store was last stable.
    rounds: u32,
    closed_at: Option<Monotonic>,
    /// How many times zones were lost, and the number of the last time for each zone.
    losses: u64,
    last_loss: [u64; Zone::COUNT as usize],
}

impl CircuitBreaker {
    /// Creates a breaker that is open for all zones: the store was not reached yet.
    pub(super) fn open() -> Self {
        Self {
            all: ZoneSet::ALL,
            away: ZoneSet::ALL,
            half_open: ZoneSet::EMPTY,
            recovering: ZoneSet::EMPTY,
            timeouts: VecDeque::new(),
            in_doubt: ZoneSet::EMPTY,
            cleared_at: None,
            rounds: 0,
            closed_at: None,
            losses: 0,
            last_loss: [0; Zone::COUNT as usize],
        }
    }

    /// Sets the zones of the store, which are known once it was reached.
    pub(super) fn set_zones(&mut self, all: ZoneSet) {
        self.all = all;
        self.away = self.away & all;
        self.half_open = self.half_open & all;
    }

    /// All zones of the store; before it was reached, all that there can be.
    pub(super) fn all(&self) -> ZoneSet {
        self.all
    }

    /// The zones that are not in use.
    pub(super) fn away(&self) -> ZoneSet {
        self.away
    }

    /// The zones that are not in use, and whose servers have answered the probe and have not failed since.
    pub(super) fn recovering(&self) -> ZoneSet {
        self.recovering
    }

    /// The zones of which so many calls timed out that a probe has to tell whether they are away.
    pub(super) fn in_doubt(&self) -> ZoneSet {
        self.in_doubt
    }

    /// The state of the whole: closed if every zone is, and half open if any zone is.
    pub(super) fn state(&self) -> BreakerState {
        if self.away.is_empty() {
            BreakerState::Closed
        } else if self.half_open.is_empty() {
            BreakerState::Open
        } else {
            BreakerState::HalfOpen
        }
    }

    /// How many times zones were lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }

    /// Whether any of `zones` was lost since there were this many `losses`.
    pub(super) fn was_lost_since(&self, losses: u64, zones: ZoneSet) -> bool {
        zones.iter().any(|zone| self.last_loss.get(zone.number()).is_some_and(|last| *last > losses))
    }

    /// Notes a successful probe at `now`: `zones` are busy, not away.
    pub(super) fn clear_doubt(&mut self, zones: ZoneSet, now: Monotonic) {
        self.timeouts.clear();
        self.in_doubt -= zones;
        self.cleared_at = Some(now);
    }

    /// Puts those of `zones` that are in use in doubt.
    pub(super) fn doubt(&mut self, zones: ZoneSet) {
        self.in_doubt |= (zones & self.all) - self.away;
    }

    /// Notes that a call timed out at `now`, which went to servers of `zones`. Time-outs alone put zones in doubt.
    pub(super) fn timed_out(&mut self, zones: ZoneSet, now: Monotonic) {
        let is_reprieved = self.cleared_at.is_some_and(|at| now.saturating_since(at) < REPRIEVE);
        let closed = zones - self.away - self.in_doubt;
        if closed.is_empty() || is_reprieved {
            return;
        }
        self.timeouts.retain(|(at, _)| now.saturating_since(*at) < WINDOW);
        self.timeouts.push_back((now, closed));
        if self.timeouts.len() >= TIMEOUTS {
            let timed_out = self.timeouts.drain(..).map(|(_, zones)| zones).collect();
            self.doubt(timed_out);
        }
    }

    /// Opens the breaker of `zones` at `now`, and returns those for which it was not open before.
    pub(super) fn lose(&mut self, zones: ZoneSet, now: Monotonic) -> ZoneSet {
        let zones = zones & self.all;
        let closed = zones - self.away;
        let opened = closed | (zones & self.half_open);
        self.half_open -= zones;
        self.recovering -= zones;
        if closed.is_empty() {
            return opened;
        }
        self.timeouts.clear();
        self.in_doubt -= closed;
        self.away |= closed;
        self.losses += 1;
        for zone in closed.iter() {
            if let Some(last) = self.last_loss.get_mut(zone.number()) {
                *last = self.losses;
            }
        }
        if self.closed_at.is_none_or(|at| now.saturating_since(at) >= STABLE_AFTER) {
            self.rounds = 0;
        }
        opened
    }

    /// Returns the time until the next probe; `random` from 0 to 1 spreads instances that lost the store together.
    pub(super) fn wait(&self, random: f64) -> Duration {
        let longest = SHORTEST_WAIT.saturating_mul(2_u32.saturating_pow(self.rounds)).min(LONGEST_WAIT);
        longest.mul_f64(random.clamp(0.0, 1.0).mul_add(0.5, 0.5)).max(SHORTEST_WAIT)
    }

    /// Notes that a round of probes begins, of all zones that are away.
    pub(super) fn probe_begins(&mut self) {
        self.half_open = self.away;
    }

    /// Notes that the servers of `zones` have answered the probe.
    pub(super) fn probed(&mut self, zones: ZoneSet) {
        self.recovering = zones & self.half_open;
    }

    /// Closes the breaker of those of `zones` that are recovering, and returns them.
    pub(super) fn close(&mut self, zones: ZoneSet, now: Monotonic) -> ZoneSet {
        let closed = zones & self.recovering;
        if !closed.is_empty() {
            self.away -= closed;
            self.half_open -= closed;
            self.recovering -= closed;
            self.closed_at = Some(now);
        }
        closed
    }

    /// Notes that a round of probes has ended. The next ones wait longer, also if zones fail again soon after it.
    pub(super) fn round_ended(&mut self) {
        self.half_open = ZoneSet::EMPTY;
        self.recovering = ZoneSet::EMPTY;
        self.rounds = self.rounds.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{Clock, ManualClock};

    use super::*;

    fn zones<const N: usize>(numbers: [u8; N]) -> ZoneSet {
        numbers.into_iter().map(Zone::new).collect()
    }

    fn closed(clock: &ManualClock) -> CircuitBreaker {
        let mut breaker = CircuitBreaker::open();
        returns(&mut breaker, ZoneSet::ALL, clock);
        breaker
    }

    /// Makes a round of probes that `zones` answer.
    fn returns(breaker: &mut CircuitBreaker, zones: ZoneSet, clock: &ManualClock) {
        breaker.probe_begins();
        breaker.probed(zones);
        breaker.close(ZoneSet::ALL, clock.monotonic());
        breaker.round_ended();
    }

    #[test]
    fn a_failure_opens_it_at_once_for_its_zones_and_only_the_first_one_does() {
        let clock = ManualClock::new();
        let mut breaker = closed(&clock);
        assert_eq!(breaker.lose(zones([1, 2]), clock.monotonic()), zones([1, 2]));
        assert_eq!((breaker.state(), breaker.away()), (BreakerState::Open, zones([1, 2])));
        assert_eq!(breaker.lose(zones([2, 3]), clock.monotonic()), zones([3]));
        returns(&mut breaker, zones([1, 3]), &clock);
        assert_eq!(breaker.away(), zones([2]));
        returns(&mut breaker, ZoneSet::ALL, &clock);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn three_time_outs_within_a_second_raise_doubt_and_three_over_a_longer_time_do_not() {
        let clock = ManualClock::new();
        let mut breaker = closed(&clock);
        let time_out = |zone, breaker: &mut CircuitBreaker, then: u64| {
            breaker.timed_out(zones([zone]), clock.monotonic());
            clock.advance(Duration::from_millis(then));
            breaker.in_doubt()
        };
        for _ in 0..20 {
            assert!(time_out(1, &mut breaker, 500).is_empty());
        }
        time_out(1, &mut breaker, 1000);
        assert!(time_out(1, &mut breaker, 499).is_empty());
        assert!(time_out(2, &mut breaker, 499).is_empty());
        assert_eq!(time_out(1, &mut breaker, 0), zones([1, 2]), "a server holds many zones");
        assert_eq!(breaker.state(), BreakerState::Closed, "a probe decides");
        breaker.lose(zones([1]), clock.monotonic());
        assert_eq!(breaker.in_doubt(), zones([2]));
    }

    #[test]
    fn a_successful_probe_clears_the_doubt_for_a_while() {
        let clock = ManualClock::new();
        let mut breaker = closed(&clock);
        let time_out = |breaker: &mut CircuitBreaker| {
            (0..3).for_each(|_| breaker.timed_out(zones([1]), clock.monotonic()));
            !breaker.in_doubt().is_empty()
        };
        assert!(time_out(&mut breaker));
        breaker.clear_doubt(zones([1]), clock.monotonic());
        assert!(!time_out(&mut breaker), "they began before the probe");
        clock.advance(REPRIEVE);
        assert!(time_out(&mut breaker));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn it_closes_only_after_a_probe_without_another_failure() {
        let clock = ManualClock::new();
        let mut breaker = CircuitBreaker::open();
        assert!(breaker.close(ZoneSet::ALL, clock.monotonic()).is_empty());
        breaker.probe_begins();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.lose(zones([1]), clock.monotonic()), zones([1]));
        breaker.probed(ZoneSet::ALL);
        assert_eq!(breaker.lose(zones([2]), clock.monotonic()), zones([2]));
        assert_eq!(breaker.close(ZoneSet::ALL, clock.monotonic()), ZoneSet::ALL - zones([1, 2]));
        assert_eq!(breaker.away(), zones([1, 2]));
    }

    #[test]
    fn probes_wait_from_50_ms_to_2_s_and_longer_each_time() {
        let mut breaker = CircuitBreaker::open();
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(breaker.wait(1.0));
            breaker.probe_begins();
            breaker.round_ended();
        }
        assert_eq!((waits[0], waits[1], waits[11]), (SHORTEST_WAIT, SHORTEST_WAIT * 2, LONGEST_WAIT));
        assert!(waits.is_sorted());
        for random in [0.0, 0.3, 1.0] {
            assert!((SHORTEST_WAIT..=LONGEST_WAIT).contains(&breaker.wait(random)));
        }
        assert_eq!(breaker.wait(0.0), LONGEST_WAIT / 2);
    }

    #[test]
    fn a_store_that_fails_again_soon_is_probed_less_often_and_a_stable_one_at_once() {
        let clock = ManualClock::new();
        let mut breaker = closed(&clock);
        for _ in 0..4 {
            breaker.lose(zones([1]), clock.monotonic());
            returns(&mut breaker, ZoneSet::ALL, &clock);
        }
        breaker.lose(zones([1]), clock.monotonic());
        assert!(breaker.wait(1.0) > SHORTEST_WAIT * 8);
        returns(&mut breaker, ZoneSet::ALL, &clock);
        clock.advance(STABLE_AFTER);
        breaker.lose(zones([1]), clock.monotonic());
        assert_eq!(breaker.wait(1.0), SHORTEST_WAIT);
    }

    #[test]
    fn a_call_from_before_a_loss_is_told_from_one_after_it() {
        let clock = ManualClock::new();
        let mut breaker = closed(&clock);
        let before = breaker.losses();
        breaker.lose(zones([1]), clock.monotonic());
        assert!(breaker.was_lost_since(before, zones([1, 2])) && !breaker.was_lost_since(before, zones([2])));
        assert!(!breaker.was_lost_since(breaker.losses(), zones([1, 2])));
    }

    /// Random orders of events: a zone is closed only by a successful `close`, and `lose` tells what opened it.
    #[test]
    fn in_every_order_of_events_only_a_probe_closes_it() {
        let clock = ManualClock::new();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut breaker = CircuitBreaker::open();
        for _ in 0..200_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            clock.advance(Duration::from_millis(random >> 55));
            let number = |shift: u64| u8::try_from((random >> shift) & 63).unwrap();
            let some = zones([number(8), number(16), number(24)]);
            let (away, half_open, recovering) = (breaker.away, breaker.half_open, breaker.recovering);
            let now = clock.monotonic();
            match random % 7 {
                0 => {
                    let opened = breaker.lose(some, now);
                    assert_eq!(opened, some - (away - half_open));
                    assert_eq!(breaker.away, away | some);
                    assert!(!breaker.half_open.meets(some));
                }
                1 => breaker.timed_out(some, now),
                2 => breaker.probe_begins(),
                3 => breaker.probed(some),
                4 => breaker.clear_doubt(some, now),
                5 => breaker.round_ended(),
                _ => {
                    assert_eq!(breaker.close(some, now), some & recovering);
                    assert_eq!(breaker.away, away - (some & recovering));
                }
            }
            assert!(breaker.away.covers(breaker.half_open) && breaker.half_open.covers(breaker.recovering));
            assert!(!breaker.in_doubt.meets(breaker.away));
            assert!(matches!(random % 7, 0 | 6) || breaker.away == away);
        }
    }
}
