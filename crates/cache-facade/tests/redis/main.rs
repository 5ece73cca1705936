//! Laws of a cache over a real Redis that fails in every way it can, and of what stands in for it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what goes wrong in a helper fails its test"
)]

mod clocks;
mod crash;
mod faults;
mod halfway;
mod histories;
mod large_batches;
mod lost;
mod migration;
mod outage;
mod rotation;
mod secrets;
mod stampede;
mod start;
mod support;
mod tls;
