//! Tests against real clusters: failovers, slots that move, nodes that hang, and settings that do not fit.
#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

mod histories;
mod memory;
mod partial;
mod race;
mod registries;
mod settings;
mod support;
mod tls;
mod upheavals;
