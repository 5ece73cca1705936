//! Clock skew between this machine and the server. Instances whose clocks differ by more than [`CLOCK_TOLERANCE`] do not
//! read each other's values that expire.

use cache_core::{CLOCK_TOLERANCE, Timestamp};

/// What an operator should do about a skew.
pub(crate) const ADVICE: &str = "let NTP set the clocks of this machine and of all other instances (timedatectl, chronyc \
                                 tracking): with clocks more than 5 s apart they do not read each other's values that have a time limit";

/// Describes the skew if the server's clock said `server` between `asked` and `answered` on this machine.
pub(crate) fn problem(asked: Timestamp, server: Timestamp, answered: Timestamp) -> Option<String> {
    let (ahead, behind) = (asked.saturating_since(server), server.saturating_since(answered));
    let (by, is) = if behind.is_zero() { (ahead, "ahead of") } else { (behind, "behind") };
    // Half the tolerance for each of two instances.
    let is_too_much = 2 * by > CLOCK_TOLERANCE;
    is_too_much.then(|| format!("the clock of this machine is {:.1} s {is} the server's", by.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skew_over_half_the_tolerance_is_reported_whatever_the_round_trip_took() {
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
