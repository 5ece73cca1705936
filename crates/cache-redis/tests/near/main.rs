//! Values in memory in front of a real server: what is served, what an invalidation waits for, and what is lost on the way.
#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

mod confirmation;
mod damage;
mod incarnations;
mod losses;
mod needless;
mod sharing;
mod support;
mod waiting;
