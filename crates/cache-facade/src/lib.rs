//! A cache for applications: a read never returns a value that a completed change made stale, and an error of the cache
//! never reaches it.
//!
//! ```
//! # #[derive(Clone)] struct Db;
//! # impl Db {
//! #     async fn name(&self, id: u64) -> std::io::Result<String> { Ok("Ada".to_owned()) }
//! #     async fn rename(&self, id: u64, name: &str) -> std::io::Result<()> { Ok(()) }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let db = Db;
//! use cache_facade::{Cache, Family};
//!
//! let cache = Cache::memory(); // in production: Cache::from_env().await?
//! let names: Family<u64, String> = cache.family("user")?;
//!
//! // Read through the cache: the closure runs on a miss, once for all concurrent callers.
//! let reader = db.clone();
//! let name = names.get_or_load(42, async move || reader.name(42).await).await?;
//!
//! // Write to the database through the cache: every read after this sees the change.
//! cache.change(names.at(42), async move || db.rename(42, "Grace").await).await?;
//! assert!(!names.contains(42).await);
//! # assert_eq!(name, "Ada");
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//! | to | see |
//! | --- | --- |
//! | open a cache | [`Cache::from_env`], [`Cache::connect`] with a [`CacheConfig`], [`get_cache`] |
//! | say what is cached | [`Family`]: its name, ids and values, and how long they live |
//! | read | [`Family::get_or_load`], with options [before the await](Load); [`Family::get_or_load_many`] |
//! | write | [`Cache::change`]; [`Cache::invalidate`] where there is no commit |
//! | answer errors | [`LoadError`], [`ChangeError`]: `?` works, and one conversion is enough |
//! | declare what a change makes stale | [`Invalidates`](trait@Invalidates) for an enum of your own; [`assert_invalidates`] tests it |
//! | write less | `#[derive(Invalidates)]` and `#[cached]`, with the feature `macros` |
//! | store values that no database holds | [`Family::set`], [`Cache::increment`] |
//! | cache files and pictures | a family whose values are [`Bytes`] |
//! | use keys without a family | [`CacheKey::builder`] and [`Cache::get_or_load`]; [`CachePattern`]; the image application's in [`images`] |
//! | separate caches | [`Cache::scoped`] |
//! | observe | [`Cache::stats`], [`Cache::health`], [`Cache::explain`], [`Cache::events`]; [`diagnose`] before a start, [`Cache::diagnose`] after it |
//! | test | [`Cache::memory`], [`Cache::memory_with_clock`], [`Cache::disabled`] |
//! | plug in a backend | [`backend`], [`Cache::new`] |
//!
//! # Guarantees
//! A value whose load began before an invalidation was called is never served to a read that starts after the invalidation
//! returned: not by a late fill, not by a load that others joined, not after a crash. Errors of the cache never reach the
//! caller of a read, which waits 250 ms for it at most. However many callers miss a key, one of them loads. With Redis this
//! holds for all instances, through its outages and back; [`Invalidated`] tells how far a change has reached.
//!
//! # Beside other caches
//! What the cells of this cache say is shown by the command in the last column, from a clone of the repository. The others' cells
//! are from their documents; docs/comparison.md has the sources, and more caches.
//!
//! | | this cache | moka 0.12 | foyer 0.22 | redis-rs by hand | shown by |
//! | --- | --- | --- | --- | --- | --- |
//! | a load that an invalidation overtakes is not kept | yes | not documented | not documented | no | `cargo xtask test no-fence` |
//! | the same across a crash, and across instances | yes | - | not documented | no | `cargo xtask reliability` |
//! | one load for concurrent callers | yes | yes | yes | no | `cargo xtask bench --only facade` |
//! | survives a restart | yes | - | yes | yes | `cargo xtask demo` |
//! | many values invalidated at once | a group, in one step | by a predicate | all | by a scan | `cargo xtask bench --only redis` |
//! | goes on, fresh, while Redis is away | yes | - | - | no | `cargo xtask demo` |
//! | hard limit of bytes on disk | yes | - | the device's capacity | - | `cargo xtask reliability --only space` |
//! | cheapest hit in memory | no | yes | yes | no | `cargo xtask bench --only peers` |
//! | values without serde | no | yes | in memory | no | - |
//!
//! # Features
//! | feature | default | gives |
//! | --- | --- | --- |
//! | `disk` | yes | the disk backend: one instance, zero configuration |
//! | `redis` | no | the Redis backend, shared by many instances, with a fallback to disk |
//! | `tls` | no | `redis`, and encrypted connections to it; needs a C compiler |
//! | `config-file` | no | `CACHE_CONFIG_FILE`: settings in a TOML file |
//! | `json` | no | [`Codec`]`::Json`, for values that need a self-describing format |
//! | `macros` | no | `#[derive(Invalidates)]` for changes, and `#[cached]` for async functions |
//! | `metrics` | no | counters, gauges and histograms through the crate `metrics`; docs/reference.md lists them |
//! | `uuid` | no | `Uuid` as an id of a family |
//! | `blocking` | no | `blocking()`, a view of a cache or a family for code that is not async |
//!
//! The compiler does not name a feature that is missing: without `macros` it says ``cannot find derive macro `Invalidates` `` and
//! ``cannot find attribute `cached` ``, without `blocking` ``no method named `blocking` found``. With `REDIS_ENABLED=true` and without
//! `redis` the start fails, and the error names the feature.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "shuttle")]
#[path = "../tests/schedules/rt_shuttle.rs"]
mod rt;
#[cfg(not(feature = "shuttle"))]
mod rt;

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "macros.rs"]
pub mod __macros;
#[cfg(feature = "blocking")]
pub mod blocking;
mod cache;
mod call;
mod catch_panic;
mod change;
pub mod config;
mod decoded;
pub mod doctor;
#[cfg_attr(
    not(any(all(feature = "disk", feature = "redis"), test)),
    expect(dead_code, reason = "each backend needs a part of it")
)]
mod durability;
mod encoding;
#[cfg(feature = "redis")]
mod fallback;
mod family;
#[cfg(all(feature = "redis", feature = "metrics"))]
mod gauges;
#[cfg(all(feature = "redis", not(feature = "metrics")))]
#[path = "gauges_off.rs"]
mod gauges;
mod global;
mod lifetime;
mod load;
/// Metrics, spans and errors that no caller gets.
mod observe {
    pub(crate) mod error_reporter;
    pub(crate) mod events;
    pub(crate) mod feed;
    pub(crate) mod loads;
    #[cfg(feature = "metrics")]
    pub(crate) mod metrics;
    #[cfg(not(feature = "metrics"))]
    #[path = "metrics_off.rs"]
    pub(crate) mod metrics;
    pub(crate) mod span;
}
mod open;
mod testing;
mod time_budget;
#[cfg(feature = "config-file")]
#[path = "config/toml.rs"]
mod toml;
#[cfg(not(feature = "config-file"))]
#[path = "config/toml_off.rs"]
mod toml;

