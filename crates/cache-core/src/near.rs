//! [`NearCache`]: values that earlier reads of this process found in a store, kept in memory in front of it.
//!
//! A value is served only under a [`NearSession`], which tells until when this process knows of every invalidation. Each
//! read of the store takes a token of the session before it asks the store, and the value is kept with that token:
//!
//! 1. A read takes a token and asks the store, which answers with a value.
//! 2. An invalidation removes the value from the store and is announced. The session forgets the group: its token changes.
//! 3. The answer arrives, and the value is kept with the token of step 1.
//! 4. A later read compares that token with the session's, and does not find the value.
//!
//! So nothing is checked when a value is kept, and forgetting costs O(1) for any number of values: those with an old token
//! are dropped when they are looked at, or evicted.

mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

pub use self::session::NearSession;

use crate::clock::{Clock, Monotonic, SystemClock};
use crate::entry::{BackendKind, Entry, FillToken, Lookup};
use crate::family_counters::{FamilyId, FamilyNames};
use crate::key::CacheKey;
use crate::stats::{MOST_FAMILIES, NearStats};
use crate::sync::atomic::{AtomicU64, Ordering};

/// What an entry takes beside its key and its payload: the value itself, its places in the table and in the queue of
/// evictions, and what allocations are rounded up to; measured by a test.
const OVERHEAD: usize = 320;

/// The share of the limit that one value may take, where nothing else is set.
const LARGEST_SHARE: u64 = 64;

/// No value may take more than the limit divided by this: half of what a shard has.
const LEAST_SHARE: u64 = 2 * MOST_SHARDS as u64;

/// The most shards: each has its share of the limit, and must have room for the largest value.
const MOST_SHARDS: usize = 16;

/// The size at which values are taken to be, to tell how many there will be.
const TYPICAL_BYTES: u64 = 2048;

/// How much of the values that read from a store are kept in memory.
///
/// ```
/// # mod cache_facade { pub mod backend { pub use cache_core::*; } }
/// use cache_facade::backend::NearConfig;
///
/// let config = NearConfig::new(64 << 20).largest_value_bytes(256 << 10).without_family("thumbnail");
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearConfig {
    limit_bytes: u64,
    largest_value_bytes: u64,
    left_out: Vec<String>,
}

impl NearConfig {
    /// Keeps `limit_bytes` of keys and values.
    pub fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, largest_value_bytes: limit_bytes / LARGEST_SHARE, left_out: Vec::new() }
    }

    /// Sets the size of the largest value that is kept, a 32nd of the limit at most. Default: a 64th of the limit.
    #[must_use]
    pub fn largest_value_bytes(self, largest_value_bytes: u64) -> Self {
        Self { largest_value_bytes, ..self }
    }

    /// Leaves out the values of a key family.
    #[must_use]
    pub fn without_family(mut self, family: impl Into<String>) -> Self {
        self.left_out.push(family.into());
        self
    }
}

/// A value in memory.
#[derive(Debug)]
struct Held {
    entry: Entry,
    /// The token by which the store can be filled.
    token: FillToken,
    /// The token of the session under which the value was read.
    read_under: FillToken,
    kept_at: Monotonic,
    family: FamilyId,
}

/// Computes what an entry takes.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<CacheKey, Arc<Held>> for Bytes {
    fn weight(&self, key: &CacheKey, held: &Arc<Held>) -> u64 {
        (key.as_str().len() + held.entry.payload.len() + OVERHEAD) as u64
    }
}

/// Values of a store in the memory of this process; see the documentation of the module.
///
/// Values that are read once do not displace those that are read often (S3-FIFO: Yang et al., "FIFO queues are all you need
/// for cache eviction", SOSP 2023).
///
/// # Space
/// An entry counts its payload, its key and 320 bytes. The sum never exceeds the limit.
///
/// # Cost
/// A hit copies no payload: it costs one lookup in a table behind a read lock of its shard, and two reference counts.
pub struct NearCache {
    values: Cache<CacheKey, Arc<Held>, Bytes>,
    largest: usize,
    left_out: Vec<String>,
    limit_bytes: u64,
    /// How long a value is served before the store is read again.
    kept_for: Duration,
    clock: Arc<dyn Clock>,
    families: FamilyNames,
    hits: [AtomicU64; MOST_FAMILIES + 1],
    outdated: AtomicU64,
}

