//! [`Clock`]: time as a parameter. No other module of the library reads a clock.
//!
//! [`Timestamp`] is wall time, which stores keep. [`Monotonic`] never jumps and is for deadlines inside a process.
//! [`Clock::now`] joins them: from one reading to the next it advances by at least the monotonic time between them. So a
//! wall clock that is set back, even after it was set forward, cannot make an entry live longer than its TTL.

mod steady;

pub use self::steady::Steady;

use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time in milliseconds since 1970-01-01 UTC, which is also its serialized form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Makes the moment `millis` milliseconds after 1970-01-01 UTC.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Adds `duration`, rounded up to whole milliseconds; saturates at the maximum.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A reading of the monotonic clock: comparable within one process and one clock, meaningless elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The earliest reading.
    pub(crate) const BEGINNING: Self = Self(Duration::ZERO);

    /// The time from `earlier` to this reading; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Adds `duration`; saturates at the maximum.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// The reading in nanoseconds.
    pub(crate) fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A source of time.
///
/// # Contract
/// `monotonic` never goes back. `now` may jump forward with the wall clock, and is never less than any earlier reading of
/// this process plus the monotonic time since then.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall time, guarded against being set back.
    fn now(&self) -> Timestamp;

    /// Monotonic time.
    fn monotonic(&self) -> Monotonic;

    /// Monotonic time that also advances while the machine sleeps, for leases that others grant. Its readings are not
    /// comparable with those of [`monotonic`](Self::monotonic). The default is that clock, for clocks that never sleep.
    fn boot(&self) -> Monotonic {
        self.monotonic()
    }
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The first reading of this process, to which monotonic time is added.
static ORIGIN: OnceLock<(Instant, u64)> = OnceLock::new();

/// The most milliseconds by which the wall clock was ahead of `ORIGIN` plus monotonic time: `now` never loses this lead.
static LEAD: AtomicU64 = AtomicU64::new(0);

/// Returns the later of `anchored` and `wall`, at least as far ahead of `anchored` as before.
fn guarded(lead: &AtomicU64, anchored: u64, wall: u64) -> Timestamp {
    let ahead = wall.saturating_sub(anchored);
    let mut most = lead.load(Ordering::SeqCst);
    if ahead > most {
        most = lead.fetch_max(ahead, Ordering::SeqCst).max(ahead);
    }
    Timestamp(anchored.saturating_add(most))
}

fn wall_millis() -> u64 {
    // A clock set before 1970 reads as 1970; monotonic time then advances from there.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn origin() -> &'static (Instant, u64) {
    ORIGIN.get_or_init(|| (Instant::now(), wall_millis()))
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let (start, wall_at_start) = origin();
        let elapsed = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        guarded(&LEAD, wall_at_start.saturating_add(elapsed), wall_millis())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(origin().0.elapsed())
    }

    fn boot(&self) -> Monotonic {
        // `Instant` stands still while a machine running Linux sleeps, and the monotonic clock of Apple's systems does not.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        // Neither is negative in a reading of these clocks.
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Monotonic(Duration::new(seconds.unwrap_or(u64::MAX), nanos.unwrap_or(0)))
    }
}

/// A clock that only moves when it is told to, for tests of expiry without waiting.
///
/// ```
/// # mod cache_facade { pub mod backend { pub use cache_core::*; } pub use cache_core::ManualClock; }
/// use cache_facade::{ManualClock, backend::Clock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().saturating_since(before), Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    start: AtomicU64,
    elapsed: AtomicU64,
    wall_offset: AtomicI64,
    lead: AtomicU64,
}

impl ManualClock {
    /// Makes a clock that shows 2024-01-01 00:00 UTC.
    pub fn new() -> Self {
        Self {
            start: AtomicU64::new(1_704_067_200_000),
            elapsed: AtomicU64::new(0),
            wall_offset: AtomicI64::new(0),
            lead: AtomicU64::new(0),
        }
    }

    /// Advances wall time and monotonic time by `duration`, in whole milliseconds.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.elapsed.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock forward (positive) or back (negative); monotonic time does not move.
    pub fn jump_wall(&self, millis: i64) {
        // Read before and after, so that `now` takes every reading of the wall clock into account.
        self.now();
        self.wall_offset.fetch_add(millis, Ordering::SeqCst);
        self.now();
    }

    /// Continues as the clock of a new process, which only knows the wall time at its start.
    ///
    /// For tests of stores that were written before the wall clock was set back. The clock must not be used elsewhere
    /// during the call.
    pub fn restart(&self) {
        let offset = self.wall_offset.swap(0, Ordering::SeqCst);
        let start = self.start.load(Ordering::SeqCst);
        self.start.store(start.saturating_add_signed(offset), Ordering::SeqCst);
        self.lead.store(0, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let anchored = self.start.load(Ordering::SeqCst).saturating_add(self.elapsed.load(Ordering::SeqCst));
        let wall = anchored.saturating_add_signed(self.wall_offset.load(Ordering::SeqCst));
        guarded(&self.lead, anchored, wall)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(Duration::from_millis(self.elapsed.load(Ordering::SeqCst)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_YEARS: i64 = 10 * 365 * 86_400_000;

    #[test]
    fn a_wall_clock_set_back_does_not_take_time_back() {
        let clock = ManualClock::new();
        let before = clock.now();
        clock.jump_wall(-TEN_YEARS);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().saturating_since(before), Duration::from_secs(1));
    }

    #[test]
    fn a_wall_clock_set_forward_moves_now_forward() {
        let clock = ManualClock::new();
        let before = clock.now();
        clock.jump_wall(TEN_YEARS);
        assert!(clock.now().saturating_since(before) >= Duration::from_secs(80_000 * 3600));
    }

    #[test]
    fn a_wall_clock_set_forward_and_back_again_does_not_take_time_back() {
        let clock = ManualClock::new();
        clock.jump_wall(TEN_YEARS);
        let ahead = clock.now();
        clock.jump_wall(-TEN_YEARS);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().saturating_since(ahead), Duration::from_secs(1));
    }

    #[test]
    fn a_new_process_starts_from_the_wall_clock() {
        let clock = ManualClock::new();
        let before = clock.now();
        clock.advance(Duration::from_secs(60));
        clock.jump_wall(-60_000);
        clock.restart();
        assert_eq!(clock.now(), before);
    }

    #[test]
    fn adding_the_longest_duration_saturates() {
        assert_eq!(Timestamp::from_millis(5).saturating_add(Duration::MAX).as_millis(), u64::MAX);
    }

    #[test]
    fn the_system_clock_never_runs_back() {
        let (now, monotonic) = (SystemClock.now(), SystemClock.monotonic());
        assert!(SystemClock.now() >= now && SystemClock.monotonic() >= monotonic);
    }
}
