//! The Redis backend of the cache, for many instances that share one server.
//!
//! Start with [`RedisBackend::connect`]; [`RedisConfig`] names the server. A call passes through `backend` (the trait),
//! `ops` (what is sent, and what the replies mean), `attempts`, `servers` and `pool` (a connection of the current epoch of the
//! server that holds the key), `protocol` (commands, scripts and keys) and `connection` (sockets, and which server they lead
//! to). The envelope of `cache-core` decides whether a value is the one that was stored.
//!
//! - **Layout.** A group is a hash, `{namespace}:{group}:@`. Its fields are the remainders of the keys; each holds a lease or a
//!   value, which begins with a nonce. The nonce is the fill token.
//! - **Freshness.** A fill stores only while its field still begins with the token's nonce. One `UNLINK` removes a group with
//!   its leases. Anything that is lost, on the server or on the way, can only refuse a fill.
//! - **Server epochs.** A restarted or replaced server may bring back removed values. So a hash of its `run_id` and replication
//!   id, its incarnation, is part of every nonce: a value of another incarnation is a miss, and tokens and connections of
//!   another epoch are refused. What was removed since a server took over is repeated there before it is read.
//! - **Clusters.** `servers` knows which node holds a key's slot, from all nodes together, and follows slots that move and masters
//!   that are replaced. The incarnation of a node is made of its `run_id`, its id and its config epoch.
//! - **Lease of the server.** A server that was not checked for three heartbeats is checked before it is used again.
//! - **Sealed replies.** An acknowledgement counts only with the reply to an `ECHO` behind it.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod advice;
mod attempts;
mod backend;
mod config;
mod connection;
mod diagnose;
mod engine;
mod error;
mod last_server;
mod login;
mod maintenance;
mod manager;
mod miss_predictor;
mod namespace_agreement;
mod near;
mod ops;
mod pool;
mod protocol;
mod servers;
mod startup;
mod stats;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls_off.rs"]
mod tls;

pub use backend::RedisBackend;
pub use cache_core::Diagnosis;
pub use config::{RedisConfig, RedisMode};
pub use diagnose::{Check, diagnose};
pub use last_server::{LastServerRecord, LastUse};
pub use ops::Unacknowledged;

// The code in the README, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
