//! What only a real server shows: leases, large values, incarnations and faults.
#![cfg(not(feature = "plant-no-fence"))]

mod faults;
mod incarnations;
mod large;
mod leases;
mod server_faults;
mod support;
mod tls;
