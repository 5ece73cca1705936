//! One shard of the index: a hash table of slots, threaded into a list in the order of use.
//!
//! A slot takes 32 bytes and the table some five to ten more, so that a million entries cost less than 64 MiB. Keys are
//! not kept: a slot knows its key's 64-bit hash, and the stored row says whose it is.

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;

use cache_core::sync::atomic::{AtomicU64, Ordering};
use cache_core::{CacheKey, Entry, MissCause, Timestamp};
use hashbrown::HashTable;

use super::causes::Causes;
use super::families::{FamilyCounts, FamilyId};

/// The end of a list of slots.
const NONE: u32 = u32::MAX;

/// Hits that wait for their place in the list; see [`Shard::touch`].
const MOST_TOUCHED: usize = 32;

const PENDING: u64 = 1;
const EXPIRES: u64 = 2;

/// What the index knows of an entry: where its rows are and what they cost.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u64,
    /// `id << 16 | family << 8 | flags`: a row's number has 48 bits for the id.
    packed: u64,
    cost: u32,
    /// When it was last used, in insertions into the index.
    tick: u32,
    previous: u32,
    next: u32,
}

impl Slot {
    fn id(&self) -> u64 {
        self.packed >> 16
    }

    fn family(&self) -> FamilyId {
        FamilyId::from_bits(self.packed >> 8)
    }

    fn is(&self, flag: u64) -> bool {
        self.packed & flag != 0
    }
}

/// A value that is not in the store yet.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) key: CacheKey,
    pub(crate) entry: Entry,
}

/// What a lookup found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Still on its way to the store.
    Pending(Pending),
    /// In the rows of this id.
    Stored { id: u64, cost: u32 },
}

/// An entry on its way into the index.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) hash: u64,
    pub(crate) id: u64,
    pub(crate) family: FamilyId,
    pub(crate) cost: u32,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) pending: Option<Pending>,
}

/// An entry that left the index.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) hash: u64,
    pub(crate) id: u64,
    /// What it costs on disk, in bytes.
    pub(crate) cost: u32,
    /// Its key, when its rows were not written yet. Not its value: what waits to be removed takes no memory for it.
    pub(crate) unwritten: Option<CacheKey>,
}

/// The least recently used entry of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Oldest {
    pub(crate) tick: u32,
    pub(crate) hash: u64,
    pub(crate) id: u64,
}

/// A shard; see the module's documentation.
#[derive(Debug)]
pub(crate) struct Shard {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    /// First of the unused slots, threaded through `next`.
    unused: u32,
    newest: u32,
    oldest: u32,
    /// Slots that were hit and are still in their old place in the list, in the order of the hits.
    touched: Vec<u32>,
    pending: HashMap<u64, Pending>,
    /// When entries with a TTL expire: by id, and in order.
    expires: HashMap<u64, Timestamp>,
    expiring: BTreeSet<(Timestamp, u64, u64)>,
    /// Sum of the costs of the entries of all shards.
    total_cost: Arc<AtomicU64>,
    pub(crate) counts: FamilyCounts,
    pub(crate) causes: Causes,
}

