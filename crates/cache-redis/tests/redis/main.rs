//! Tests against a real server: leases, large values, server epochs and faults.
#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

mod advice;
mod batches;
mod diagnose;
mod faults;
mod figures;
mod hostile;
mod incarnations;
mod large;
mod leases;
mod sentinel;
mod server_faults;
mod support;
mod tls;
mod upheavals;
