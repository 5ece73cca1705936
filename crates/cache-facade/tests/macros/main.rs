//! `#[derive(Invalidates)]` and `#[cached]`, as an application uses them. What does not compile is tested in cache-macros.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

mod cached;
mod errors;
mod invalidates;
mod process;
mod signatures;
