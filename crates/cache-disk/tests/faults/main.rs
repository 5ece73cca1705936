//! The disk backend under faults: crashes, power loss, failing, damaged and full disks, races, hostile directories.
//!
//! Every test checks that no value is served that was not stored for its key or is older than an acknowledged
//! invalidation, that the space on disk stays within the limit, and that nothing panics or hangs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod backpressure;
mod damage;
mod directories;
mod edges;
mod full_disk;
mod garbage;
mod histories;
mod image;
mod io_errors;
mod kill;
mod lifetimes;
mod limit;
mod lost_directory;
mod model;
mod panics;
mod parts;
mod power;
mod recorder;
mod sampler;
mod slow;
mod storage;
mod support;
mod values;
mod values_damage;
mod world;
