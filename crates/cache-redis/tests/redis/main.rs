//! What only a real server shows: leases, large values, incarnations and faults.
#![expect(clippy::unwrap_used, reason = "what helpers of tests cannot do ends the test")]

mod advice;
mod batches;
mod examine;
mod faults;
mod hostile;
mod incarnations;
mod large;
mod leases;
mod server_faults;
mod support;
mod tls;
mod upheavals;
