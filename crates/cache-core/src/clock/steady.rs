//! [`Steady`]: contains panics of an application's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Clock, Monotonic, Timestamp};
use crate::panics::contained;

/// Returns the last reading when the inner clock panics.
#[derive(Debug)]
pub struct Steady {
    clock: Arc<dyn Clock>,
    now: AtomicU64,
    monotonic_nanos: AtomicU64,
}

impl Steady {
    /// Wraps `clock`.
    pub fn wrap(clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        Arc::new(Self { clock, now: AtomicU64::new(0), monotonic_nanos: AtomicU64::new(0) })
    }
}

impl Clock for Steady {
    fn now(&self) -> Timestamp {
        let Some(now) = contained(|| self.clock.now()) else {
            return Timestamp(self.now.load(Ordering::Relaxed));
        };
        self.now.store(now.0, Ordering::Relaxed);
        now
    }

    fn monotonic(&self) -> Monotonic {
        let Some(now) = contained(|| self.clock.monotonic()) else {
            return Monotonic(Duration::from_nanos(self.monotonic_nanos.load(Ordering::Relaxed)));
        };
        let nanos = u64::try_from(now.0.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic_nanos.store(nanos, Ordering::Relaxed);
        now
    }

    /// Ends every lease where the inner clock panics.
    fn boot(&self) -> Monotonic {
        contained(|| self.clock.boot()).unwrap_or(Monotonic(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::clock::ManualClock;

    #[derive(Debug, Default)]
    struct Breaks {
        clock: ManualClock,
        is_broken: AtomicBool,
    }

    impl Clock for Breaks {
        fn now(&self) -> Timestamp {
            assert!(!self.is_broken.load(Ordering::Relaxed));
            self.clock.now()
        }

        fn monotonic(&self) -> Monotonic {
            assert!(!self.is_broken.load(Ordering::Relaxed));
            self.clock.monotonic()
        }
    }

    #[test]
    fn a_clock_that_panics_stands_still() {
        let inside = Arc::new(Breaks::default());
        let clock = Steady::wrap(inside.clone());
        inside.clock.advance(Duration::from_secs(7));
        let before = (clock.now(), clock.monotonic());
        assert_eq!(before, (inside.clock.now(), inside.clock.monotonic()));
        inside.is_broken.store(true, Ordering::Relaxed);
        inside.clock.advance(Duration::from_secs(7));
        assert_eq!((clock.now(), clock.monotonic()), before);
        inside.is_broken.store(false, Ordering::Relaxed);
        assert!(clock.now() > before.0);
    }
}
