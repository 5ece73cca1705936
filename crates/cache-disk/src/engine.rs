//! [`Engine`]: what callers and the writer thread share, and everything a caller does without waiting.

use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use cache_core::envelope::{KeyHash, KeyHasher, Rejected};
use cache_core::plants::{Plant, is_planted};
use cache_core::sync::Mutex;
use cache_core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use cache_core::{
    BackendKind, CacheKey, CacheStats, Entry, EpochScope, Epochs, Error, ErrorKind, FillToken, Invalidation,
    Lookup, MissCause, NewEntry, Result, Timestamp,
};

use crate::backlog::{Backlog, Place};
use crate::budget::{self, Budget};
use crate::config::DiskConfig;
use crate::counters::Counters;
use crate::early::Early;
use crate::error::Fault;
use crate::filling::Filling;
use crate::gate::Gate;
use crate::guard::Space;
use crate::index::{Found, Incoming, Index, Pending};
use crate::lazy::Value;
use crate::queue::{Ack, Queue, Urgent};
use crate::record::record_bytes;
use crate::store::{Meta, Snapshot};

/// The state that callers and the writer thread share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) config: DiskConfig,
    pub(crate) index: Index,
    pub(crate) epochs: Epochs,
    pub(crate) keys: KeyHasher,
    pub(crate) queue: Queue,
    /// What may wait in the queue.
    pub(crate) backlog: Backlog,
    /// What readers read; `None` while the database is being reopened.
    pub(crate) snapshot: ArcSwapOption<Snapshot>,
    pub(crate) space: ArcSwap<Space>,
    /// Whether the index knows every entry of the database.
    pub(crate) filling: Filling,
    /// What happens until it does.
    pub(crate) early: Early,
    /// Open once the cache is closed.
    pub(crate) closed: Gate,
    /// The id of the next entry.
    pub(crate) next_id: AtomicU64,
    /// How much the live entries may cost, in bytes.
    pub(crate) allowance: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) condition: Mutex<Condition>,
    /// Whether nothing is kept, because the directory is not this process's any more. Set under the lock of the condition.
    pub(crate) is_suspended: AtomicBool,
}

/// Whether the database works, since when, and why not.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) since: Timestamp,
    pub(crate) cause: Option<String>,
    /// Whether the log says that it does not work.
    pub(crate) is_logged: bool,
}

