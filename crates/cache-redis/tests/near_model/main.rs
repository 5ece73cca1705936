//! A model of the memory tier before Redis, and a search for a read that it serves a stale value.
//!
//! A hit in memory is served under a lease that the instance's session renews in Redis. An invalidation removes the value
//! from Redis, tells the registry of sessions, and waits until every session has acknowledged, or until no lease from
//! before can be alive. The model has this protocol alone, step by step, and none of the product's code. A search takes
//! the steps of all processes, the server, messages, faults and time in every order that a configuration allows. No read
//! may see less than what was acknowledged before it began, neither in memory nor in Redis.
//!
//! | module | what it has |
//! | --- | --- |
//! | `bounds` | what a configuration allows |
//! | `state`, `steps` | the protocol |
//! | `mistakes` | rules of the protocol that a search can be told to break |
//! | `search`, `liveness` | the visit of all states, breadth first |
//! | `holds`, `planted`, `exceptions` | the tests |
//!
//! The tests search smaller forms of the configurations, or their beginning, so that all together take about 20 seconds of
//! two cores. The whole configurations have up to tens of millions of states:
//!
//! ```text
//! NEAR_MODEL_STATES=45000000 cargo test --release -p cache-redis --test near_model -- --nocapture --test-threads 1
//! ```
//!
//! Not modelled: nonces in the slots and their fill tokens, which `race.rs` and `restart.rs` test; the pace of sessions;
//! `set`, which tells and waits as an invalidation does; polls whose reply is late, which know less than a later poll;
//! REMOVE by sessions, which does what an invalidation does after its wait; the answer to a refused script, which removes
//! the registry and waits as after a loss; two servers that are written to at once.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a panic fails the test")]

mod bounds;
mod claims;
mod configurations;
mod exceptions;
mod holds;
mod liveness;
mod mistakes;
mod planted;
mod search;
mod state;
mod steps;
