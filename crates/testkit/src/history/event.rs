//! The events of a history, each a line of text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Reads the machine's monotonic clock, which all its processes share.
pub fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), nanos)
}

/// The processes that an acknowledged invalidation covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All processes: it was applied to the shared store.
    Everybody,
    /// Its own process; all others once that has caught up.
    Itself,
}

/// The source of a value that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The shared store.
    Shared,
    /// The process's own store, while the shared one was unreachable.
    Own,
    /// The process's memory in front of the shared store.
    Memory,
    /// A load for this read, or for one that it joined.
    Loaded,
}

/// One read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The row that was read.
    pub row: u32,
    /// The row whose value came back.
    pub found: u32,
    /// The version that came back.
    pub version: u64,
    /// When the read started.
    pub start: Duration,
    /// When it returned.
    pub end: Duration,
    /// The source of the value.
    pub source: Source,
}

/// An event of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A write is about to start. Noted **before** it: a process that is killed in between may have written the version.
    Writes {
        /// The row.
        row: u32,
        /// Its new version.
        version: u64,
        /// The time of the event.
        at: Duration,
    },
    /// An invalidation of `row` returned with success, after `version` had been written.
    Invalidated {
        /// The row.
        row: u32,
        /// The version, or a later one, that later reads must return.
        version: u64,
        /// The time at which it returned.
        at: Duration,
        /// The processes that it covers.
        reach: Reach,
    },
    /// A read returned.
    Read(Read),
    /// Every earlier invalidation of this process is applied to the shared store.
    CaughtUp {
        /// The time of the event.
        at: Duration,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writes { row, version, at } => write!(f, "writes {row} {version} {}", at.as_nanos()),
            Self::Invalidated { row, version, at, reach } => {
                let reach = match reach {
                    Reach::Everybody => "everybody",
                    Reach::Itself => "itself",
                };
                write!(f, "invalidated {row} {version} {} {reach}", at.as_nanos())
            }
            Self::Read(Read { row, found, version, start, end, source }) => {
                let source = match source {
                    Source::Shared => "shared",
                    Source::Own => "own",
                    Source::Memory => "memory",
                    Source::Loaded => "loaded",
                };
                write!(f, "read {row} {found} {version} {} {} {source}", start.as_nanos(), end.as_nanos())
            }
            Self::CaughtUp { at } => write!(f, "caught-up {}", at.as_nanos()),
        }
    }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split(' ');
        let event = match words.next() {
            Some("writes") => Self::Writes {
                row: number(words.next())?,
                version: number(words.next())?,
                at: time(words.next())?,
            },
            Some("invalidated") => Self::Invalidated {
                row: number(words.next())?,
                version: number(words.next())?,
                at: time(words.next())?,
                reach: match words.next() {
                    Some("everybody") => Reach::Everybody,
                    Some("itself") => Reach::Itself,
                    other => return Err(format!("{other:?} is not a reach: {line}")),
                },
            },
            Some("read") => Self::Read(Read {
                row: number(words.next())?,
                found: number(words.next())?,
                version: number(words.next())?,
                start: time(words.next())?,
                end: time(words.next())?,
                source: match words.next() {
                    Some("shared") => Source::Shared,
                    Some("own") => Source::Own,
                    Some("memory") => Source::Memory,
                    Some("loaded") => Source::Loaded,
                    other => return Err(format!("{other:?} is not a source: {line}")),
                },
            }),
            Some("caught-up") => Self::CaughtUp { at: time(words.next())? },
            other => return Err(format!("{other:?} is not an event: {line}")),
        };
        words.next().map_or(Ok(event), |more| Err(format!("{more:?} is too much: {line}")))
    }
}

fn number<N: FromStr>(word: Option<&str>) -> Result<N, String> {
    let word = word.unwrap_or_default();
    word.parse().map_err(|_| format!("{word:?} is not a number"))
}

fn time(word: Option<&str>) -> Result<Duration, String> {
    number(word).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_reads_back() {
        let at = Duration::from_nanos(1_234_567_890_123);
        let read =
            |source| Event::Read(Read { row: 1, found: 2, version: 3, start: at, end: at * 2, source });
        let events = [
            Event::Writes { row: 1, version: 2, at },
            Event::Invalidated { row: 1, version: 2, at, reach: Reach::Everybody },
            Event::Invalidated { row: 1, version: 2, at, reach: Reach::Itself },
            read(Source::Shared),
            read(Source::Own),
            read(Source::Memory),
            read(Source::Loaded),
            Event::CaughtUp { at },
        ];
        for event in events {
            assert_eq!(event.to_string().parse(), Ok(event));
        }
    }

    #[test]
    fn a_truncated_line_is_not_an_event() {
        for line in ["", "read 1 1 2", "writes 1 2 x", "invalidated 1 2 3", "caught-up 1 2", "write 1 2 3"] {
            assert!(line.parse::<Event>().is_err(), "{line}");
        }
    }
}
