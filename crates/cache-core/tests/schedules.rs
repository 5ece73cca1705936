//! The freshness of the memory backend under the schedules that shuttle explores.
//!
//! `cargo test -p cache-core --features shuttle,plants --test schedules`; with `PLANTED_BUG=no-fence`, the tests
//! must find a schedule that serves an old version.
#![cfg(feature = "shuttle")]

use async_trait::async_trait;
use cache_core::plants::{Plant, is_planted};
use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheGroup, CacheKey, CacheStats, Clock, EpochScope,
    Explanation, FillOutcome, FillToken, Health, Invalidated, Invalidation, Lookup, MemoryBackend, NearCache,
    NearConfig, NearSession, NewEntry, Result, SystemClock,
};
use shuttle::future::block_on;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;
use testkit::reliability::{Tally, times};
use testkit::stale_only_if;

const SCHEDULES: usize = 5_000;

/// Runs `test` under random schedules and under schedules with few preemptions, which find different bugs.
fn explore(test: fn()) {
    let (tally, schedules) = (Tally::new("schedules", None), times(SCHEDULES));
    tally.attempts(schedules);
    shuttle::check_random(test, schedules);
    tally.attempts(schedules);
    shuttle::check_pct(test, schedules, 3);
}

/// Explores `test`, which must find a stale read if tokens are not checked.
fn explore_freshness(test: fn()) {
    stale_only_if(is_planted(Plant::NoFence), || explore(test));
}

/// A row of a database and its cache.
struct World<B = MemoryBackend> {
    cache: B,
    version: AtomicU64,
    acknowledged: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        World::over(MemoryBackend::new().limit_bytes(1 << 20))
    }
}

impl<B: CacheBackend> World<B> {
    fn over(cache: B) -> Arc<Self> {
        Arc::new(Self { cache, version: AtomicU64::new(0), acknowledged: AtomicU64::new(0) })
    }

    /// Reads through the cache: a hit older than the version acknowledged before is a stale read.
    fn read(&self, key: &CacheKey) {
        let oldest = self.acknowledged.load(Ordering::SeqCst);
        let lookup = block_on(self.cache.lookup(key)).expect("the store is open");
        if let Some(entry) = lookup.entry {
            assert!(version(&entry.payload) >= oldest, "stale: {} after {oldest}", version(&entry.payload));
            return;
        }
        let loaded = self.version.load(Ordering::SeqCst);
        let entry = NewEntry::new(loaded.to_le_bytes().to_vec());
        // Both outcomes are right; the next read checks the stored version.
        let (FillOutcome::Stored | FillOutcome::Refused) =
            block_on(self.cache.fill(key, lookup.token, entry)).expect("the store is open");
    }

    /// Changes the row, invalidates and acknowledges.
    fn change(&self, what: Invalidation) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = block_on(self.cache.invalidate(&[what])).expect("the store is open");
        assert!(matches!(outcome, Invalidated::Applied { .. }), "memory applies at once");
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }
}

fn version(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload.try_into().expect("a version has eight bytes"))
}

fn key() -> CacheKey {
    CacheKey::builder("image", 5).part("metadata").build().expect("the key is short")
}

fn readers_race_with<B: CacheBackend>(world: &Arc<World<B>>, whats: &[Invalidation]) {
    let readers = (0..2).map(|_| {
        let world = Arc::clone(world);
        thread::spawn(move || {
            world.read(&key());
            world.read(&key());
        })
    });
    let writers = whats.iter().cloned().map(|what| {
        let world = Arc::clone(world);
        thread::spawn(move || world.change(what))
    });
    for thread in readers.chain(writers).collect::<Vec<_>>() {
        thread.join().expect("no thread panics");
    }
    world.read(&key());
}

#[test]
fn no_schedule_serves_an_old_version_after_its_groups_invalidation() {
    explore_freshness(|| {
        readers_race_with(
            &World::new(),
            &[Invalidation::Group(CacheGroup::new("image", 5)), Invalidation::Key(key())],
        );
    });
}

#[test]
fn no_schedule_serves_an_old_version_after_a_pattern_or_a_clear() {
    explore_freshness(|| {
        let glob = "pattern image:*".parse().expect("a glob over groups");
        readers_race_with(&World::new(), &[glob, Invalidation::Everything]);
    });
}

#[test]
fn no_schedule_lets_a_load_replace_a_later_set() {
    explore_freshness(|| {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.read(&key()))
        };
        block_on(world.cache.set(&key(), NewEntry::new(9_u64.to_le_bytes().to_vec())))
            .expect("the store is open");
        reader.join().expect("no thread panics");
        let entry =
            block_on(world.cache.get(&key())).expect("the store is open").expect("the set value stays");
        assert_eq!(version(&entry.payload), 9, "stale");
    });
}

