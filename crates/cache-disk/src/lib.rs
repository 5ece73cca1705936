//! The disk backend of the cache: one process, one directory, a hard limit on space, nothing stale.
//!
//! Start with [`DiskBackend::open`]; [`DiskConfig`] says where and how much. The way of a read: `backend` (the trait),
//! `engine` (the index says where, the epochs hand out the token), `store` (one range of a snapshot), `record` (rows back
//! to bytes), and the envelope of `cache-core`, which has the last word on whether it is the value that was stored. The
//! way of a write: `backend`, `engine` (fence and index in one step), `queue`, `writer`, `store`.
//!
//! - **Durability.** Values reach the disk within a second and may be lost before; an invalidation returns when it is on
//!   the disk, and nothing it removed comes back after a crash.
//! - **Space.** `budget` keeps what is live under the limit, `guard` stops the file before it exceeds it.
//! - **Damage.** A value is checked on every read; a file that cannot be read is set aside. redb's panics are caught, so
//!   the application must not be built with `panic = "abort"` if it is to survive a damaged file.

#[cfg(not(unix))]
compile_error!(
    "cache-disk runs on Linux and macOS: its limit, its locks and its private files rest on what Unix file systems do; build \
     cache-facade with --no-default-features elsewhere"
);

mod backend;
mod backlog;
mod budget;
mod config;
mod counters;
mod early;
mod engine;
mod error;
mod files;
mod filling;
mod gate;
mod guard;
mod index;
mod lazy;
mod loader;
mod queue;
mod recency;
mod record;
mod recovery;
mod room;
mod store;
mod suspension;
#[cfg(feature = "testing")]
mod testing;
mod writer;

pub use backend::DiskBackend;
pub use config::DiskConfig;
