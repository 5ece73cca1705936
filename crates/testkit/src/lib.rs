//! Support shared by the tests of several crates.
//!
//! - [`RedisServer`]: a server for one test, on a free port of 127.0.0.1, which can be killed, stopped and restarted.
//! - [`RedisCluster`]: a Redis Cluster whose nodes fail over, and whose slots move, when the test says so.
//! - [`RedisConnection`]: a connection to a server, for commands of the test itself.
//! - [`TcpProxy`]: a network in front of a server that delays, swallows, cuts and resets, switched while it runs.
//! - [`Authority`] and [`terminator`]: certificates, and TLS in front of a server without it.
//! - [`Lines`]: captured log events.
//! - [`history`]: the reads and changes of many processes, and a check that no read was stale.
//! - [`fails_only_if`], [`stale_only_if`]: a test that must fail while a bug is planted.
//! - [`memory`]: the growth of a process.
//! - [`reliability`]: counts of faults injected and survived, for `cargo xtask reliability`.
//!
//! Servers, proxies and tasks end when their handles are dropped. Nothing here is part of the product.

pub mod history;
mod lines;
pub mod memory;
mod plants;
mod proxy;
mod redis_cluster;
mod redis_connection;
mod redis_server;
pub mod reliability;
mod sentinels;
mod tls;

pub use lines::Lines;
pub use plants::{fails_only_if, stale_only_if};
pub use proxy::{Mode, TcpProxy};
pub use redis_cluster::{FailOver, RedisCluster};
pub use redis_connection::{RedisConnection, Reply};
pub use redis_server::{RedisServer, Restart};
pub use sentinels::Sentinels;
pub use tls::{Authority, Identity, terminator};