impl NearCache {
    /// Makes an empty memory with the system's clock.
    pub fn new(config: &NearConfig) -> Self {
        let NearConfig { limit_bytes, largest_value_bytes, left_out } = config.clone();
        let items = usize::try_from(limit_bytes / TYPICAL_BYTES).unwrap_or(usize::MAX);
        let shards = std::thread::available_parallelism().map_or(1, |cores| 4 * cores.get());
        let options = OptionsBuilder::new()
            .shards(shards.min(MOST_SHARDS))
            .estimated_items_capacity(items)
            .weight_capacity(limit_bytes)
            .build()
            .expect("both capacities are set");
        let values =
            Cache::with_options(options, Bytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let largest = largest_value_bytes.min(limit_bytes / LEAST_SHARE);
        Self {
            values,
            largest: usize::try_from(largest).unwrap_or(usize::MAX),
            left_out,
            limit_bytes,
            kept_for: Duration::MAX,
            clock: Arc::new(SystemClock),
            families: FamilyNames::default(),
            hits: std::array::from_fn(|_| AtomicU64::new(0)),
            outdated: AtomicU64::new(0),
        }
    }

    /// Sets the clock. Default: [`SystemClock`].
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets how long a value is served before the next lookup has to read the store, for one that evicts what is not read.
    /// Default: as long as it is in memory.
    #[must_use]
    pub fn kept_for(self, kept_for: Duration) -> Self {
        Self { kept_for, ..self }
    }

    /// Finds the value of `key`, if `session` may serve it now.
    ///
    /// The order matters. A process that is stopped after it compared the token, and looks at the session only when it runs
    /// again, would find a session that has heard of an invalidation meanwhile.
    pub fn find(&self, key: &CacheKey, session: &NearSession) -> Option<Lookup> {
        let now = session.serving_at(&*self.clock)?;
        let held = self.values.get(key)?;
        if now.saturating_since(held.kept_at) > self.kept_for {
            return None;
        }
        if session.token(key) != held.read_under {
            self.drop_outdated(key, &held);
            return None;
        }
        let entry = &held.entry;
        if entry.expires_at.is_some() || entry.fresh_until.is_some() {
            let now = self.clock.now();
            if !entry.is_live(now) || !entry.is_fresh(now) {
                return None;
            }
        }
        if let Some(hits) = self.hits.get(usize::from(held.family.to_byte())) {
            hits.fetch_add(1, Ordering::Relaxed);
        }
        Some(Lookup { entry: Some(entry.clone()), token: held.token, backend: BackendKind::Memory })
    }

    /// Whether a lookup of `key` would find its value here.
    pub fn holds(&self, key: &CacheKey, session: &NearSession) -> bool {
        let held = self.values.peek(key);
        session.is_serving(&*self.clock) && held.is_some_and(|held| session.token(key) == held.read_under)
    }

    /// Keeps a copy of what a lookup of `key` found, which took `read_under` from the session before it asked the store.
    pub fn put(&self, key: &CacheKey, read_under: FillToken, found: &Lookup) {
        let Some(entry) = &found.entry else { return };
        if entry.payload.len() > self.largest || self.left_out.iter().any(|family| family == key.family()) {
            return;
        }
        if !entry.is_fresh(self.clock.now()) {
            return;
        }
        let (family, kept_at) = (self.families.id(key.family()), self.clock.boot());
        // Copied once: the payload may be a part of a larger allocation, which would be kept with it.
        let entry = Entry { payload: bytes::Bytes::copy_from_slice(&entry.payload), ..entry.clone() };
        let held = Held { entry, token: found.token, read_under, kept_at, family };
        self.values.insert(key.clone(), Arc::new(held));
    }

    /// The figures of the memory.
    ///
    /// # Cost
    /// A read lock of each shard.
    pub fn stats(&self) -> NearStats {
        NearStats {
            hits: self.hits.iter().map(|hits| hits.load(Ordering::Relaxed)).sum(),
            outdated: self.outdated.load(Ordering::Relaxed),
            entries: self.values.len() as u64,
            bytes: self.values.weight(),
            limit_bytes: self.limit_bytes,
            ..NearStats::default()
        }
    }

    /// The hits by family, for those that had any.
    pub fn hits_by_family(&self) -> impl Iterator<Item = (&str, u64)> {
        let hits = self.hits.iter().map(|hits| hits.load(Ordering::Relaxed));
        self.families.names().zip(hits).filter(|(_, hits)| *hits > 0)
    }

    fn drop_outdated(&self, key: &CacheKey, held: &Arc<Held>) {
        if self.values.remove_if(key, |kept| Arc::ptr_eq(kept, held)).is_some() {
            self.outdated.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for NearCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCache")
            .field("entries", &self.values.len())
            .field("bytes", &self.values.weight())
            .field("limit_bytes", &self.limit_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::entry::NewEntry;
    use crate::invalidation::EpochScope;

    fn key(text: &str) -> CacheKey {
        CacheKey::parse(text).unwrap()
    }

    fn found(text: &str, clock: &ManualClock) -> Lookup {
        let entry = NewEntry::new(text.to_owned()).stored_at(clock.now());
        Lookup { entry: Some(entry), token: FillToken::never(), backend: BackendKind::Redis }
    }

    struct Site {
        clock: Arc<ManualClock>,
        near: NearCache,
        session: NearSession,
    }

    impl Site {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::new());
            clock.advance(Duration::from_secs(1));
            let near =
                NearCache::new(&NearConfig::new(1 << 20).without_family("left")).with_clock(clock.clone());
            let session = NearSession::new();
            session.serve_until(clock.boot().saturating_add(Duration::from_millis(400)));
            Self { clock, near, session }
        }

        fn put(&self, text: &str) {
            let key = key(text);
            self.near.put(&key, self.session.token(&key), &found(text, &self.clock));
        }

        fn serves(&self, text: &str) -> bool {
            self.near.find(&key(text), &self.session).is_some()
        }
    }

    #[test]
    fn a_value_is_served_until_its_group_is_forgotten() {
        let site = Site::new();
        for text in ["image:5:a", "image:5:b", "image:6:a", "left:5:a"] {
            site.put(text);
        }
        assert!(site.serves("image:5:a") && site.serves("image:6:a"));
        assert!(!site.serves("left:5:a"), "the family is left out");
        site.session.forget(EpochScope::Group("image:5"));
        assert!(!site.serves("image:5:a") && !site.serves("image:5:b") && site.serves("image:6:a"));
        site.session.forget(EpochScope::All);
        assert!(!site.serves("image:6:a"));
        let stats = site.near.stats();
        assert_eq!((stats.hits, stats.outdated, stats.entries), (3, 3, 0));
    }

    #[test]
    fn a_token_that_was_taken_before_the_forgetting_keeps_nothing_that_is_served() {
        let (site, key) = (Site::new(), key("image:5:a"));
        let token = site.session.token(&key);
        site.session.forget(EpochScope::Group("image:5"));
        site.near.put(&key, token, &found("old", &site.clock));
        assert!(!site.serves("image:5:a"));
    }

    #[test]
    fn nothing_is_served_without_a_lease_or_under_another_session() {
        let site = Site::new();
        site.put("image:5:a");
        let other = NearSession::endless();
        assert!(site.near.find(&key("image:5:a"), &other).is_none());
        site.put("image:5:a");
        site.clock.advance(Duration::from_millis(400));
        assert!(!site.serves("image:5:a"));
        site.session.serve_until(site.clock.boot().saturating_add(Duration::from_millis(1)));
        assert!(site.serves("image:5:a"), "the lease was renewed");
        site.session.end();
        site.session.serve_until(site.clock.boot().saturating_add(Duration::from_secs(1)));
        assert!(!site.serves("image:5:a"), "a session that is over stays so");
    }

    #[test]
    fn a_value_expires_and_is_read_again_now_and_then() {
        let site = Site::new();
        let (short, endless) = (key("image:5:a"), NearSession::endless());
        let entry = NewEntry::new("x").expires_in(Duration::from_millis(50)).stored_at(site.clock.now());
        let lookup = Lookup { entry: Some(entry), ..found("", &site.clock) };
        site.near.put(&short, endless.token(&short), &lookup);
        assert!(site.near.find(&short, &endless).is_some());
        site.clock.advance(Duration::from_millis(50));
        assert!(site.near.find(&short, &endless).is_none());
        let near = NearCache { kept_for: Duration::from_millis(100), ..Site::new().near };
        let near = near.with_clock(site.clock.clone());
        near.put(&short, site.session.token(&short), &found("x", &site.clock));
        assert!(near.find(&short, &site.session).is_some());
        site.clock.advance(Duration::from_millis(101));
        assert!(near.find(&short, &site.session).is_none());
    }

    #[test]
    fn values_that_are_too_large_are_not_kept_and_the_sum_stays_below_the_limit() {
        let near = NearCache::new(&NearConfig::new(1 << 20).largest_value_bytes(10_000));
        let session = NearSession::endless();
        for number in 0..2000 {
            let key = key(&format!("image:{number}"));
            let entry = NewEntry::new(vec![7; 10 * (number % 1500)]).stored_at(SystemClock.now());
            let lookup = Lookup { entry: Some(entry), token: FillToken::never(), backend: BackendKind::Disk };
            near.put(&key, session.token(&key), &lookup);
            assert_eq!(near.find(&key, &session).is_some(), number % 1500 <= 1000, "{number}");
        }
        let stats = near.stats();
        assert!(stats.bytes <= 1 << 20 && stats.entries > 100, "{stats:?}");
    }
}
