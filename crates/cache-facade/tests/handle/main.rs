//! Laws of the typed handle over the reference store.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

mod builds;
mod cancellation;
mod changes;
mod circles;
mod families;
mod fences;
mod ids;
mod lifetimes;
mod loads;
mod many;
mod memory;
#[cfg(feature = "disk")]
mod memory_on_disk;
mod others;
mod storm;
mod support;
mod trouble;
mod values;
mod verify;
mod views;
mod voice;
mod watching;
