//! The disk backend of the cache: one process, one directory, a hard limit on disk space, no stale reads.
//!
//! Start with [`DiskBackend::open`]; [`DiskConfig`] sets the directory and the limit. A read goes through `backend` (the
//! trait), `engine` (the index finds the rows, the epochs hand out the token), `store` (one range of a snapshot, from
//! rows to bytes) and the envelope of `cache-core`, which verifies the value. A write goes through `backend`, `engine`
//! (token check and index update in one step), `queue`, and the writer thread in `write`, which owns the `store`.
//!
//! - **Durability.** Values reach the disk within a second and may be lost before that. An invalidation returns once it is
//!   on the disk, and nothing that it removed comes back after a crash.
//! - **Space.** `budget` keeps the live entries below the limit, `fs` stops the file before it exceeds it.
//! - **Damage.** A value is verified on every read; a file that cannot be read is set aside. Panics of redb are caught, so
//!   the application must not be built with `panic = "abort"` if it is to survive a damaged file.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!(
    "cache-disk runs on Linux and macOS: its limit, its locks and its private files rest on what Unix file systems do; build \
     cache-facade with --no-default-features elsewhere"
);

mod backend;
mod budget;
mod config;
mod database_file;
mod engine;
mod error;
mod fs;
mod index;
mod index_load;
mod latch;
mod queue;
mod store;
mod values;
mod write;

pub use backend::DiskBackend;
pub use config::DiskConfig;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use config::ValuesOperation;

// The code in the README, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
