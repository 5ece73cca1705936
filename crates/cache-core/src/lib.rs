//! The contract of the cache, without any store. To read it in order:
//!
//! 1. [`CacheKey`]: the key of a value, and the *group* that is invalidated together.
//! 2. [`CachePattern`], [`Invalidation`] and [`Invalidates`]: the entries that a change makes stale.
//! 3. [`CacheBackend`]: the contract of a store, with [`Lookup`] and [`FillToken`], which keep stale values out.
//! 4. [`Codec`] and the shape hash: the encoding of values, in which a changed struct reads as a miss.
//! 5. [`MemoryBackend`] and [`NullBackend`]: the reference implementation, and a store that keeps nothing.
//!
//! [`images`] holds the keys and rules of one application, the Image Project Manager; nothing else here depends on it.
//!
//! The crate `cache-conformance` holds one test per law, for any backend.
//!
//! Applications use the crate `cache-facade`; this one is for writing backends. Examples of what `cache-facade` exports name it by
//! the path there.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
mod clock;
mod codec;
mod codec_id;
mod credentials;
mod diagnosis;
mod entry;
pub mod envelope;
mod epochs;
mod error;
mod eviction;
#[doc(hidden)]
pub mod family_counters;
#[doc(hidden)]
pub mod files;
mod health;
pub mod images;
mod invalidation;
mod key;
#[doc(hidden)]
pub mod log;
mod memory;
#[doc(hidden)]
pub mod miss_log;
mod near;
mod null;
#[doc(hidden)]
pub mod panics;
mod pattern;
#[doc(hidden)]
pub mod plants;
mod random;
mod shape;
mod stats;
#[doc(hidden)]
pub mod sync;
#[doc(hidden)]
pub mod text_file;
mod transfer;

pub use backend::{AtomicBackend, CacheBackend, CacheBackendExt, Fill};
#[doc(hidden)]
pub use clock::Steady;
pub use clock::{Clock, ManualClock, Monotonic, SystemClock, Timestamp};
pub use codec::{Codec, Encoded, Refusal, RoundTrips};
pub use codec_id::CodecId;
pub use credentials::{Credentials, CredentialsProvider};
pub use diagnosis::Diagnosis;
pub use entry::{BackendKind, CLOCK_TOLERANCE, Entry, FillOutcome, FillToken, Invalidated, Lookup, NewEntry};
pub use epochs::Epochs;
pub use error::{Error, ErrorKind, Result};
pub use eviction::Eviction;
pub use health::{
    BreakerState, Explanation, Health, HealthStatus, JournalKind, MissCause, NearHealth, NearState,
};
pub use invalidation::{EpochScope, Invalidates, Invalidation};
pub use key::{CacheGroup, CacheKey, FamilyName, KeyBuilder, KeyPart, KeyParts, LONGEST_KEY, LONGEST_SCOPE};
pub use memory::MemoryBackend;
pub use near::{NearCache, NearConfig, NearSession};
pub use null::NullBackend;
pub use pattern::CachePattern;
pub use random::random_nonzero;
pub use stats::{CacheStats, FamilyStats, MEGABYTE, MOST_FAMILIES, NearStats};
pub use transfer::transfer_time;

// The code in the README, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
