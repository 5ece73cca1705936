//! What the tests of several crates share.
//!
//! - [`RedisServer`]: a server of the test's own, on a free port of 127.0.0.1, which can be killed, stopped and restarted.
//! - [`TcpProxy`]: a network in front of it that delays, swallows, cuts and resets, switched while it runs.
//! - [`Authority`] and [`terminator`]: certificates, and encryption in front of a server that has none.
//! - [`Lines`]: what is logged.
//! - [`history`]: what many processes read and changed, and a check that no read was stale.
//! - [`stale_only_if`]: a test that must fail while a bug is planted.
//! - [`memory`]: whether a process grows.
//! - [`reliability`]: what a test tried and survived, said so that `cargo xtask reliability` can gather it.
//!
//! Whatever is started here ends when its handle is dropped. Nothing here is part of the product.

pub mod history;
mod lines;
pub mod memory;
mod plants;
mod proxy;
mod redis_server;
pub mod reliability;
mod tls;

pub use lines::Lines;
pub use plants::stale_only_if;
pub use proxy::{Mode, TcpProxy};
pub use redis_server::{RedisServer, Restart};
pub use tls::{Authority, Identity, terminator};
