//! The disk engine under attack: crashes, lost power, failing and damaged disks, no room, races, hostile directories.
//!
//! What must hold in every test: no value is served that was not stored for its key, none that is older than an
//! acknowledged invalidation, the space on disk stays within the limit, nothing panics or hangs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod backlog;
mod damage;
mod edges;
mod full_disk;
mod histories;
mod io_errors;
mod kill;
mod lifetimes;
mod limit;
mod lost;
mod model;
mod panics;
mod places;
mod power;
mod recorder;
mod remains;
mod slow;
mod space;
mod storage;
mod support;
mod world;
