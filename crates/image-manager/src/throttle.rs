//! [`Throttle`]: lines of the log that could repeat without end.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often the same line is logged at most.
const EVERY: Duration = Duration::from_mins(1);

/// Lets one of many equal lines through: the first, then one a minute with a count of the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    said: Mutex<Option<(Instant, u64)>>,
}

impl Throttle {
    /// A throttle that has let nothing through yet.
    pub(crate) const fn new() -> Self {
        Self { said: Mutex::new(None) }
    }

    /// How many lines were suppressed since the last one, if the line is to be logged now.
    pub(crate) fn speaks(&self) -> Option<u64> {
        let now = Instant::now();
        let mut said = self.said.lock();
        match &mut *said {
            Some((last, suppressed)) if now.duration_since(*last) < EVERY => {
                *suppressed += 1;
                None
            }
            other => Some(other.replace((now, 0)).map_or(0, |(_, suppressed)| suppressed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_and_its_repetitions_are_counted() {
        let throttle = Throttle::new();
        assert_eq!(throttle.speaks(), Some(0));
        assert_eq!((throttle.speaks(), throttle.speaks()), (None, None));
        assert_eq!(*throttle.said.lock().as_ref().map(|(_, suppressed)| suppressed).unwrap(), 2);
        let long_ago = Instant::now().checked_sub(EVERY).unwrap();
        *throttle.said.lock() = Some((long_ago, 2));
        assert_eq!(throttle.speaks(), Some(2));
    }
}
