//! [`Shard`]: a hash table of slots, which are linked into a list in the order of use.
//!
//! A slot takes 32 bytes and the table five to ten more, so that a million entries take less than 64 MiB. Keys are not
//! kept: a slot has the 64-bit hash of its key, and the stored row identifies the key.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;

use cache_core::family_counters::{FamilyCounters, FamilyId};
use cache_core::miss_log::MissLog;
use cache_core::sync::atomic::{AtomicU64, Ordering};
use cache_core::{CacheKey, Entry, MissCause, Timestamp};
use hashbrown::HashTable;

use crate::store::{Meta, Rows};

/// The slot that is both ends of the list; its `next` is the most recently used entry, its `previous` the least.
const ENDS: u32 = 0;

/// The most hits that are not moved in the list yet; see [`Shard::touch`].
const MOST_TOUCHED: usize = 32;

/// Keys whose misses a shard remembers.
const LOGGED_MISSES: usize = 64;

const UNWRITTEN: u64 = 1;
const EXPIRES: u64 = 2;

/// An entry of the index.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u64,
    /// `id << 16 | family << 8 | flags`: the number of a row has 48 bits for the id.
    packed: u64,
    cost: u32,
    /// The time of the last use, in insertions into the index.
    tick: u32,
    previous: u32,
    next: u32,
}

impl Slot {
    fn id(&self) -> u64 {
        self.packed >> 16
    }

    fn rows(&self) -> Rows {
        Rows { id: self.id(), cost: self.cost }
    }

    fn family(&self) -> FamilyId {
        FamilyId::from_byte((self.packed >> 8 & 0xff) as u8)
    }

    fn is(&self, flag: u64) -> bool {
        self.packed & flag != 0
    }
}

/// A value that is not written to the store yet.
#[derive(Debug, Clone)]
pub(crate) struct Unwritten {
    pub(crate) key: CacheKey,
    pub(crate) entry: Entry,
}

/// Where the value of an entry is.
#[derive(Debug)]
pub(crate) enum Found {
    Unwritten(Unwritten),
    Stored(Rows),
}

/// An entry that left the index, to be removed from the store.
#[derive(Debug, Clone)]
pub(crate) struct PendingRemoval {
    pub(crate) hash: u64,
    pub(crate) rows: Rows,
    /// The key, if the rows may never have been written: then the store may hold an older entry of the key, which has to
    /// go too. Not the value, to keep the memory of waiting removals small.
    pub(crate) key: Option<CacheKey>,
}

/// The least recently used entry of a shard; greater is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Oldest {
    /// The age, in insertions.
    age: u32,
    /// Of two entries of one age, the one that was stored first is older.
    id: Reverse<u64>,
    pub(crate) hash: u64,
}

/// A shard; see the documentation of the module.
#[derive(Debug)]
pub(crate) struct Shard {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    unused: Vec<u32>,
    /// Slots that were hit and not moved in the list yet, in the order of the hits.
    touched: Vec<u32>,
    unwritten: HashMap<u64, Unwritten>,
    /// The expiry of entries with a TTL, by id and in order.
    expires: HashMap<u64, Timestamp>,
    expiring: BTreeSet<(Timestamp, u64, u64)>,
    /// The total cost of the entries of all shards.
    total_cost: Arc<AtomicU64>,
    pub(crate) counts: FamilyCounters,
    pub(crate) misses: MissLog,
}

impl Shard {
    pub(crate) fn new(total_cost: Arc<AtomicU64>) -> Self {
        Self {
            table: HashTable::new(),
            slots: vec![Slot { hash: 0, packed: 0, cost: 0, tick: 0, previous: ENDS, next: ENDS }],
            unused: Vec::new(),
            touched: Vec::with_capacity(MOST_TOUCHED),
            unwritten: HashMap::new(),
            expires: HashMap::new(),
            expiring: BTreeSet::new(),
            total_cost,
            counts: FamilyCounters::default(),
            misses: MissLog::new(LOGGED_MISSES),
        }
    }

    /// Finds the entry of `hash` and makes it the most recently used.
    pub(crate) fn find(&mut self, hash: u64, tick: u32) -> Option<(FamilyId, Found)> {
        let at = self.position(hash)?;
        self.touch(at, tick);
        let slot = self.slot(at);
        Some((slot.family(), self.found(slot)))
    }

