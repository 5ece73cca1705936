//! [`CircuitBreaker`]: whether calls may go to a store that may be away. A state machine without a clock or a task.

use std::collections::VecDeque;
use std::time::Duration;

use cache_core::{BreakerState, Error, ErrorKind, Monotonic};

/// This many time-outs within [`WINDOW`] put the store in doubt: a single one may be chance.
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

/// Closed, open, or half open during a probe.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    state: BreakerState,
    timeouts: VecDeque<Monotonic>,
    /// Whether too many calls timed out: a probe has to tell whether the store is away or busy.
    is_in_doubt: bool,
    cleared_at: Option<Monotonic>,
    /// Probes that failed since the store was last stable.
    failed_probes: u32,
    closed_at: Option<Monotonic>,
}

impl CircuitBreaker {
    /// Creates an open breaker: the store was not reached yet.
    pub(super) fn open() -> Self {
        Self {
            state: BreakerState::Open,
            timeouts: VecDeque::new(),
            is_in_doubt: false,
            cleared_at: None,
            failed_probes: 0,
            closed_at: None,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether so many calls timed out that a probe has to tell whether the store is away.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// Notes a successful probe at `now`: the store is busy, not away.
    pub(super) fn clear_doubt(&mut self, now: Monotonic) {
        self.timeouts.clear();
        self.is_in_doubt = false;
        self.cleared_at = Some(now);
    }

    /// Notes that a call failed at `now`, and returns whether that opened the breaker. Time-outs alone do not: they put the
    /// store in doubt.
    pub(super) fn failed(&mut self, failure: Failure, now: Monotonic) -> bool {
        match self.state {
            BreakerState::Open => return false,
            BreakerState::HalfOpen => {
                self.probe_failed();
                return true;
            }
            BreakerState::Closed => {}
        }
        if failure == Failure::Timeout {
            let is_reprieved = self.cleared_at.is_some_and(|at| now.saturating_since(at) < REPRIEVE);
            if !self.is_in_doubt && !is_reprieved {
                self.timeouts.retain(|at| now.saturating_since(*at) < WINDOW);
                self.timeouts.push_back(now);
                self.is_in_doubt = self.timeouts.len() >= TIMEOUTS;
            }
            return false;
        }
        self.timeouts.clear();
        self.is_in_doubt = false;
        self.state = BreakerState::Open;
        if self.closed_at.is_none_or(|at| now.saturating_since(at) >= STABLE_AFTER) {
            self.failed_probes = 0;
        }
        true
    }

    /// Returns the time until the next probe; `random` from 0 to 1 spreads instances that lost the store together.
    pub(super) fn wait(&self, random: f64) -> Duration {
        let longest =
            SHORTEST_WAIT.saturating_mul(2_u32.saturating_pow(self.failed_probes)).min(LONGEST_WAIT);
        longest.mul_f64(random.clamp(0.0, 1.0).mul_add(0.5, 0.5)).max(SHORTEST_WAIT)
    }

    /// Notes that a probe begins, unless the breaker is closed.
    pub(super) fn probe_begins(&mut self) {
        if self.state == BreakerState::Open {
            self.state = BreakerState::HalfOpen;
        }
    }

    /// Notes that the probe failed, or what was sent after it.
    pub(super) fn probe_failed(&mut self) {
        if self.state == BreakerState::HalfOpen {
            self.state = BreakerState::Open;
            self.failed_probes = self.failed_probes.saturating_add(1);
        }
    }

    /// Closes the breaker after a successful probe; returns `false` if a call failed since the probe began.
    pub(super) fn close(&mut self, now: Monotonic) -> bool {
        if self.state != BreakerState::HalfOpen {
            return false;
        }
        self.state = BreakerState::Closed;
        self.closed_at = Some(now);
        // If it fails again soon, the waits go on where they were.
        self.failed_probes = self.failed_probes.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{Clock, ManualClock};

    use super::*;

    fn closed(clock: &ManualClock) -> CircuitBreaker {
        let mut breaker = CircuitBreaker::open();
        breaker.probe_begins();
        assert!(breaker.close(clock.monotonic()));
        breaker
    }

    #[test]
    fn a_fatal_failure_opens_it_at_once_and_only_the_first_one_does() {
        let clock = ManualClock::new();
        let mut breaker = closed(&clock);
        assert!(breaker.failed(Failure::Fatal, clock.monotonic()));
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(!breaker.failed(Failure::Fatal, clock.monotonic()));
    }

    #[test]
    fn three_time_outs_within_a_second_raise_doubt_and_three_over_a_longer_time_do_not() {
        let clock = ManualClock::new();
        let mut breaker = closed(&clock);
        for _ in 0..20 {
            assert!(!breaker.failed(Failure::Timeout, clock.monotonic()) && !breaker.is_in_doubt());
            clock.advance(Duration::from_millis(500));
        }
        clock.advance(Duration::from_secs(1));
        assert!(!breaker.failed(Failure::Timeout, clock.monotonic()));
        clock.advance(Duration::from_millis(499));
        assert!(!breaker.failed(Failure::Timeout, clock.monotonic()) && !breaker.is_in_doubt());
        clock.advance(Duration::from_millis(499));
        assert!(!breaker.failed(Failure::Timeout, clock.monotonic()) && breaker.is_in_doubt());
        assert_eq!(breaker.state(), BreakerState::Closed, "a probe decides");
        assert!(breaker.failed(Failure::Fatal, clock.monotonic()) && !breaker.is_in_doubt());
    }

    #[test]
    fn a_successful_probe_clears_the_doubt_for_a_while() {
        let clock = ManualClock::new();
        let mut breaker = closed(&clock);
        let time_out = |breaker: &mut CircuitBreaker| {
            (0..3).for_each(|_| assert!(!breaker.failed(Failure::Timeout, clock.monotonic())));
            breaker.is_in_doubt()
        };
        assert!(time_out(&mut breaker));
        breaker.clear_doubt(clock.monotonic());
        assert!(!time_out(&mut breaker), "they began before the probe");
        clock.advance(REPRIEVE);
        assert!(time_out(&mut breaker));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn it_closes_only_after_a_probe_without_another_failure() {
        let clock = ManualClock::new();
        let mut breaker = CircuitBreaker::open();
        assert!(!breaker.close(clock.monotonic()));
        breaker.probe_begins();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.failed(Failure::Timeout, clock.monotonic()));
        assert!(!breaker.close(clock.monotonic()));
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn probes_wait_from_50_ms_to_2_s_and_longer_each_time() {
        let mut breaker = CircuitBreaker::open();
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(breaker.wait(1.0));
            breaker.probe_begins();
            breaker.probe_failed();
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
            breaker.failed(Failure::Fatal, clock.monotonic());
            breaker.probe_begins();
            breaker.close(clock.monotonic());
        }
        breaker.failed(Failure::Fatal, clock.monotonic());
        assert!(breaker.wait(1.0) > SHORTEST_WAIT * 8);
        breaker.probe_begins();
        breaker.close(clock.monotonic());
        clock.advance(STABLE_AFTER);
        breaker.failed(Failure::Fatal, clock.monotonic());
        assert_eq!(breaker.wait(1.0), SHORTEST_WAIT);
    }

    /// Random orders of events: the breaker is closed only after a successful `close`, and `failed` tells what opened it.
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
            let (before, now) = (breaker.state(), clock.monotonic());
            match random % 5 {
                0 => {
                    let opened = breaker.failed(Failure::Fatal, now);
                    assert_eq!(opened, before != BreakerState::Open);
                    assert_eq!(breaker.state(), BreakerState::Open);
                }
                1 => {
                    let opened = breaker.failed(Failure::Timeout, now);
                    assert_eq!(opened, before != BreakerState::Open && breaker.state() == BreakerState::Open);
                    assert!(!opened || before == BreakerState::HalfOpen);
                    assert!(!breaker.is_in_doubt() || breaker.state() == BreakerState::Closed);
                }
                2 => {
                    breaker.probe_begins();
                    assert_eq!(breaker.state() == BreakerState::Closed, before == BreakerState::Closed);
                }
                3 => {
                    breaker.probe_failed();
                    assert_eq!(breaker.state() == BreakerState::Closed, before == BreakerState::Closed);
                }
                _ => {
                    assert_eq!(breaker.close(now), before == BreakerState::HalfOpen);
                    assert_eq!(breaker.state() == BreakerState::Closed, before != BreakerState::Open);
                }
            }
        }
    }
}
