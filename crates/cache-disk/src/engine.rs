//! [`DiskEngine`]: the state that callers and the writer thread share, and every operation that does not wait for the writer.

mod condition;
mod count;
mod lookup;
mod near;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use cache_core::envelope::KeyHasher;
use cache_core::plants::{Plant, is_planted};
use cache_core::sync::Mutex;
use cache_core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use cache_core::{
    BackendKind, CacheKey, CacheStats, EpochScope, Epochs, Error, ErrorKind, FamilyStats, FillToken,
    Invalidation, MissCause, NewEntry, Timestamp,
};

use self::condition::Condition;
use self::near::Near;
use crate::budget::{self, Budget};
use crate::config::DiskConfig;
use crate::database_file::OpenDatabase;
use crate::fs::FileSpace;
use crate::index::{Index, LoadState, PendingRemoval, Unwritten};
use crate::queue::{Ack, Backpressure, Command, Cursor, Invalidate, Permit, Queue, QueuedValue};
use crate::store::{Location, Meta, Snapshot, packed_size, record_bytes};
use crate::values::SectionBits;

/// The state that callers and the writer thread share.
#[derive(Debug)]
pub(crate) struct DiskEngine {
    pub(crate) config: DiskConfig,
    pub(crate) index: Index,
    /// Whether the index is complete, and the state of its load.
    pub(crate) load: LoadState,
    pub(crate) epochs: Epochs,
    near: Option<Near>,
    pub(crate) keys: KeyHasher,
    pub(crate) queue: Queue,
    pub(crate) backpressure: Backpressure,
    /// The committed state for readers; `None` while the database is closed.
    pub(crate) snapshot: ArcSwapOption<Snapshot>,
    pub(crate) space: ArcSwap<FileSpace>,
    pub(crate) is_closed: AtomicBool,
    /// The id of the next entry.
    pub(crate) next_id: AtomicU64,
    /// How the values files divide the ids.
    bits: SectionBits,
    /// The total cost that the live entries may have, in bytes.
    pub(crate) allowance: AtomicU64,
    /// The counters; [`DiskEngine::stats`] adds the other figures.
    pub(crate) stats: Mutex<CacheStats>,
    pub(crate) condition: Mutex<Condition>,
    /// Whether nothing is stored, because the directory was lost. Set under the lock of the condition.
    pub(crate) is_suspended: AtomicBool,
}