    /// Makes the entry of `hash` the most recently used, if there is one.
    pub(crate) fn used(&mut self, hash: u64, tick: u32) {
        if let Some(at) = self.position(hash) {
            self.touch(at, tick);
        }
    }

    /// Finds the entry of `hash` without touching its place in the order.
    pub(crate) fn peek(&self, hash: u64) -> Option<Found> {
        self.position(hash).map(|at| self.found(self.slot(at)))
    }

    /// Whether the entry of `hash` is the one with this id.
    pub(crate) fn holds(&self, hash: u64, id: u64) -> bool {
        self.position(hash).is_some_and(|at| self.slot(at).id() == id)
    }

    /// Inserts an entry as the most recently used; returns the entry with its hash, which it replaces.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        family: FamilyId,
        meta: Meta,
        unwritten: Option<Unwritten>,
        tick: u32,
    ) -> Option<PendingRemoval> {
        let replaced = self.take(hash);
        let at = self.add(hash, family, meta, unwritten, tick);
        self.relink();
        self.link_behind(at, ENDS);
        replaced
    }

    /// Inserts a stored entry as the least recently used, unless there is one with its hash; returns whether it did.
    pub(crate) fn insert_oldest(&mut self, hash: u64, family: FamilyId, meta: Meta, tick: u32) -> bool {
        if self.position(hash).is_some() {
            return false;
        }
        let at = self.add(hash, family, meta, None, tick);
        self.link_behind(at, self.slot(ENDS).previous);
        true
    }

    /// Marks the entry as stored if it is still the one with this id.
    pub(crate) fn mark_stored(&mut self, hash: u64, id: u64) {
        if let Some(at) = self.position(hash)
            && self.slot(at).id() == id
        {
            self.slot_mut(at).packed &= !UNWRITTEN;
            self.unwritten.remove(&id);
        }
    }

    /// Removes the entry of `hash`, and notes the cause.
    pub(crate) fn remove(&mut self, hash: u64, cause: MissCause) -> Option<PendingRemoval> {
        let removed = self.take(hash)?;
        self.misses.removed(hash, cause);
        Some(removed)
    }

    /// Removes the entry of `hash` if it is the one with this id, and notes the cause.
    pub(crate) fn remove_if(&mut self, hash: u64, id: u64, cause: MissCause) -> Option<PendingRemoval> {
        if self.holds(hash, id) { self.remove(hash, cause) } else { None }
    }

    /// Removes unwritten entries whose keys `matches`; returns how many.
    pub(crate) fn remove_unwritten(
        &mut self,
        matches: impl Fn(&str) -> bool,
        hash_of: impl Fn(&str) -> u64,
    ) -> u64 {
        let keys = self.unwritten.iter().map(|(id, unwritten)| (*id, unwritten.key.as_str()));
        let found: Vec<(u64, u64)> =
            keys.filter(|(_, key)| matches(key)).map(|(id, key)| (hash_of(key), id)).collect();
        let removed =
            found.iter().filter_map(|(hash, id)| self.remove_if(*hash, *id, MissCause::Invalidated));
        removed.count() as u64
    }

    /// Removes stored entries whose ids `matches`; returns how many.
    pub(crate) fn remove_stored(&mut self, matches: impl Fn(u64) -> bool) -> u64 {
        let stored = self.table.iter().map(|at| self.slot(*at)).filter(|slot| !slot.is(UNWRITTEN));
        let hashes: Vec<u64> = stored.filter(|slot| matches(slot.id())).map(|slot| slot.hash).collect();
        for hash in &hashes {
            self.take(*hash);
        }
        hashes.len() as u64
    }

    /// Returns the least recently used entry.
    pub(crate) fn oldest(&mut self, now: u32) -> Option<Oldest> {
        self.relink();
        let oldest = self.slot(ENDS).previous;
        let slot = if oldest == ENDS { return None } else { self.slot(oldest) };
        Some(Oldest { age: now.wrapping_sub(slot.tick), id: Reverse(slot.id()), hash: slot.hash })
    }

    /// Removes the entry of `hash` if it has expired.
    pub(crate) fn remove_if_expired(&mut self, hash: u64, now: Timestamp) -> Option<PendingRemoval> {
        let expires_at = self.expires.get(&self.slot(self.position(hash)?).id())?;
        if *expires_at <= now { self.remove(hash, MissCause::Expired) } else { None }
    }

    /// Removes one entry that has expired.
    pub(crate) fn remove_expired(&mut self, now: Timestamp) -> Option<PendingRemoval> {
        let (expires_at, id, hash) = *self.expiring.first()?;
        if expires_at <= now { self.remove_if(hash, id, MissCause::Expired) } else { None }
    }

    /// The time of the last use and the id of every entry, from the least to the most recently used.
    pub(crate) fn order(&mut self) -> impl Iterator<Item = (u32, u64)> {
        self.relink();
        let mut at = ENDS;
        std::iter::from_fn(move || {
            at = self.slot(at).previous;
            let slot = self.slot(at);
            (at != ENDS).then(|| (slot.tick, slot.id()))
        })
    }

    #[cfg(test)]
    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    #[cfg(test)]
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.table.allocation_size() + self.slots.capacity() * size_of::<Slot>()
    }

    fn found(&self, slot: &Slot) -> Found {
        let unwritten = if slot.is(UNWRITTEN) { self.unwritten.get(&slot.id()) } else { None };
        unwritten.map_or(Found::Stored(slot.rows()), |unwritten| Found::Unwritten(unwritten.clone()))
    }

    fn add(
        &mut self,
        hash: u64,
        family: FamilyId,
        meta: Meta,
        unwritten: Option<Unwritten>,
        tick: u32,
    ) -> u32 {
        let Meta { rows: Rows { id, cost }, expires_at } = meta;
        let mut packed = id << 16 | u64::from(family.to_byte()) << 8;
        if let Some(expires_at) = expires_at {
            packed |= EXPIRES;
            self.expires.insert(id, expires_at);
            self.expiring.insert((expires_at, id, hash));
        }
        if let Some(unwritten) = unwritten {
            packed |= UNWRITTEN;
            self.unwritten.insert(id, unwritten);
        }
        let counts = self.counts.of(family);
        counts.count += 1;
        counts.bytes += u64::from(cost);
        self.total_cost.fetch_add(u64::from(cost), Ordering::Relaxed);
        let slot = Slot { hash, packed, cost, tick, previous: ENDS, next: ENDS };
        let at = self.allocate(slot);
        let slots = &self.slots;
        self.table.insert_unique(hash, at, |at| slot_at(slots, *at).hash);
        at
    }

    fn allocate(&mut self, slot: Slot) -> u32 {
        if let Some(at) = self.unused.pop() {
            *self.slot_mut(at) = slot;
            return at;
        }
        if self.slots.len() == self.slots.capacity() {
            // Doubling would waste up to half of the largest part of the index.
            self.slots.reserve_exact((self.slots.len() / 8).max(16));
        }
        let at =
            u32::try_from(self.slots.len()).expect("a shard of 4 billion entries does not fit into memory");
        self.slots.push(slot);
        at
    }

    /// Takes the entry of `hash` out of the shard.
    fn take(&mut self, hash: u64) -> Option<PendingRemoval> {
        let slots = &self.slots;
        let entry = self.table.find_entry(hash, |at| slot_at(slots, *at).hash == hash).ok()?;
        let (at, _) = entry.remove();
        self.relink();
        self.unlink(at);
        self.unused.push(at);
        let slot = *self.slot(at);
        let id = slot.id();
        let counts = self.counts.of(slot.family());
        counts.count -= 1;
        counts.bytes -= u64::from(slot.cost);
        self.total_cost.fetch_sub(u64::from(slot.cost), Ordering::Relaxed);
        if slot.is(EXPIRES)
            && let Some(expires_at) = self.expires.remove(&id)
        {
            self.expiring.remove(&(expires_at, id, hash));
        }
        let unwritten = if slot.is(UNWRITTEN) { self.unwritten.remove(&id) } else { None };
        Some(PendingRemoval { hash, rows: slot.rows(), key: unwritten.map(|unwritten| unwritten.key) })
    }

    /// Moves a slot to the front of the list, later and together with others.
    ///
    /// Its neighbours are not in the processor's cache: moved one at a time, each hit would wait for them under the lock.
    fn touch(&mut self, at: u32, tick: u32) {
        self.slot_mut(at).tick = tick;
        self.touched.push(at);
        if self.touched.len() == MOST_TOUCHED {
            self.relink();
        }
    }

    /// Brings the list up to date. Every other use of the list does this first.
    fn relink(&mut self) {
        let mut touched = mem::take(&mut self.touched);
        for at in touched.drain(..) {
            if self.slot(ENDS).next != at {
                self.unlink(at);
                self.link_behind(at, ENDS);
            }
        }
        self.touched = touched;
    }

    /// Links a slot into the list behind `previous`, which was used more recently.
    fn link_behind(&mut self, at: u32, previous: u32) {
        let next = mem::replace(&mut self.slot_mut(previous).next, at);
        self.slot_mut(next).previous = at;
        let slot = self.slot_mut(at);
        (slot.previous, slot.next) = (previous, next);
    }

    fn unlink(&mut self, at: u32) {
        let Slot { previous, next, .. } = *self.slot(at);
        self.slot_mut(previous).next = next;
        self.slot_mut(next).previous = previous;
    }

    fn position(&self, hash: u64) -> Option<u32> {
        self.table.find(hash, |at| self.slot(*at).hash == hash).copied()
    }

    fn slot(&self, at: u32) -> &Slot {
        slot_at(&self.slots, at)
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        self.slots
            .get_mut(at as usize)
            .expect("positions come from the table or the list, which hold live slots")
    }
}