#[test]
fn no_schedule_lets_two_claims_of_a_key_succeed_or_loses_an_increment() {
    explore(|| {
        let world = World::new();
        let claim = |world: Arc<World>| {
            thread::spawn(move || {
                block_on(world.cache.increment(&key(), 1)).expect("the store is open");
                block_on(world.cache.add(&key(), bytes::Bytes::from_static(b"mine")))
                    .expect("the store is open")
            })
        };
        let (one, two) = (claim(Arc::clone(&world)), claim(Arc::clone(&world)));
        let won = [one.join().expect("no thread panics"), two.join().expect("no thread panics")];
        assert_ne!(won[0], won[1]);
        assert_eq!(block_on(world.cache.increment(&key(), 0)).expect("the store is open"), 2);
    });
}

/// A backend whose fill checks its token before it takes the lock under which it stores.
#[derive(Debug)]
struct ChecksTooEarly(MemoryBackend);

#[async_trait]
impl CacheBackend for ChecksTooEarly {
    async fn fill(&self, key: &CacheKey, token: FillToken, entry: NewEntry) -> Result<FillOutcome> {
        if self.0.lookup(key).await?.token != token {
            return Ok(FillOutcome::Refused);
        }
        self.0.set(key, entry).await?;
        Ok(FillOutcome::Stored)
    }

    fn kind(&self) -> BackendKind {
        self.0.kind()
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Lookup> {
        self.0.lookup(key).await
    }

    async fn set(&self, key: &CacheKey, entry: NewEntry) -> Result<()> {
        self.0.set(key, entry).await
    }

    async fn invalidate(&self, what: &[Invalidation]) -> Result<Invalidated> {
        self.0.invalidate(what).await
    }

    async fn stats(&self) -> Result<CacheStats> {
        self.0.stats().await
    }

    async fn explain(&self, key: &CacheKey) -> Result<Explanation> {
        self.0.explain(key).await
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

#[test]
#[should_panic(expected = "stale")]
fn a_token_check_outside_the_lock_is_found() {
    // Not counted in the tally, because the stale read is expected.
    let race = || {
        let world = World::over(ChecksTooEarly(MemoryBackend::new().limit_bytes(1 << 20)));
        readers_race_with(&world, &[Invalidation::Key(key())]);
    };
    shuttle::check_random(race, SCHEDULES);
    shuttle::check_pct(race, SCHEDULES, 3);
}

/// A store, and the memory of an instance in front of it.
struct Memory {
    near: NearCache,
    session: NearSession,
    stored: AtomicU64,
    acknowledged: AtomicU64,
}

impl Memory {
    /// Reads from memory, or from the store: a hit older than the version acknowledged before is a stale read.
    fn read(&self, key: &CacheKey) {
        let oldest = self.acknowledged.load(Ordering::SeqCst);
        if let Some(entry) = self.near.find(key, &self.session).and_then(|found| found.entry) {
            assert!(version(&entry.payload) >= oldest, "stale: {} after {oldest}", version(&entry.payload));
            return;
        }
        let token = self.session.token(key);
        let stored = self.stored.load(Ordering::SeqCst);
        let late = is_planted(Plant::NearTokenLate).then(|| self.session.token(key));
        let entry = NewEntry::new(stored.to_le_bytes().to_vec()).stored_at(SystemClock.now());
        let found = Lookup { entry: Some(entry), token: FillToken::never(), backend: BackendKind::Redis };
        self.near.put(key, late.unwrap_or(token), &found);
    }

    /// Removes, then forgets, then acknowledges.
    fn change(&self, scope: EpochScope<'_>) {
        let version = self.stored.fetch_add(1, Ordering::SeqCst) + 1;
        self.session.forget(scope);
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }
}

#[test]
fn no_schedule_serves_from_memory_what_was_forgotten_before_the_read() {
    let race = || {
        let memory = Arc::new(Memory {
            near: NearCache::new(&NearConfig::new(1 << 20)),
            session: NearSession::endless(),
            stored: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
        });
        let readers = (0..2).map(|_| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || (0..3).for_each(|_| memory.read(&key())))
        });
        let writers = [EpochScope::Group("image:5"), EpochScope::All].map(|scope| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.change(scope))
        });
        for thread in readers.chain(writers).collect::<Vec<_>>() {
            thread.join().expect("no thread panics");
        }
        memory.read(&key());
    };
    stale_only_if(is_planted(Plant::NearTokenLate), || {
        let schedules = times(SCHEDULES);
        shuttle::check_random(race, schedules);
        shuttle::check_pct(race, schedules, 3);
    });
}
