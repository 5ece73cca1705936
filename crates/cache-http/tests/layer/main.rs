//! The laws of the layer: each test of a law names it by its words in `docs/http.md`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod bodies;
mod compression;
mod flights;
mod freshness;
mod hostile;
mod lifetimes;
mod privacy;
mod routes;
mod storing;
mod support;
mod trouble;
mod validators;
mod vary;