fn slot_at(slots: &[Slot], at: u32) -> &Slot {
    slots.get(at as usize).expect("positions come from the table or the list, which hold live slots")
}

#[cfg(test)]
mod tests {
    use super::super::tests::stored;
    use super::*;

    fn order(shard: &mut Shard) -> Vec<u64> {
        shard.order().map(|(_, id)| id).collect()
    }

    #[test]
    fn a_hit_becomes_the_most_recently_used() {
        let mut shard = Shard::new(Arc::default());
        for id in 1..=4 {
            assert!(stored(&mut shard, id * 100, id, 0).is_none());
        }
        assert!(matches!(shard.find(200, 9), Some((_, Found::Stored(Rows { id: 2, .. })))));
        assert_eq!(order(&mut shard), [1, 3, 4, 2]);
        assert_eq!(shard.oldest(9), Some(Oldest { age: 9, id: Reverse(1), hash: 100 }));
    }

    #[test]
    fn a_removed_entry_is_gone_and_its_slot_is_used_again() {
        let mut shard = Shard::new(Arc::default());
        for round in 0..100 {
            for id in 0..50 {
                stored(&mut shard, id, round * 50 + id, 0);
            }
            for id in 0..50 {
                assert!(shard.take(id).is_some());
            }
        }
        assert_eq!(
            (shard.len(), shard.total_cost.load(Ordering::Relaxed), order(&mut shard).len()),
            (0, 0, 0)
        );
        assert_eq!(shard.slots.len(), 51);
    }

