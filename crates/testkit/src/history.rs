//! A history of what many processes read and changed, and a check that no read was stale.
//!
//! Each process appends [`Event`]s to a file of its own. Times are those of the machine's monotonic clock ([`now`]), which
//! all its processes share. A row is a number that names it and a version that only grows; a cached value says both.
//!
//! [`check`] looks for two things. A read is **stale** if it returned a version older than one whose invalidation had been
//! acknowledged before the read began, to a reader whom the acknowledgement covered. It is a **phantom** if it returned
//! another row's value, or a version that nobody had begun to write.

mod check;
mod event;

pub use check::{Promise, Verdict, Violation, check};
pub use event::{Event, Reach, Read, Source, now};