impl Shard {
    pub(crate) fn new(total_cost: Arc<AtomicU64>) -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            unused: NONE,
            newest: NONE,
            oldest: NONE,
            touched: Vec::with_capacity(MOST_TOUCHED),
            pending: HashMap::new(),
            expires: HashMap::new(),
            expiring: BTreeSet::new(),
            total_cost,
            counts: FamilyCounts::default(),
            causes: Causes::default(),
        }
    }

    /// Finds the entry of `hash` and makes it the most recently used.
    pub(crate) fn find(&mut self, hash: u64, tick: u32) -> Option<(FamilyId, Found)> {
        let at = self.position(hash)?;
        self.touch(at, tick);
        let slot = self.slot(at);
        Some((slot.family(), self.found(slot)))
    }

    /// Finds the entry of `hash` without touching its place in the order.
    pub(crate) fn peek(&self, hash: u64) -> Option<Found> {
        self.position(hash).map(|at| self.found(self.slot(at)))
    }

    /// Whether the entry of `hash` is the one with this id.
    pub(crate) fn holds(&self, hash: u64, id: u64) -> bool {
        self.position(hash).is_some_and(|at| self.slot(at).id() == id)
    }

    /// Inserts an entry as the most recently used, in place of the one with its hash, if any.
    pub(crate) fn insert(&mut self, incoming: Incoming, tick: u32) -> Option<Removed> {
        let replaced = self.remove(incoming.hash);
        let at = self.add(incoming, tick);
        self.relink();
        self.link_newest(at);
        replaced
    }

    /// Inserts an entry as the least recently used; `false` if there is one with its hash.
    pub(crate) fn insert_oldest(&mut self, incoming: Incoming, tick: u32) -> bool {
        if self.position(incoming.hash).is_some() {
            return false;
        }
        let at = self.add(incoming, tick);
        self.link_oldest(at);
        true
    }

    /// Marks the entry as stored, if it is still the one with this id.
    pub(crate) fn settle(&mut self, hash: u64, id: u64) {
        if let Some(at) = self.position(hash)
            && self.slot(at).id() == id
        {
            self.slot_mut(at).packed &= !PENDING;
            self.pending.remove(&id);
        }
    }

    /// Removes the entry of `hash`.
    pub(crate) fn remove(&mut self, hash: u64) -> Option<Removed> {
        let slots = &self.slots;
        let entry = self.table.find_entry(hash, |at| slot_at(slots, *at).hash == hash).ok()?;
        let (at, _) = entry.remove();
        self.relink();
        self.unlink(at);
        let slot = *self.slot(at);
        let id = slot.id();
        self.counts.forget(slot.family(), slot.cost);
        self.total_cost.fetch_sub(u64::from(slot.cost), Ordering::Relaxed);
        if slot.is(EXPIRES)
            && let Some(expires_at) = self.expires.remove(&id)
        {
            self.expiring.remove(&(expires_at, id, hash));
        }
        let pending = if slot.is(PENDING) { self.pending.remove(&id) } else { None };
        let unwritten = pending.map(|pending| pending.key);
        self.slot_mut(at).next = mem::replace(&mut self.unused, at);
        Some(Removed { hash, id, cost: slot.cost, unwritten })
    }

    /// Removes the entry of `hash` if it is the one with this id.
    pub(crate) fn remove_if(&mut self, hash: u64, id: u64) -> Option<Removed> {
        if self.holds(hash, id) { self.remove(hash) } else { None }
    }

    /// Removes entries that are not in the store yet and whose key `stale` names.
    pub(crate) fn remove_pending(
        &mut self,
        stale: impl Fn(&str) -> bool,
        hash_of: impl Fn(&str) -> u64,
    ) -> u64 {
        let hashes: Vec<(u64, u64)> = self
            .pending
            .iter()
            .filter(|(_, pending)| stale(pending.key.as_str()))
            .map(|(id, pending)| (hash_of(pending.key.as_str()), *id))
            .collect();
        let mut removed = 0;
        for (hash, id) in hashes {
            if self.remove_if(hash, id).is_some() {
                self.causes.record(hash, MissCause::Invalidated);
                removed += 1;
            }
        }
        removed
    }

    /// Removes the entries in the store whose ids are gone; how many.
    pub(crate) fn remove_stored(&mut self, is_gone: impl Fn(u64) -> bool) -> u64 {
        let stored = self.table.iter().map(|at| self.slot(*at)).filter(|slot| !slot.is(PENDING));
        let hashes: Vec<u64> = stored.filter(|slot| is_gone(slot.id())).map(|slot| slot.hash).collect();
        for hash in &hashes {
            self.remove(*hash);
        }
        hashes.len() as u64
    }

    /// The least recently used entry.
    pub(crate) fn oldest(&mut self) -> Option<Oldest> {
        self.relink();
        (self.oldest != NONE).then(|| {
            let slot = self.slot(self.oldest);
            Oldest { tick: slot.tick, hash: slot.hash, id: slot.id() }
        })
    }

    /// Removes the entry of `hash` if its time is over.
    pub(crate) fn remove_expired_one(&mut self, hash: u64, now: Timestamp) -> Option<Removed> {
        let expires_at = self.expires.get(&self.slot(self.position(hash)?).id())?;
        if *expires_at <= now { self.remove(hash) } else { None }
    }

    /// Removes one entry that has expired.
    pub(crate) fn remove_expired(&mut self, now: Timestamp) -> Option<Removed> {
        let (expires_at, id, hash) = *self.expiring.first()?;
        if now < expires_at {
            return None;
        }
        self.remove_if(hash, id)
    }

    /// Every stored entry's id from the least to the most recently used, with its tick.
    pub(crate) fn order(&mut self) -> impl Iterator<Item = (u32, u64)> {
        self.relink();
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            at = slot.previous;
            Some((slot.tick, slot.id()))
        })
    }

    /// How many entries it holds.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    #[cfg(test)]
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.table.allocation_size() + self.slots.capacity() * size_of::<Slot>()
    }

    fn found(&self, slot: &Slot) -> Found {
        let pending = if slot.is(PENDING) { self.pending.get(&slot.id()) } else { None };
        match pending {
            Some(pending) => Found::Pending(pending.clone()),
            None => Found::Stored { id: slot.id(), cost: slot.cost },
        }
    }

    fn add(&mut self, incoming: Incoming, tick: u32) -> u32 {
        let Incoming { hash, id, family, cost, expires_at, pending } = incoming;
        let mut packed = id << 16 | family.to_bits() << 8;
        if let Some(expires_at) = expires_at {
            packed |= EXPIRES;
            self.expires.insert(id, expires_at);
            self.expiring.insert((expires_at, id, hash));
        }
        if let Some(pending) = pending {
            packed |= PENDING;
            self.pending.insert(id, pending);
        }
        self.counts.remember(family, cost);
        self.total_cost.fetch_add(u64::from(cost), Ordering::Relaxed);
        let slot = Slot { hash, packed, cost, tick, previous: NONE, next: NONE };
        let at = self.allocate(slot);
        let slots = &self.slots;
        self.table.insert_unique(hash, at, |at| slot_at(slots, *at).hash);
        at
    }

    fn allocate(&mut self, slot: Slot) -> u32 {
        if self.unused != NONE {
            let at = self.unused;
            self.unused = self.slot(at).next;
            *self.slot_mut(at) = slot;
            return at;
        }
        if self.slots.len() == self.slots.capacity() {
            // Doubling would waste up to half of what is by far the largest part of the index.
            self.slots.reserve_exact((self.slots.len() / 8).max(16));
        }
        let at =
            u32::try_from(self.slots.len()).expect("a shard of 4 billion entries does not fit into memory");
        self.slots.push(slot);
        at
    }

    /// Moves a slot to the front of the list, together with some others.
    ///
    /// Its neighbours are in memory that nobody read lately: one at a time, each hit would wait for them under the lock.
    fn touch(&mut self, at: u32, tick: u32) {
        self.slot_mut(at).tick = tick;
        self.touched.push(at);
        if self.touched.len() == MOST_TOUCHED {
            self.relink();
        }
    }

    /// Brings the list up to date. Whatever reads it, or changes it otherwise, does this first.
    fn relink(&mut self) {
        let mut touched = mem::take(&mut self.touched);
        for at in touched.drain(..) {
            if self.newest != at {
                self.unlink(at);
                self.link_newest(at);
            }
        }
        self.touched = touched;
    }

    fn link_newest(&mut self, at: u32) {
        let next = mem::replace(&mut self.newest, at);
        let slot = self.slot_mut(at);
        (slot.previous, slot.next) = (NONE, next);
        if next == NONE {
            self.oldest = at;
        } else {
            self.slot_mut(next).previous = at;
        }
    }

    fn link_oldest(&mut self, at: u32) {
        let previous = mem::replace(&mut self.oldest, at);
        let slot = self.slot_mut(at);
        (slot.previous, slot.next) = (previous, NONE);
        if previous == NONE {
            self.newest = at;
        } else {
            self.slot_mut(previous).next = at;
        }
    }

    fn unlink(&mut self, at: u32) {
        let Slot { previous, next, .. } = *self.slot(at);
        if previous == NONE {
            self.newest = next;
        } else {
            self.slot_mut(previous).next = next;
        }
        if next == NONE {
            self.oldest = previous;
        } else {
            self.slot_mut(next).previous = previous;
        }
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
    use super::*;

    fn stored(hash: u64, id: u64) -> Incoming {
        Incoming { hash, id, family: FamilyId::OTHER, cost: 10, expires_at: None, pending: None }
    }

    fn order(shard: &mut Shard) -> Vec<u64> {
        shard.order().map(|(_, id)| id).collect()
    }

    #[test]
    fn a_hit_becomes_the_most_recently_used() {
        let mut shard = Shard::new(Arc::default());
        for id in 1..=4 {
            assert!(shard.insert(stored(id * 100, id), 0).is_none());
        }
        assert!(matches!(shard.find(200, 9), Some((_, Found::Stored { id: 2, .. }))));
        assert_eq!(order(&mut shard), [1, 3, 4, 2]);
        assert_eq!(shard.oldest(), Some(Oldest { tick: 0, hash: 100, id: 1 }));
    }

    #[test]
    fn what_is_removed_is_gone_and_its_slot_is_used_again() {
        let mut shard = Shard::new(Arc::default());
        for round in 0..100 {
            for id in 0..50 {
                shard.insert(stored(id, round * 50 + id), 0);
            }
            for id in 0..50 {
                assert!(shard.remove(id).is_some());
            }
        }
        assert_eq!(
            (shard.len(), shard.total_cost.load(Ordering::Relaxed), order(&mut shard).len()),
            (0, 0, 0)
        );
        assert_eq!(shard.slots.len(), 50);
    }

    #[test]
    fn an_entry_loaded_late_is_the_least_recently_used_and_never_replaces() {
        let mut shard = Shard::new(Arc::default());
        shard.insert(stored(1, 10), 5);
        assert!(shard.insert_oldest(stored(2, 3), 0));
        assert!(!shard.insert_oldest(stored(1, 4), 0));
        assert_eq!(order(&mut shard), [3, 10]);
    }

    #[test]
    fn expired_entries_leave_in_the_order_in_which_they_expire() {
        let mut shard = Shard::new(Arc::default());
        let at = Timestamp::from_millis;
        for (id, expires) in [(1, 30), (2, 10), (3, 20)] {
            shard.insert(Incoming { expires_at: Some(at(expires)), ..stored(id, id) }, 0);
        }
        assert!(shard.remove_expired(at(9)).is_none());
        assert_eq!(shard.remove_expired(at(25)).map(|r| r.id), Some(2));
        assert_eq!(shard.remove_expired(at(25)).map(|r| r.id), Some(3));
        assert!(shard.remove_expired(at(25)).is_none());
        shard.remove(1);
        assert!(shard.expiring.is_empty() && shard.expires.is_empty());
    }
}