    #[test]
    fn an_entry_loaded_late_is_the_least_recently_used_and_never_replaces() {
        let mut shard = Shard::new(Arc::default());
        stored(&mut shard, 1, 10, 5);
        let meta = |id| Meta { rows: Rows { id, cost: 10 }, expires_at: None };
        assert!(shard.insert_oldest(2, FamilyId::OTHER, meta(3), 0));
        assert!(!shard.insert_oldest(1, FamilyId::OTHER, meta(4), 0));
        assert_eq!(order(&mut shard), [3, 10]);
    }

    #[test]
    fn expired_entries_leave_in_the_order_in_which_they_expire() {
        let mut shard = Shard::new(Arc::default());
        let at = Timestamp::from_millis;
        for (id, expires) in [(1, 30), (2, 10), (3, 20)] {
            let meta = Meta { rows: Rows { id, cost: 10 }, expires_at: Some(at(expires)) };
            shard.insert(id, FamilyId::OTHER, meta, None, 0);
        }
        assert!(shard.remove_expired(at(9)).is_none());
        assert_eq!(shard.remove_expired(at(25)).map(|removed| removed.rows.id), Some(2));
        assert_eq!(shard.remove_expired(at(25)).map(|removed| removed.rows.id), Some(3));
        assert!(shard.remove_expired(at(25)).is_none());
        shard.take(1);
        assert!(shard.expiring.is_empty() && shard.expires.is_empty());
    }
}
