//! The cache beside its peers: every row measures both on the same data, interleaved in one run.
//!
//! **Why not criterion alone.** On a shared machine the speed of everything drifts by a factor of two within seconds,
//! and criterion measures one function to its end before it begins the next: such a ratio says more about the
//! neighbours than about the code. So the rows of `cargo xtask bench` come from [`interleave`], which alternates slices
//! of about two milliseconds of ours and of the peer and compares what stood side by side. These [`Case`]s also run
//! under criterion with `cargo bench -p bench`, for its analysis of one function over time (outliers, regressions
//! against the last run); its absolute times are not compared here.
//!
//! In reading order:
//! 1. [`case`]: something to measure beside its peer, and what it has to reach.
//! 2. [`interleave`]: how it is measured. [`row`], [`table`]: what comes of it. [`session`]: one run, from the
//!    [`options`] to the rows, with its progress on standard error.
//! 3. [`workload`]: keys, values and orders of access, the same in every run. [`stores`]: one data set in ours and in the
//!    peer, on the real disk, gone afterwards. [`space`]: the space of a directory over time. [`child`]: this program as a
//!    process to be killed, or measured from outside.
//! 4. [`disk`], [`facade`] and [`redis`]: the rows; [`tasks`] for those of many tasks. [`peers`]: other caches, most of them
//!    behind the feature `peers`, so that no other build has them.
//! 5. [`http`]: responses through the layer. [`application`]: image-manager as a process. [`workloads`]: what an application does, made of [`requests`] or read from a [`trace`], beside an exact [`lru`].
//! 6. [`plot`] and [`report`]: pictures of it. [`page`]: docs/benchmarks.md.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "counts of a measurement, far below the limits of their types"
)]

pub mod application;
pub mod case;
pub mod child;
mod connection;
pub mod disk;
pub mod facade;
pub mod http;
pub mod interleave;
pub mod lru;
pub mod options;
pub mod page;
pub mod peers;
pub mod plot;
pub mod raw_redb;
pub mod redis;
pub mod report;
pub mod requests;
pub mod row;
pub mod session;
pub mod space;
pub mod stores;
pub mod table;
pub mod tasks;
pub mod trace;
pub mod workload;
pub mod workloads;

pub use case::Case;

/// The result of a measurement; an error ends its group of rows.
pub type Outcome<T> = anyhow::Result<T>;
