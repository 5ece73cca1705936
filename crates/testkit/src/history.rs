//! A history of the reads and changes of many processes, and a check that no read was stale.
//!
//! Each process appends [`Event`]s to a file of its own. Times are those of the machine's monotonic clock ([`now`]), which
//! all its processes share. A row has a number and a version that only grows; a cached value holds both.
//!
//! [`check`] looks for two violations. A read is **stale** if it returned a version older than one whose invalidation was
//! acknowledged before the read started, in a process that the acknowledgement covers. It is a **phantom** if it returned
//! the value of another row, or a version whose write had not started.

mod check;
mod event;

pub use check::{Promise, Verdict, Violation, check};
pub use event::{Event, Reach, Read, Source, now};
