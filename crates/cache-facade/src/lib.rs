//! A cache for applications: a read never returns a value that a completed change made stale, and an error of the cache
//! never reaches it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use cache_facade::{Cache, CacheKey};
//!
//! let cache = Cache::memory(); // in production: Cache::from_env().await?
//!
//! // Read through the cache: the closure runs on a miss, once for all concurrent callers.
//! let key = CacheKey::builder("user", 42).part("name").build()?;
//! let name = cache.get_or_load(&key, async || Ok::<_, std::io::Error>("Ada".to_owned())).await?;
//!
//! // Write to the database through the cache: every read after this sees the change.
//! cache.change(&key, async || Ok::<_, std::io::Error>(())).await?;
//! assert!(!cache.contains(&key).await);
//! # assert_eq!(name, "Ada");
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//! | to | see |
//! | --- | --- |
//! | open a cache | [`Cache::from_env`], [`Cache::connect`] with a [`CacheConfig`], [`get_cache`] |
//! | read | [`Cache::get_or_load`], with options [`LoadOptions`]; [`Cache::get_or_load_bytes`] for files |
//! | write | [`Cache::change`]; [`Cache::invalidate`] where there is no commit |
//! | name things | [`CacheKey::builder`], or the image application's in [`images`]; [`CachePattern`] |
//! | declare what a change makes stale | [`Invalidates`] for an enum of your own; [`assert_invalidates`] tests it |
//! | store values that no database holds | [`Cache::set`], [`Cache::set_expiring`], [`Cache::increment`] |
//! | separate caches | [`Cache::scoped`] |
//! | observe | [`Cache::stats`], [`Cache::health`], [`Cache::explain`] |
//! | test | [`Cache::memory`], [`Cache::disabled`], [`ManualClock`] |
//! | plug in a backend | [`backend`], [`Cache::new`] |
//!
//! # Guarantees
//! A value whose load began before an invalidation was called is never served to a read that starts after the invalidation
//! returned: not by a late fill, not by a load that others joined, not after a crash. Errors of the cache never reach the
//! caller of a read, which waits 250 ms for it at most. However many callers miss a key, one of them loads. With Redis this
//! holds for all instances, through its outages and back; [`Invalidated`] tells how far a change has reached.
//!
//! # Features
//! | feature | default | gives |
//! | --- | --- | --- |
//! | `disk` | yes | the disk backend: one instance, zero configuration |
//! | `redis` | no | the Redis backend, shared by many instances, with a fallback to disk |
//! | `json` | no | [`Codec`]`::Json`, for values that need a self-describing format |
//! | `metrics` | no | counters, gauges and histograms through the crate `metrics`; docs/reference.md lists them |
//!
//! # In code that is not async
//! Take the runtime's handle by `tokio::runtime::Handle::current()` in async code, and block on it in a thread that is no
//! worker of the runtime:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() {
//! # let cache = cache_facade::Cache::memory();
//! let runtime = tokio::runtime::Handle::current();
//! let reader = std::thread::spawn(move || runtime.block_on(cache.stats()).map(|stats| stats.count));
//! # assert_eq!(reader.join().unwrap().unwrap(), 0);
//! # }
//! ```

#[cfg(feature = "shuttle")]
#[path = "../tests/schedules/rt_shuttle.rs"]
mod rt;
#[cfg(not(feature = "shuttle"))]
mod rt;

mod cache;
mod catch_panic;
mod change;
mod config;
mod decoded;
#[cfg_attr(
    not(any(all(feature = "disk", feature = "redis"), test)),
    expect(dead_code, reason = "each backend needs a part of it")
)]
mod durability;
mod encoding;
#[cfg(feature = "redis")]
mod fallback;
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

pub use cache::{Cache, CacheBuilder, Warmed};
pub use change::{ChangeError, Changed, Commit, CommitOutcome};
pub use config::{
    CacheConfig, CacheConfigBuilder, Environment, Fallback, RedisConfig, RedisMode, Secret, Tls,
};
pub use global::get_cache;
pub use lifetime::Lifetime;
pub use load::{LoadError, LoadOptions, Loaded, Source};
pub use open::diagnose_directory;
#[cfg(feature = "redis")]
pub use open::diagnose_redis;
pub use testing::assert_invalidates;

pub use cache_core::{
    BackendKind, BreakerState, CacheGroup, CacheKey, CachePattern, CacheStats, Clock, Codec, Credentials,
    CredentialsProvider, Error, ErrorKind, Explanation, FamilyStats, Health, HealthStatus, Invalidated,
    Invalidates, Invalidation, JournalKind, KeyBuilder, KeyPart, ManualClock, MissCause, NearHealth,
    NearState, NearStats, Result, SystemClock, images,
};

/// The contract of a store, and what an implementation of it needs; [`Cache::new`] takes the store.
///
/// The crate `cache-conformance` has a test for each law of [`CacheBackend`](backend::CacheBackend);
/// `examples/custom_backend.rs` is a store to copy.
pub mod backend {
    pub use cache_core::{
        AtomicBackend, CacheBackend, CacheBackendExt, CodecId, Entry, EpochScope, Epochs, Fill, FillOutcome,
        FillToken, Lookup, MemoryBackend, Monotonic, NearCache, NearConfig, NearSession, NewEntry,
        NullBackend, Timestamp,
    };
}

#[doc(hidden)]
pub use cache_core::log;
#[cfg(feature = "redis")]
pub use cache_redis::Diagnosis;

// The code in the documents, compiled and run as documentation tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/developer-guide.md")]
    struct DeveloperGuide;
}
