//! Lookups: from the index to the record on disk, or to the database itself while the index is loaded.

use cache_core::envelope::Rejected;
use cache_core::{BackendKind, CacheKey, Entry, Lookup, MissCause};

use super::DiskEngine;
use crate::error::Fault;
use crate::index::{Found, PendingRemoval, Shard, Unwritten};
use crate::store::{Location, Snapshot, Stored};

/// The result of reading an entry that the index knows.
enum ReadOutcome {
    Live(Entry),
    Miss,
    /// The record is gone because the entry left the index meanwhile; it may have been replaced.
    Changed,
}

impl DiskEngine {
    /// Looks up `key` in the index and the database; waits for nothing but the disk.
    pub(super) fn lookup_in_database(&self, key: &CacheKey) -> Lookup {
        let token = self.epochs.token(key);
        Lookup { entry: self.find(key), token, backend: BackendKind::Disk }
    }

    /// Finds the live entry of `key`.
    pub(crate) fn find(&self, key: &CacheKey) -> Option<Entry> {
        let hash = self.index.hash(key.as_str());
        loop {
            // Read before the index: it may become complete right after it was looked at.
            let is_complete = self.is_complete();
            let found = {
                let mut shard = self.index.shard(hash);
                let found = shard.find(hash, self.index.tick());
                if let Some((family, _)) = found {
                    // Counted under the lock that is held anyway; corrected in the rare case that it was no hit.
                    shard.counts.of(family).hits += 1;
                }
                found
            };
            let Some((family, found)) = found else {
                let entry = if is_complete { None } else { self.find_in_database(key, hash) };
                let is_away = !self.is_complete() && self.is_away();
                let mut shard = self.index.shard(hash);
                if entry.is_some() {
                    self.load.used(hash);
                    shard.counts.of(self.index.families.id(key.family())).hits += 1;
                } else if is_complete || !self.is_complete() {
                    self.count_miss(&mut shard, key, hash, is_away);
                } else {
                    continue;
                }
                return entry;
            };
            let outcome = self.read_found(key, hash, found);
            if let ReadOutcome::Live(entry) = outcome {
                return Some(entry);
            }
            let mut shard = self.index.shard(hash);
            shard.counts.of(family).hits -= 1;
            if matches!(outcome, ReadOutcome::Miss) {
                self.count_miss(&mut shard, key, hash, self.is_away());
                return None;
            }
        }
    }

    /// Finds the live entry of `key`, and the cause of its last miss, without an effect on the order of use or on counters.
    pub(crate) fn peek(&self, key: &CacheKey) -> (Option<Entry>, Option<MissCause>) {
        let hash = self.index.hash(key.as_str());
        let is_complete = self.is_complete();
        let (found, cause) = {
            let shard = self.index.shard(hash);
            (shard.peek(hash), shard.misses.last_miss(hash))
        };
        let entry = match found {
            Some(Found::Unwritten(unwritten)) => Some(unwritten.entry).filter(|_| unwritten.key == *key),
            Some(Found::Stored(at)) => self.read(key, at).and_then(Result::ok),
            None if is_complete => None,
            None => self.find_in_database(key, hash),
        };
        if entry.is_none() && !is_complete && self.is_complete() {
            return self.peek(key);
        }
        (entry.filter(|entry| entry.is_live(self.now())), cause)
    }

    fn count_miss(&self, shard: &mut Shard, key: &CacheKey, hash: u64, is_away: bool) {
        shard.counts.of(self.index.families.id(key.family())).misses += 1;
        shard.misses.missed(hash, key, is_away.then_some(MissCause::Unavailable));
    }

    /// Reads the entry that the index found.
    fn read_found(&self, key: &CacheKey, hash: u64, found: Found) -> ReadOutcome {
        let at = match found {
            Found::Unwritten(Unwritten { key: of, entry }) if of == *key && entry.is_live(self.now()) => {
                return ReadOutcome::Live(entry);
            }
            Found::Unwritten(_) => {
                self.remove_if_expired(hash);
                return ReadOutcome::Miss;
            }
            Found::Stored(at) => at,
        };
        // Without a snapshot the entry is found again when there is one: the database is closed, or its pages are moved.
        let Some(read) = self.query(|snapshot| snapshot.read(at)) else { return ReadOutcome::Miss };
        match read.map(|stored| self.opened(key, at, stored)) {
            Some(Ok(entry)) => return ReadOutcome::Live(entry),
            None if !self.index.shard(hash).holds(hash, at.id) => return ReadOutcome::Changed,
            None => self.remove_lost(key, hash, at.id, MissCause::Absent),
            Some(Err(Rejected::Expired)) => self.remove_if_expired(hash),
            // Its blocks may have been freed while they were read.
            Some(Err(Rejected::Corrupt | Rejected::Lease { .. })) => {
                if !self.index.shard(hash).holds(hash, at.id) {
                    return ReadOutcome::Changed;
                }
                self.stats.lock().corrupt += 1;
                self.remove_lost(key, hash, at.id, MissCause::Corrupt);
            }
            // Another build may still read the entry of another version; the entry of another key is that key's.
            Some(Err(Rejected::OtherVersion | Rejected::OtherKey)) => {}
        }
        ReadOutcome::Miss
    }

    /// Reads and verifies the value at `at`; `None` if it is gone or the database is closed.
    fn read(&self, key: &CacheKey, at: Location) -> Option<Result<Entry, Rejected>> {
        let stored = self.query(|snapshot| snapshot.read(at))?;
        stored.map(|stored| self.opened(key, at, stored))
    }

    fn opened(&self, key: &CacheKey, at: Location, stored: Stored) -> Result<Entry, Rejected> {
        stored.open(self.keys.hash(key.as_str()), at.id, || self.now())
    }

    /// Looks up in the database a key that the incomplete index does not know.
    fn find_in_database(&self, key: &CacheKey, hash: u64) -> Option<Entry> {
        if !self.load.may_serve(key.as_str(), hash) {
            return None;
        }
        let meta = self.query(|snapshot| snapshot.meta(key.as_str()))??;
        self.read(key, meta.at)?.ok().filter(|entry| entry.is_live(self.now()))
    }

    /// Queries the last snapshot; `None` if there is none or it fails.
    fn query<T>(&self, query: impl FnOnce(&Snapshot) -> Result<T, Fault>) -> Option<T> {
        let snapshot = self.snapshot.load();
        let snapshot = snapshot.as_ref()?;
        query(snapshot).map_err(|fault| self.read_failed(snapshot, fault)).ok()
    }

    /// Removes an entry whose record is gone or damaged.
    fn remove_lost(&self, key: &CacheKey, hash: u64, id: u64, cause: MissCause) {
        let mut shard = self.index.shard(hash);
        // With its key, which cannot be read from the record.
        let lost = shard.remove_if(hash, id, cause);
        self.queue_removals(lost.map(|lost| PendingRemoval { key: Some(key.clone()), ..lost }));
    }

    /// Removes the entry of `hash` if it has expired. An entry from the future is a miss, but stays.
    fn remove_if_expired(&self, hash: u64) {
        let mut shard = self.index.shard(hash);
        let expired = shard.remove_if_expired(hash, self.now());
        self.stats.lock().expirations += u64::from(expired.is_some());
        self.queue_removals(expired);
    }
}