impl Engine {
    pub(crate) fn new(config: DiskConfig, snapshot: Snapshot, space: Arc<Space>, next_id: u64) -> Self {
        Self {
            index: Index::new(config.hash_mask),
            epochs: Epochs::new(),
            keys: KeyHasher::new(&config.namespace),
            queue: Queue::default(),
            backlog: Backlog::new(),
            snapshot: ArcSwapOption::from_pointee(snapshot),
            space: ArcSwap::new(space),
            filling: Filling::default(),
            closed: Gate::default(),
            early: Early::default(),
            next_id: AtomicU64::new(next_id),
            allowance: AtomicU64::new(Budget::new(config.limit_bytes).live_bytes()),
            counters: Counters::default(),
            condition: Mutex::new(Condition { since: config.clock.now(), cause: None, is_logged: false }),
            is_suspended: AtomicBool::new(false),
            config,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    pub(crate) fn key_hash(&self, key: &str) -> KeyHash {
        self.keys.hash(key)
    }

    /// Looks `key` up, without waiting for anything but the disk.
    pub(crate) fn lookup(&self, key: &CacheKey) -> Lookup {
        let token = self.epochs.token(key);
        Lookup { entry: self.find(key), token, backend: BackendKind::Disk }
    }

    /// Finds the live entry of `key`.
    pub(crate) fn find(&self, key: &CacheKey) -> Option<Entry> {
        let hash = self.index.hash(key.as_str());
        let mut again = None;
        loop {
            // Asked before the index: it may be completed right after it was looked at.
            let knows_all = self.is_complete();
            let found = {
                let mut shard = self.index.shard(hash);
                let found = shard.find(hash, self.index.tick());
                if let Some((family, _)) = found {
                    // Counted here, where the lock is held anyway; taken back in the rare case that it was none.
                    shard.counts.hit(family);
                }
                found
            };
            let Some((family, found)) = found else {
                let early = if knows_all { None } else { self.read_early(key, hash) };
                let is_final = knows_all || early.is_some() || !self.is_complete();
                if is_final {
                    return self.found_early(key, hash, early);
                }
                continue;
            };
            match self.open(key, hash, found, again) {
                Opened::Live(entry) => return Some(entry),
                Opened::Gone { id } if again.is_none() => again = Some(id),
                Opened::Gone { .. } | Opened::Miss => {
                    let mut shard = self.index.shard(hash);
                    shard.counts.hit_was_miss(family);
                    shard.causes.missed(hash, self.is_away());
                    return None;
                }
            }
            self.index.shard(hash).counts.hit_was_nothing(family);
        }
    }

    /// Where `key` stands, without touching its place in the order or the counters.
    pub(crate) fn peek(&self, key: &CacheKey) -> (Option<Entry>, Option<MissCause>) {
        let hash = self.index.hash(key.as_str());
        let knows_all = self.is_complete();
        let (found, cause) = {
            let shard = self.index.shard(hash);
            (shard.peek(hash), shard.causes.last_miss(hash))
        };
        let entry = match found {
            Some(Found::Pending(pending)) => Some(pending.entry).filter(|_| pending.key == *key),
            Some(Found::Stored { id, cost }) => self.read(key, id, cost).and_then(Result::ok),
            None if knows_all => None,
            None => self.read_early(key, hash),
        };
        if entry.is_none() && !knows_all && self.is_complete() {
            return self.peek(key);
        }
        (entry.filter(|entry| entry.is_live(self.now())), cause)
    }

    /// Takes a value in: from now on it is found. `false` if `token` no longer stands; without one the value is set.
    pub(crate) fn admit(
        &self,
        key: &CacheKey,
        token: Option<FillToken>,
        new: NewEntry,
        place: Place,
    ) -> bool {
        let hash = self.index.hash(key.as_str());
        let family = self.index.families.number(key.family());
        let entry = new.stored_at(self.now());
        let cost = budget::cost(key.as_str(), record_bytes(key.as_str(), &entry.payload));
        if token.is_some_and(|token| !self.epochs.stands(key, token)) {
            self.index.shard(hash).causes.record(hash, MissCause::Refused);
            return false;
        }
        // The writer removes before it adds.
        self.discard(self.make_room(u64::from(cost)));
        let mut shard = self.index.shard(hash);
        // Under the shard's lock, which a suspension passes after it has set this.
        if self.is_suspended() {
            return false;
        }
        // The check, the id and the insertion are one step: an invalidation bumps the epoch and then passes this lock.
        match token {
            Some(token) if !is_planted(Plant::CheckOutsideLock) && !self.epochs.stands(key, token) => {
                shard.causes.record(hash, MissCause::Refused);
                return false;
            }
            Some(_) => {}
            None => self.epochs.bump(EpochScope::Group(key.group())),
        }
        let id = self.next_id.fetch_add(1, Ordering::SeqCst);
        let pending = Some(Pending { key: key.clone(), entry: entry.clone() });
        let expires_at = entry.expires_at;
        let incoming = Incoming { hash, id, family, cost, expires_at, pending };
        let replaced = shard.insert(incoming, self.index.advance()).map(|replaced| replaced.id);
        // Queued under the lock, so that the writer sees the values of one key in the order of their ids.
        let value = Value { key: key.clone(), hash, id, replaced, entry, cost, place };
        let queued = self.queue.push_value(value);
        if !queued {
            shard.remove(hash);
        }
        // Asked behind the queueing: whoever begins to fill the index anew sees what is queued.
        if !self.is_complete() {
            self.early.supersede(hash);
        }
        queued
    }

    /// Takes out of the index what `what` names, fences fills, and queues the rest; `ack` hears when it is durable.
    pub(crate) fn invalidate(&self, what: &[Invalidation], ack: Ack<u64>) -> (u64, bool) {
        for one in what {
            self.epochs.bump(one.epoch_scope());
        }
        let mut removed = 0;
        let mut ids = Vec::new();
        for one in what {
            match one {
                Invalidation::Key(key) => {
                    let hash = self.index.hash(key.as_str());
                    let mut shard = self.index.shard(hash);
                    if let Some(entry) = shard.remove(hash) {
                        shard.causes.record(hash, MissCause::Invalidated);
                        removed += 1;
                        ids.push(entry.id);
                    }
                }
                Invalidation::Group(_) | Invalidation::Pattern(_) | Invalidation::Everything => {
                    if !self.is_complete() {
                        self.early.sweep(one);
                    }
                    // Every shard's lock is passed, also where nothing is found: a fill that was checked before the
                    // bump has inserted by then.
                    for mut shard in self.index.shards() {
                        removed += shard.remove_pending(|key| one.matches(key), |key| self.index.hash(key));
                    }
                }
            }
        }
        let queued = self.queue.push_urgent(Urgent::Invalidate { what: what.to_vec(), ids, ack });
        (removed, queued)
    }

    /// Whether the index knows every entry of the database.
    pub(crate) fn is_complete(&self) -> bool {
        self.filling.is_done()
    }

    /// Whether the database failed and is not open again yet.
    pub(crate) fn has_failed(&self) -> bool {
        self.condition.lock().cause.is_some()
    }

    /// Whether the database cannot be read or written at the moment.
    pub(crate) fn is_away(&self) -> bool {
        self.snapshot.load().is_none()
    }

    /// Notes that the database failed: reads miss until the writer has reopened it.
    pub(crate) fn degrade(&self, fault: &Fault) {
        self.snapshot.store(None);
        self.note(fault);
    }

    fn note(&self, fault: &Fault) {
        self.counters.errors.add(1);
        let unwritable = match fault.unwritable() {
            None if self.space.load().is_disk_full() => Some("the disk is full"),
            unwritable => unwritable,
        };
        let mut condition = self.condition.lock();
        // Whoever restores puts the snapshot back first: what it has restored is not failed again by a late reader.
        if condition.cause.is_none() && self.is_away() {
            let cause = unwritable.map_or_else(|| fault.to_string(), |why| format!("{why}: {fault}"));
            condition.since = self.now();
            condition.cause = Some(cause);
        }
        // A failure shortly after another is said later, if it lasts.
        if condition.cause.is_none() || condition.is_logged {
            return;
        }
        let directory = self.config.directory.display();
        condition.is_logged = cache_core::log::limited(
            &self.config.directory,
            |suppressed| match unwritable {
                Some(why) => {
                    tracing::warn!(%directory, cause = %fault, suppressed, "disk cache cannot be written: {why}");
                }
                None => {
                    tracing::warn!(%directory, cause = %fault, suppressed, "disk cache database failed, reopening it");
                }
            },
        );
    }

    /// Has readers read `snapshot`, and notes that the database works; what they read until now. Does nothing while the
    /// cache is suspended.
    pub(crate) fn restore(&self, snapshot: Snapshot) -> Weak<Snapshot> {
        let mut condition = self.condition.lock();
        if self.is_suspended() {
            return Weak::new();
        }
        let before = self.snapshot.swap(Some(Arc::new(snapshot)));
        if condition.cause.is_some() {
            let was_logged = condition.is_logged;
            *condition = Condition { since: self.now(), cause: None, is_logged: false };
            if was_logged {
                cache_core::log::emit(|| {
                    tracing::info!(directory = %self.config.directory.display(), "disk cache database available again");
                });
            }
        }
        before.map_or_else(Weak::new, |before| Arc::downgrade(&before))
    }

    /// Figures of the cache. Locks every shard once.
    pub(crate) fn stats(&self) -> CacheStats {
        // What has expired since it was last looked for is not live, and its rows are in the way.
        self.discard(self.take_expired());
        let totals = self.index.totals();
        let families = self.index.families.named(&totals.families);
        let (hits, misses) =
            families.values().fold((0, 0), |(h, m), family| (h + family.hits, m + family.misses));
        let counters = &self.counters;
        CacheStats {
            count: totals.count,
            disk_bytes: self.space.load().taken_bytes(),
            approximate: !self.is_complete(),
            fills: counters.fills.get(),
            fills_refused: counters.fills_refused.get(),
            evictions: counters.evictions.get(),
            expirations: counters.expirations.get(),
            invalidations: counters.invalidations.get(),
            invalidated_entries: counters.invalidated_entries.get(),
            clears: counters.clears.get(),
            corrupt: counters.corrupt.get(),
            errors: counters.errors.get(),
            families,
            ..CacheStats::empty(BackendKind::Disk)
        }
        .with_size(totals.cost, self.config.limit_bytes)
        .with_lookups(hits, misses)
    }

    /// The error of every call once the cache is closed.
    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the disk cache was closed")
    }

    /// Counts what the database gave for a key that the index does not know.
    fn found_early(&self, key: &CacheKey, hash: u64, early: Option<Entry>) -> Option<Entry> {
        let family = self.index.families.number(key.family());
        if early.is_some() {
            self.early.used(hash);
            self.index.shard(hash).counts.hit(family);
        } else {
            let mut shard = self.index.shard(hash);
            shard.counts.miss(family);
            shard.causes.missed(hash, !self.is_complete() && self.is_away());
        }
        early
    }

    fn open(&self, key: &CacheKey, hash: u64, found: Found, again: Option<u64>) -> Opened {
        let (id, cost) = match found {
            Found::Pending(Pending { key: of, entry }) if of == *key && entry.is_live(self.now()) => {
                return Opened::Live(entry);
            }
            Found::Pending(_) => {
                self.forget_expired(hash);
                return Opened::Miss;
            }
            Found::Stored { id, cost } => (id, cost),
        };
        match self.read(key, id, cost) {
            Some(Ok(entry)) => return Opened::Live(entry),
            // The database is away; the entry will be there again when that is back.
            None if self.is_away() => return Opened::Miss,
            // The rows of an entry that left the index meanwhile, or, when seen twice, of one that is gone.
            None if again != Some(id) => return Opened::Gone { id },
            None => self.forget(hash, id, MissCause::Absent),
            Some(Err(Rejected::Expired)) => self.forget_expired(hash),
            Some(Err(Rejected::Corrupt | Rejected::Lease { .. })) => {
                self.counters.corrupt.add(1);
                self.forget(hash, id, MissCause::Corrupt);
            }
            // Another build's entry is left for that build; another key's is its own.
            Some(Err(Rejected::OtherVersion | Rejected::OtherKey)) => {}
        }
        Opened::Miss
    }

    /// Reads the rows of `id`; `None` if they are gone or the database is.
    fn read(&self, key: &CacheKey, id: u64, cost: u32) -> Option<Result<Entry, Rejected>> {
        let stored = self.ask(|snapshot| snapshot.read(id, cost))?;
        Some(stored?.open(self.key_hash(key.as_str()), || self.now()))
    }

    /// Asks the database for `key`, which the index did not know while it did not know every entry.
    fn read_early(&self, key: &CacheKey, hash: u64) -> Option<Entry> {
        if !self.early.may_serve(key.as_str(), hash) {
            return None;
        }
        let Meta { id, cost, .. } = self.ask(|snapshot| snapshot.meta(key.as_str()))??;
        self.read(key, id, cost)?.ok().filter(|entry| entry.is_live(self.now()))
    }

    /// Asks the last snapshot; `None` if there is none or it fails.
    fn ask<T>(&self, question: impl FnOnce(&Snapshot) -> Result<T, Fault>) -> Option<T> {
        let snapshot = self.snapshot.load();
        let snapshot = snapshot.as_ref()?;
        question(snapshot).map_err(|fault| self.fault(snapshot, fault)).ok()
    }

    /// A read through `snapshot` failed: readers of the same database stop, and the writer is told to reopen it.
    ///
    /// A database that was replaced meanwhile is closed, and its failure is none.
    pub(crate) fn fault(&self, snapshot: &Snapshot, fault: Fault) {
        let opening = snapshot.opening();
        let last = self.snapshot.rcu(|last| last.clone().filter(|last| last.opening() != opening));
        if last.is_some_and(|last| last.opening() == opening) {
            self.note(&fault);
        }
        self.queue.push_urgent(Urgent::Reopen { opening, fault });
    }

    fn forget(&self, hash: u64, id: u64, cause: MissCause) {
        let mut shard = self.index.shard(hash);
        if let Some(removed) = shard.remove_if(hash, id) {
            shard.causes.record(hash, cause);
            self.discard_one(removed);
        }
    }

    /// Forgets the entry of `hash` if its time is over; one from the future is a miss and stays.
    fn forget_expired(&self, hash: u64) {
        let mut shard = self.index.shard(hash);
        if let Some(expired) = shard.remove_expired_one(hash, self.now()) {
            shard.causes.record(hash, MissCause::Expired);
            self.counters.expirations.add(1);
            self.discard_one(expired);
        }
    }
}

enum Opened {
    Live(Entry),
    Miss,
    Gone { id: u64 },
}
