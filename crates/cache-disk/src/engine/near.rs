//! [`Near`]: values in the memory of this process, in front of the database.

use std::sync::Arc;

use cache_core::sync::atomic::{AtomicU32, Ordering};
use cache_core::{
    CacheKey, Clock, Entry, EpochScope, Invalidation, Lookup, NearCache, NearConfig, NearHealth, NearSession,
    NearState, NearStats, Timestamp,
};

use super::DiskEngine;

/// Of so many hits in memory one counts as a use of the entry in the index, so that the entries in memory are not the first to
/// be evicted from the database.
const HITS_PER_USE: u32 = 16;

/// Values in memory. Every change of the database goes through this process, so its session needs no lease.
#[derive(Debug)]
pub(super) struct Near {
    cache: NearCache,
    session: NearSession,
    hits: AtomicU32,
    since: Timestamp,
}

impl Near {
    pub(super) fn new(config: &NearConfig, clock: &Arc<dyn Clock>) -> Self {
        Self {
            cache: NearCache::new(config).with_clock(Arc::clone(clock)),
            session: NearSession::endless(),
            hits: AtomicU32::new(0),
            since: clock.now(),
        }
    }

    pub(super) fn stats(&self) -> NearStats {
        self.cache.stats()
    }

    pub(super) fn hits_by_family(&self) -> impl Iterator<Item = (&str, u64)> {
        self.cache.hits_by_family()
    }
}

impl DiskEngine {
    /// Finds the value of `key` in memory.
    pub(crate) fn at_hand(&self, key: &CacheKey) -> Option<Lookup> {
        let near = self.near.as_ref()?;
        let found = near.cache.find(key, &near.session).filter(|_| !self.is_closed.load(Ordering::SeqCst))?;
        if near.hits.fetch_add(1, Ordering::Relaxed).is_multiple_of(HITS_PER_USE) {
            let hash = self.index.hash(key.as_str());
            self.index.shard(hash).used(hash, self.index.tick());
        }
        Some(Lookup { token: self.epochs.token(key), ..found })
    }

    /// The state of the memory; it serves as long as the cache is open.
    pub(crate) fn near_health(&self) -> Option<NearHealth> {
        let serving = |near: &Near| NearHealth {
            state: NearState::Serving,
            since: near.since,
            cause: None,
            sessions: 1,
        };
        self.near.as_ref().map(serving)
    }

    /// Whether the value of `key` is in memory.
    pub(crate) fn is_at_hand(&self, key: &CacheKey) -> Option<bool> {
        self.near.as_ref().map(|near| near.cache.holds(key, &near.session))
    }

    /// Looks up `key`, and keeps what is found in memory.
    ///
    /// The token of the session is taken before the index is looked at. An invalidation forgets after it has removed: either
    /// this lookup does not find the value, or its token is outdated.
    pub(crate) fn lookup(&self, key: &CacheKey) -> Lookup {
        let read_under = self.near.as_ref().map(|near| near.session.token(key));
        let found = self.lookup_in_database(key);
        if let (Some(near), Some(read_under)) = (&self.near, read_under) {
            near.cache.put(key, read_under, &found);
        }
        found
    }

    /// Finds the live entry of `key` as [`lookup`](Self::lookup) does, without a token to fill it.
    pub(crate) fn get(&self, key: &CacheKey) -> Option<Entry> {
        if self.near.is_none() { self.find(key) } else { self.lookup(key).entry }
    }

    /// Makes the values of `scope` that are in memory, or that a lookup is about to put there, unservable. Call it after they
    /// were removed from the index.
    pub(super) fn forget_near(&self, scope: EpochScope<'_>) {
        if let Some(near) = &self.near {
            near.session.forget(scope);
        }
    }

    /// Makes all values unservable from memory.
    pub(crate) fn forget_all_near(&self) {
        self.forget_near(EpochScope::All);
    }

    /// Makes the values that `what` names unservable from memory, once they are removed.
    pub(crate) fn invalidate_near(&self, what: &[Invalidation]) {
        for one in what {
            self.forget_near(one.epoch_scope());
        }
    }
}
