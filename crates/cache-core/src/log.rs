//! Emits log events: contains panics of the subscriber and limits the rate of repeated events.
//!
//! Every event of the product is emitted by the macros of this module, which take fields and a message as tracing's do. A
//! subscriber may panic: tracing-subscriber does when it can write neither to its writer nor to the standard error. Such a panic must
//! not skip the rest of a critical section.
//!
//! With `limit: subject` first, a macro emits its event at most once a minute for its place in the code and the subject,
//! with the field `suppressed` for the events between, and returns whether it was emitted.
//!
//! No event is emitted under a lock that reading, filling, invalidating or the cache's health takes: a subscriber may do these.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use crate::clock::{Clock, Monotonic, SystemClock};
use crate::panics::contained;

/// The shortest time between two events of one place and subject.
const QUIET: Duration = Duration::from_secs(60);

/// Limits that are kept at most, one for each place and subject.
const MOST: usize = 512;

#[doc(hidden)]
pub use tracing;

pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};

#[doc(hidden)]
#[macro_export]
macro_rules! __event {
    ($level:ident, limit: $subject:expr, $($event:tt)+) => {
        $crate::log::limited($subject, |suppressed| {
            $crate::log::tracing::$level!(suppressed, $($event)+);
        })
    };
    ($level:ident, $($event:tt)+) => {
        $crate::log::emit(|| {
            $crate::log::tracing::$level!($($event)+);
        })
    };
}

// One by one: a macro that another macro exports cannot be named by its path in this crate (rust-lang/rust#52234).

/// Emits an event of this level; see the [module](crate::log).
#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($event:tt)+) => { $crate::__event!(trace, $($event)+) };
}

/// Emits an event of this level; see the [module](crate::log).
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($event:tt)+) => { $crate::__event!(debug, $($event)+) };
}

/// Emits an event of this level; see the [module](crate::log).
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($event:tt)+) => { $crate::__event!(info, $($event)+) };
}

/// Emits an event of this level; see the [module](crate::log).
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($event:tt)+) => { $crate::__event!(warn, $($event)+) };
}

/// Emits an event of this level; see the [module](crate::log).
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($event:tt)+) => { $crate::__event!(error, $($event)+) };
}

static LIMITS: LazyLock<Mutex<Limits>> = LazyLock::new(Mutex::default);

/// Calls `event`, which emits one event, and contains its panic.
#[inline]
pub fn emit(event: impl FnOnce()) {
    contained(event);
}

/// Emits an event at most once a minute for this place in the code and this `subject`. `event` gets the number of events
/// suppressed since the last one. Returns whether the event was emitted.
#[track_caller]
pub fn limited(subject: impl Hash, event: impl FnOnce(u64)) -> bool {
    let admitted = admitted(subject);
    if let Some(suppressed) = admitted {
        emit(|| event(suppressed));
    }
    admitted.is_some()
}

/// Returns the number of events suppressed since the last one of this place and `subject`, if another may be emitted now:
/// for callers that decide under a lock, and emit the event without it.
#[track_caller]
pub fn admitted(subject: impl Hash) -> Option<u64> {
    let place = Location::caller();
    let (mut of_place, mut of_subject) = (XxHash3_64::new(), XxHash3_64::new());
    place.hash(&mut of_place);
    (place, subject).hash(&mut of_subject);
    LIMITS.lock().admits(of_subject.finish(), of_place.finish(), SystemClock.monotonic())
}

#[derive(Debug, Default)]
struct Limits(HashMap<u64, Limit>);

#[derive(Debug)]
struct Limit {
    emitted: Monotonic,
    suppressed: u64,
}

impl Limits {
    /// Returns how many events were suppressed before this one, if it may be emitted `now`. Subjects past the first 512 of
    /// a minute share the limit of their place.
    fn admits(&mut self, subject: u64, place: u64, now: Monotonic) -> Option<u64> {
        let Self(limits) = self;
        let is_over = |limit: &Limit| now.saturating_since(limit.emitted) >= QUIET;
        let mut limited_by = subject;
        if !limits.contains_key(&limited_by) && limits.len() >= MOST {
            limits.retain(|_, limit| !is_over(limit));
            if limits.len() >= MOST {
                limited_by = place;
            }
        }
        match limits.get_mut(&limited_by) {
            Some(limit) if !is_over(limit) => {
                limit.suppressed += 1;
                None
            }
            Some(limit) => {
                limit.emitted = now;
                Some(std::mem::take(&mut limit.suppressed))
            }
            None => {
                limits.insert(limited_by, Limit { emitted: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        SystemClock.monotonic().saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn an_event_is_emitted_at_once_and_then_once_a_minute_with_a_count() {
        let mut limits = Limits::default();
        let start = at(0);
        let after = |seconds| start.saturating_add(Duration::from_secs(seconds));
        assert_eq!(limits.admits(1, 0, after(0)), Some(0));
        assert!((1..60).all(|second| limits.admits(1, 0, after(second)).is_none()));
        assert_eq!(limits.admits(2, 0, after(30)), Some(0), "another subject");
        assert_eq!(limits.admits(1, 0, after(60)), Some(59));
        assert_eq!(limits.admits(1, 0, after(61)), None);
    }

    #[test]
    fn the_number_of_limits_is_bounded_and_further_subjects_share_one() {
        let mut limits = Limits::default();
        let start = at(0);
        let emitted = (0..100_000).filter(|subject| limits.admits(*subject, u64::MAX, start).is_some());
        assert_eq!(emitted.count(), MOST + 1);
        assert_eq!(limits.0.len(), MOST + 1);
        assert_eq!(limits.admits(7, u64::MAX, start.saturating_add(QUIET)), Some(0));
    }

    #[test]
    fn each_place_in_the_code_has_a_limit_of_its_own_for_each_subject() {
        let mut emitted = 0;
        for subject in ["one", "two", "one"] {
            limited(subject, |_| emitted += 1);
        }
        limited("one", |_| emitted += 1);
        assert_eq!(emitted, 3);
    }

    #[test]
    fn a_panic_of_the_subscriber_does_not_reach_the_caller() {
        emit(|| panic!("failed printing to stderr"));
        limited("a broken log", |_| panic!("failed printing to stderr"));
    }
}
