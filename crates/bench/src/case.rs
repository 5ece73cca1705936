//! [`Case`]: something of ours beside a peer, and [`Spec`]: what it is called and has to reach.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::Outcome;

/// Work that is done in two ways, by ours and by a peer.
///
/// Both run `operations` operations and return the time that these took; what prepares and tidies up is not counted.
/// Each checks what it gets: a wrong answer is an error, not a fast one.
pub trait Case {
    /// Runs ours.
    fn ours(&mut self, operations: u64) -> Outcome<Duration>;

    /// Runs the peer.
    fn peer(&mut self, operations: u64) -> Outcome<Duration>;
}

/// Makes a case of two closures, which run so many operations each.
pub fn pair<O, P>(ours: O, peer: P) -> (O, P)
where
    O: FnMut(u64) -> Outcome<Duration>,
    P: FnMut(u64) -> Outcome<Duration>,
{
    (ours, peer)
}

impl<O, P> Case for (O, P)
where
    O: FnMut(u64) -> Outcome<Duration>,
    P: FnMut(u64) -> Outcome<Duration>,
{
    fn ours(&mut self, operations: u64) -> Outcome<Duration> {
        (self.0)(operations)
    }

    fn peer(&mut self, operations: u64) -> Outcome<Duration> {
        (self.1)(operations)
    }
}

/// Runs an operation for each item and returns the time of all.
pub fn timed<T>(
    items: impl IntoIterator<Item = T>,
    mut operation: impl FnMut(T) -> Outcome<()>,
) -> Outcome<Duration> {
    let started = Instant::now();
    for item in items {
        operation(item)?;
    }
    Ok(started.elapsed())
}

/// Runs an asynchronous operation for each item, one after the other, and returns the time of all.
pub async fn timed_async<T>(
    items: impl IntoIterator<Item = T>,
    mut operation: impl AsyncFnMut(T) -> Outcome<()>,
) -> Outcome<Duration> {
    let started = Instant::now();
    for item in items {
        operation(item).await?;
    }
    Ok(started.elapsed())
}

/// Fails unless as many bytes were found as expected; `None` is a miss.
pub fn check(found: Option<usize>, expected: impl Into<Option<usize>>) -> Outcome<()> {
    let expected = expected.into();
    ensure!(found == expected, "found {found:?} bytes instead of {expected:?}");
    Ok(())
}

/// What a case is called, how it is measured, and what it has to reach.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The row's name.
    pub name: &'static str,
    /// The peer's name.
    pub peer_name: &'static str,
    /// What ours and the peer's figure are given in.
    pub unit: Unit,
    /// How many operations are measured at a time.
    pub pace: Pace,
    /// What ours has to reach.
    pub target: Target,
    /// What the row's reader has to know, above all where it flatters one side. Default: nothing.
    pub note: &'static str,
}

impl Spec {
    /// Puts a specification together.
    pub const fn new(
        name: &'static str,
        peer_name: &'static str,
        unit: Unit,
        pace: Pace,
        target: Target,
    ) -> Self {
        Self { name, peer_name, unit, pace, target, note: "" }
    }

    /// Says in the row what its reader has to know.
    #[must_use]
    pub const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

/// How many operations are measured at a time.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As many as fit into a short slice, `most` at most; many slices a round.
    Slices {
        /// The most operations of a slice.
        most: u64,
    },
    /// Like `Slices` with a tenth of the slices, for operations that take long to tidy up after, or wait for the disk.
    FewSlices {
        /// The most operations of a slice.
        most: u64,
    },
    /// So many at once, once a round.
    Whole {
        /// The operations of a round.
        operations: u64,
    },
}

impl Pace {
    /// Slices of any number of operations.
    pub const FREE: Self = Self::Slices { most: 1 << 20 };
}

/// What figures are given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds an operation.
    Micros,
    /// Operations a second.
    PerSecond,
    /// MiB a second, in operations of so many bytes.
    MegabytesPerSecond {
        /// Bytes of an operation's value.
        value_bytes: u64,
    },
    /// Something that was counted, and is given as it is.
    Counted {
        /// The unit's name.
        name: &'static str,
        /// Whether less is better.
        lower_is_better: bool,
    },
}

impl Unit {
    /// Loads.
    pub const LOADS: Self = Self::lower("loads");
    /// Bytes.
    pub const BYTES: Self = Self::lower("bytes");
    /// Bytes that were written for a byte of a value.
    pub const BYTES_A_BYTE: Self = Self::lower("bytes a byte");
    /// MiB of memory.
    pub const MEGABYTES: Self = Self::lower("MB");
    /// Milliseconds of something that happens once.
    pub const MILLIS: Self = Self::lower("ms");
    /// Space of a hundred allowed.
    pub const SPACE_PERCENT: Self = Self::lower("%");
    /// Values.
    pub const VALUES: Self = Self::lower("values");
    /// Hits of a hundred lookups, or bytes of values of a hundred bytes of the limit.
    pub const PERCENT: Self = Self::Counted { name: "%", lower_is_better: false };

    const fn lower(name: &'static str) -> Self {
        Self::Counted { name, lower_is_better: true }
    }

    /// The unit's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::PerSecond => "/s",
            Self::MegabytesPerSecond { .. } => "MB/s",
            Self::Counted { name, .. } => name,
        }
    }

    /// Whether less is better.
    pub fn lower_is_better(self) -> bool {
        match self {
            Self::Micros => true,
            Self::PerSecond | Self::MegabytesPerSecond { .. } => false,
            Self::Counted { lower_is_better, .. } => lower_is_better,
        }
    }

    /// The figure for operations of `nanos` nanoseconds each. What is counted is given as it is.
    pub fn figure(self, nanos: f64) -> f64 {
        match self {
            Self::Micros => nanos / 1e3,
            Self::PerSecond => 1e9 / nanos,
            Self::MegabytesPerSecond { value_bytes } => {
                1e9 / nanos * value_bytes as f64 / cache_core::MEGABYTE as f64
            }
            Self::Counted { .. } => nanos,
        }
    }
}

/// What ours has to reach: at most or at least this, as the [`Unit`] says which is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Ours / the peer's.
    Ratio(f64),
    /// Ours, whatever the peer does.
    Ours(f64),
    /// Ours less the peer's.
    Difference(f64),
}
