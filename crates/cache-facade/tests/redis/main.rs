//! Laws of a cache over a real Redis with faults, and of its fallback.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a helper fails its test")]

mod clocks;
mod cluster;
mod crash;
mod faults;
mod halfway;
mod histories;
mod large_batches;
mod lost;
mod memory;
mod migration;
mod others;
mod outage;
mod rotation;
mod secrets;
mod sentinel;
mod stampede;
mod start;
mod support;
mod tls;
