//! The Redis backend of the cache: many instances, one server, nothing stale.
//!
//! Start with [`RedisBackend::connect`]; [`RedisConfig`] says where. The way of a call: `backend` (the trait), `engine`
//! (which round trips, and what their answers mean), `pool` (a connection of the current incarnation), `commands` (one
//! function a round trip), and the envelope of `cache-core`, which has the last word on whether a value is the one that
//! was stored.
//!
//! - **Layout.** A group is a hash, `{namespace}:{group}:@{incarnation}`; its fields are the rest of each key and hold a
//!   lease or a value, both with a nonce in front. The nonce is the fill token.
//! - **Freshness.** A fill stores only while its field still begins with the token's nonce; a group goes with one
//!   `UNLINK`, leases and all. Whatever gets lost can only refuse a fill.
//! - **Incarnations.** A server that was restarted or replaced may bring back what was removed: its `run_id` is part of
//!   every key, and tokens and connections of another one are dropped.
//! - **Replies.** Every acknowledgement that something rests on is sealed: it counts only with the reply to an `ECHO`
//!   behind it.

mod advice;
mod atomic;
mod backend;
mod batch;
mod client;
mod commands;
mod config;
mod engine;
mod error;
mod examine;
mod fills;
mod finish;
mod incarnation;
mod invalidate;
mod keeper;
mod layout;
mod manager;
mod memory;
mod outlook;
mod permissions;
mod pool;
mod scan;
mod script;
mod settings;
mod staged;
mod stats;
mod store;
mod suspects;
mod together;

pub use backend::RedisBackend;
pub use config::RedisConfig;
pub use examine::{Finding, Step, examine};
pub use incarnation::{Contact, ContactRecord};
