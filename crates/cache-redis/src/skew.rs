//! How far this machine's clock is from the server's: values with a time limit are misses to instances whose clocks differ
//! by more than [`CLOCK_TOLERANCE`] from the one that stored them.

use std::time::Duration;

use cache_core::{CLOCK_TOLERANCE, Timestamp};

/// What to do about it.
pub(crate) const ADVICE: &str = "let NTP set the clocks of this machine and of all other instances (timedatectl, chronyc \
                                 tracking): with clocks more than 5 s apart they do not read each other's values that have a time limit";

/// What is wrong with the clock of this machine, where the server said `server` between `asked` and `answered` here.
/// Nothing is wrong up to half the tolerance: then no two instances are further apart than it.
pub(crate) fn problem(asked: Timestamp, server: Timestamp, answered: Timestamp) -> Option<String> {
    let (ahead, behind) = (asked.saturating_since(server), server.saturating_since(answered));
    let (by, is) = if behind.is_zero() { (ahead, "ahead of") } else { (behind, "behind") };
    is_too_much(by)
        .then(|| format!("the clock of this machine is {:.1} s {is} the server's", by.as_secs_f64()))
}

fn is_too_much(by: Duration) -> bool {
    2 * by > CLOCK_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_from_half_the_tolerance_on_whatever_the_way_took() {
        let at = Timestamp::from_millis;
        assert_eq!(problem(at(10_000), at(10_050), at(10_100)), None);
        assert_eq!(problem(at(10_000), at(7_500), at(10_100)), None);
        assert_eq!(problem(at(10_000), at(12_600), at(10_100)), None);
        let ahead = problem(at(10_000), at(2_700), at(10_100)).unwrap();
        assert_eq!(ahead, "the clock of this machine is 7.3 s ahead of the server's");
        let behind = problem(at(10_000), at(70_100), at(10_100)).unwrap();
        assert_eq!(behind, "the clock of this machine is 60.0 s behind the server's");
    }
}
