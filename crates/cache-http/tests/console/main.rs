//! The console: every route, changes and who may make them, hostile input, and live connections.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what goes wrong in a helper fails its test"
)]

mod changes;
mod counts;
mod hostile;
mod live;
mod origins;
mod routes;
mod support;
