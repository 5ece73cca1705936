//! The cache over HTTP.
//!
//! # Features
//! | feature | default | gives |
//! | --- | --- | --- |
//! | `console` | no | [`console()`], a router of axum that shows what a cache does |

#[cfg(feature = "console")]
mod console;

#[cfg(feature = "console")]
pub use console::{Console, console};