pub use cache::{Cache, Warmed};
pub use call::{Load, Set};
pub use change::{ChangeError, Changed, Commit};
pub use config::{CacheConfig, RedisConfig};
pub use doctor::diagnose;
pub use family::Family;
pub use global::get_cache;
pub use lifetime::Lifetime;
pub use load::{LoadError, LoadOptions, LoadResult, Loaded, Source};
pub use testing::assert_invalidates;

pub use cache_core::{
    BackendKind, CacheGroup, CacheKey, CachePattern, Codec, Error, ErrorKind, Invalidated, Invalidates,
    Invalidation, KeyBuilder, KeyPart, KeyParts, ManualClock, Result, images,
};

/// The bounds of calls. An application names them in generic code alone.
pub mod bounds {
    pub use crate::call::Call;
    pub use crate::change::CommitOutcome;
    pub use crate::encoding::{CacheValue, StoredValue};
    pub use crate::load::LoaderError;
}

/// What [`Cache::stats`], [`Cache::health`], [`Cache::explain`], [`Cache::load_stats`] and [`Cache::events`] return.
pub mod stats {
    pub use crate::observe::feed::{CacheEvent, CacheEvents, InvalidationEvent};
    pub use crate::observe::loads::LoadStats;
    pub use cache_core::{
        BreakerState, CacheStats, Explanation, FamilyStats, Health, HealthStatus, JournalKind, MissCause,
        NearHealth, NearState, NearStats,
    };
}

/// The contract of a store, and what an implementation of it needs; [`Cache::new`] takes the store.
///
/// The crate `cache-conformance` has a test for each law of [`CacheBackend`](backend::CacheBackend);
/// `examples/custom_backend.rs` is a store to copy.
pub mod backend {
    pub use crate::cache::CacheBuilder;
    pub use async_trait::async_trait;
    pub use cache_core::{
        AtomicBackend, CacheBackend, CacheBackendExt, Clock, CodecId, Entry, EpochScope, Epochs, Fill,
        FillOutcome, FillToken, Lookup, MemoryBackend, Monotonic, NearCache, NearConfig, NearSession,
        NewEntry, NullBackend, SystemClock, Timestamp,
    };
}

pub use bytes::Bytes;
#[cfg(feature = "macros")]
#[doc(inline)]
pub use cache_macros::{Invalidates, cached};

#[doc(hidden)]
pub use cache_core::log;

// The code in the documents, compiled and run as documentation tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct OfTheCrate;
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/developer-guide.md")]
    struct DeveloperGuide;
}