impl DiskEngine {
    pub(crate) fn new(config: DiskConfig, opened: &OpenDatabase) -> Self {
        Self {
            index: Index::new(config.hash_mask, config.eviction),
            load: LoadState::default(),
            epochs: Epochs::new(),
            near: config.near.as_ref().map(|near| Near::new(near, &config.clock)),
            keys: KeyHasher::new(&config.namespace),
            queue: Queue::default(),
            backpressure: Backpressure::default(),
            snapshot: ArcSwapOption::empty(),
            space: ArcSwap::new(Arc::clone(&opened.space)),
            is_closed: AtomicBool::new(false),
            next_id: AtomicU64::new(opened.next_id),
            bits: opened.store.values.bits(),
            allowance: AtomicU64::new(Budget::new(config.limit_bytes).live_bytes(0)),
            stats: Mutex::new(CacheStats::empty(BackendKind::Disk)),
            condition: Mutex::new(Condition::ok(config.clock.now())),
            is_suspended: AtomicBool::new(false),
            config,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// Stores a value, which every later read finds; `false` if `token` is not valid any more. Without a token the value is
    /// set.
    pub(crate) fn store(
        &self,
        key: &CacheKey,
        token: Option<FillToken>,
        new: NewEntry,
        permit: Permit,
    ) -> bool {
        let hash = self.index.hash(key.as_str());
        let family = self.index.families.id(key.family());
        let entry = new.stored_at(self.now());
        let size = packed_size(key.as_str(), record_bytes(key.as_str(), &entry.payload));
        if token.is_some_and(|token| !self.epochs.is_valid(key, token)) {
            self.index.shard(hash).misses.removed(hash, MissCause::Refused);
            return false;
        }
        // Before the value is queued: the writer removes before it adds.
        self.make_room(budget::cost(Location { id: 0, size }));
        let mut shard = self.index.shard(hash);
        // Under the lock of the shard, which a suspension passes after it has set the flag.
        if self.is_suspended() {
            return false;
        }
        // The check, the id and the insertion are one step: an invalidation bumps the epoch and then passes this lock.
        match token {
            Some(token) if !is_planted(Plant::CheckOutsideLock) && !self.epochs.is_valid(key, token) => {
                shard.misses.removed(hash, MissCause::Refused);
                return false;
            }
            Some(_) => {}
            None => self.epochs.advance(EpochScope::Group(key.group())),
        }
        let at = self.next_location(size);
        let meta = Meta { at, expires_at: entry.expires_at };
        let unwritten = Some(Unwritten { key: key.clone(), entry: entry.clone() });
        let replaced = shard.insert(hash, family, meta, unwritten, self.index.advance());
        let replaced = replaced.map(|replaced| replaced.at);
        // After the insertion: a lookup that found the value before this one has taken its token earlier.
        if token.is_none() || replaced.is_some() || !self.is_complete() || self.is_at_hand(key) == Some(true)
        {
            self.forget_near(EpochScope::Group(key.group()));
        }
        // Queued under the lock, so that the writer sees the values of one key in the order of their ids.
        let value = QueuedValue { key: key.clone(), hash, at, replaced, entry, _permit: permit };
        let is_queued = self.queue.push_value(value);
        if !is_queued {
            shard.remove(hash, MissCause::Absent);
        }
        // After the value was queued: a load that begins now finds it in the queue.
        if !self.is_complete() {
            self.load.supersede(hash);
        }
        is_queued
    }

    /// Takes the ids of an entry of this size.
    fn next_location(&self, size: u32) -> Location {
        let blocks = Location { id: 0, size }.blocks().max(1);
        let first = |next| self.bits.first_of(next, blocks);
        let taken =
            self.next_id.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |next| Some(first(next) + blocks));
        Location { id: first(taken.unwrap_or_default()), size }
    }

    /// Removes `what` from the index, fences fills, and queues the removal from the store, which answers through `ack`.
    /// Returns how many entries it removed.
    pub(crate) fn invalidate(&self, what: &[Invalidation], ack: Ack<u64>) -> u64 {
        for one in what {
            self.epochs.advance(one.epoch_scope());
        }
        let mut removed = 0;
        let mut entries = Vec::new();
        for one in what {
            match one {
                Invalidation::Key(key) => {
                    let hash = self.index.hash(key.as_str());
                    if let Some(entry) = self.index.shard(hash).remove(hash, MissCause::Invalidated) {
                        removed += 1;
                        entries.push(entry.at);
                    }
                }
                Invalidation::Group(_) | Invalidation::Pattern(_) | Invalidation::Everything => {
                    if !self.is_complete() {
                        self.load.invalidate(one);
                    }
                    // The lock of every shard is passed, even if nothing is found: a fill that checked its token before
                    // the bump has inserted by then.
                    for mut shard in self.index.shards() {
                        removed += shard.remove_unwritten(|key| one.matches(key), |key| self.index.hash(key));
                    }
                }
            }
        }
        let (what, from) = (what.to_vec(), Cursor::default());
        self.queue.push(Command::Invalidate(Invalidate { what, entries, from, removed: 0, ack }));
        removed
    }

    /// Removes entries from the index until `incoming` more bytes fit the allowance, and queues their removal.
    pub(crate) fn make_room(&self, incoming: u64) {
        // An incomplete index does not know the oldest entry: the writer waits until it is complete.
        if self.is_complete() {
            let allowed = self.allowance.load(Ordering::Relaxed);
            self.queue_removals(self.index.make_room(incoming, allowed, || self.now(), &self.stats));
        }
    }

    /// Queues the removal of entries that left the index. During a load, their rows must not bring them back.
    pub(crate) fn queue_removals(&self, removals: impl IntoIterator<Item = PendingRemoval>) {
        for removal in removals {
            let hash = removal.hash;
            self.queue.push_removal(removal);
            if !self.is_complete() {
                self.load.supersede(hash);
            }
        }
    }

    /// Whether the index knows every entry of the database.
    pub(crate) fn is_complete(&self) -> bool {
        self.load.is_complete()
    }

    /// Collects the statistics. Locks every shard once.
    pub(crate) fn stats(&self) -> CacheStats {
        // Entries that expired since the last look are not live.
        self.queue_removals(self.index.remove_expired(self.now(), &self.stats));
        let counts = self.index.counts();
        let FamilyStats { hits, misses, count, bytes } = counts.total();
        let near = self.near.as_ref().map(Near::stats);
        let near_hits = near.as_ref().map_or(0, |near| near.hits);
        let mut families = counts.named(&self.index.families);
        for (family, hits) in self.near.iter().flat_map(Near::hits_by_family) {
            families.entry(family.to_owned()).or_default().hits += hits;
        }
        CacheStats {
            count,
            disk_bytes: self.space.load().taken_bytes() + self.values_bytes(),
            approximate: !self.is_complete(),
            families,
            near,
            ..self.stats.lock().clone()
        }
        .with_size(bytes, self.config.limit_bytes)
        .with_lookups(hits + near_hits, misses)
    }

    /// The space of the values files on the disk, in bytes.
    fn values_bytes(&self) -> u64 {
        self.snapshot.load().as_ref().map_or(0, |snapshot| snapshot.values_bytes())
    }

    /// Stops the cache: later calls fail, the queue accepts nothing any more, and the writer finishes.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.queue.close();
    }

    /// The error of every call after the cache was closed.
    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the disk cache was closed")
    }
}
