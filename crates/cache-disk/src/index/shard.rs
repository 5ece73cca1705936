//! [`Shard`]: a hash table of slots, which are linked into a list.
//!
//! A slot takes 32 bytes and the table five to ten more, so that a million entries take less than 64 MiB. Keys are not
//! kept: a slot has the 64-bit hash of its key, and the stored row identifies the key.

mod order;
mod removal;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cache_core::family_counters::{FamilyCounters, FamilyId};
use cache_core::miss_log::MissLog;
use cache_core::sync::atomic::Ordering;
use cache_core::{CacheKey, Entry, Eviction, MissCause, Timestamp};
use hashbrown::HashTable;

use self::order::{ENDS, ENDS_ALONE, MOST_TOUCHED};
pub(super) use self::order::{Victim, age};
use super::{Cost, Totals};
use crate::budget;
use crate::store::{Location, Meta};

/// Keys whose misses a shard remembers.
const LOGGED_MISSES: usize = 64;

const UNWRITTEN: u64 = 1;
const EXPIRES: u64 = 2;
/// Hit since the hand passed, with [`Eviction::Sieve`].
const MARKED: u64 = 4;

/// An entry of the index.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u64,
    /// `id << 16 | family << 8 | flags`: the number of a row has 48 bits for the id.
    packed: u64,
    /// As in [`Location::size`].
    size: u32,
    /// The time of the last use, in insertions into the index; with [`Eviction::Sieve`] of the insertion.
    tick: u32,
    previous: u32,
    next: u32,
}

impl Slot {
    fn id(&self) -> u64 {
        self.packed >> 16
    }

    fn location(&self) -> Location {
        Location { id: self.id(), size: self.size }
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
    Stored(Location),
}

/// An entry that left the index, to be removed from the store.
#[derive(Debug, Clone)]
pub(crate) struct PendingRemoval {
    pub(crate) hash: u64,
    pub(crate) at: Location,
    /// The key, if the rows may never have been written: then the store may hold an older entry of the key, which has to
    /// go too. Not the value, to keep the memory of waiting removals small.
    pub(crate) key: Option<CacheKey>,
}

/// A shard; see the documentation of the module.
#[derive(Debug)]
pub(crate) struct Shard {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    eviction: Eviction,
    /// Where [`Eviction::Sieve`] looks next for an entry to evict; at [`ENDS`] it begins with the oldest.
    hand: u32,
    /// How often the hand has passed the newest entry.
    rounds: u32,
    unused: Vec<u32>,
    /// Slots that were hit and not moved in the list yet, in the order of the hits.
    touched: Vec<u32>,
    unwritten: HashMap<u64, Unwritten>,
    /// The expiry of entries with a TTL, by id and in order.
    expires: HashMap<u64, Timestamp>,
    expiring: BTreeSet<(Timestamp, u64, u64)>,
    total: Arc<Totals>,
    cost: Cost,
    pub(crate) counts: FamilyCounters,
    pub(crate) misses: MissLog,
}

impl Shard {
    pub(super) fn new(total: Arc<Totals>, eviction: Eviction) -> Self {
        Self {
            table: HashTable::new(),
            slots: vec![ENDS_ALONE],
            eviction,
            hand: ENDS,
            rounds: 0,
            unused: Vec::new(),
            touched: Vec::with_capacity(MOST_TOUCHED),
            unwritten: HashMap::new(),
            expires: HashMap::new(),
            expiring: BTreeSet::new(),
            total,
            cost: Cost::default(),
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

    /// Returns what `of_key` returns for the keys of the entries that are not in the store yet.
    pub(crate) fn of_unwritten<T>(&self, of_key: impl Fn(&str) -> Option<T>) -> Vec<T> {
        self.unwritten.values().filter_map(|unwritten| of_key(unwritten.key.as_str())).collect()
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

    /// Where the entries are.
    pub(super) fn locations(&self) -> impl Iterator<Item = Location> {
        self.table.iter().map(|at| self.slot(*at).location())
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
        unwritten.map_or(Found::Stored(slot.location()), |unwritten| Found::Unwritten(unwritten.clone()))
    }

    fn add(
        &mut self,
        hash: u64,
        family: FamilyId,
        meta: Meta,
        unwritten: Option<Unwritten>,
        tick: u32,
    ) -> u32 {
        let Meta { at: location, expires_at } = meta;
        let Location { id, size } = location;
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
        counts.bytes += budget::cost(location);
        let cost = Cost::of(location);
        self.cost.rows += cost.rows;
        self.cost.blocks += cost.blocks;
        self.total.add(cost);
        if self.table.is_empty() {
            // As far as the others: its entries are not older than theirs.
            self.rounds = self.total.rounds.load(Ordering::Relaxed);
        }
        let slot = Slot { hash, packed, size, tick, previous: ENDS, next: ENDS };
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
        counts.bytes -= budget::cost(slot.location());
        let cost = Cost::of(slot.location());
        self.cost.rows -= cost.rows;
        self.cost.blocks -= cost.blocks;
        self.total.subtract(cost);
        if slot.is(EXPIRES)
            && let Some(expires_at) = self.expires.remove(&id)
        {
            self.expiring.remove(&(expires_at, id, hash));
        }
        let unwritten = if slot.is(UNWRITTEN) { self.unwritten.remove(&id) } else { None };
        Some(PendingRemoval { hash, at: slot.location(), key: unwritten.map(|unwritten| unwritten.key) })
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
        shard.order().map(|(.., id)| id).collect()
    }

    #[test]
    fn a_removed_entry_is_gone_and_its_slot_is_used_again() {
        let mut shard = Shard::new(Arc::default(), Eviction::Lru);
        for round in 0..100 {
            for id in 0..50 {
                stored(&mut shard, id, round * 50 + id, 0);
            }
            for id in 0..50 {
                assert!(shard.take(id).is_some());
            }
        }
        assert_eq!(
            (shard.len(), shard.total.rows.load(Ordering::Relaxed), order(&mut shard).len()),
            (0, 0, 0)
        );
        assert_eq!(shard.slots.len(), 51);
    }

    #[test]
    fn an_entry_loaded_late_is_the_least_recently_used_and_never_replaces() {
        let mut shard = Shard::new(Arc::default(), Eviction::Lru);
        stored(&mut shard, 1, 10, 5);
        let meta = |id| Meta { at: Location { id, size: 10 }, expires_at: None };
        assert!(shard.insert_oldest(2, FamilyId::OTHER, meta(3), 0));
        assert!(!shard.insert_oldest(1, FamilyId::OTHER, meta(4), 0));
        assert_eq!(order(&mut shard), [3, 10]);
    }

    #[test]
    fn expired_entries_leave_in_the_order_in_which_they_expire() {
        let mut shard = Shard::new(Arc::default(), Eviction::Lru);
        let at = Timestamp::from_millis;
        for (id, expires) in [(1, 30), (2, 10), (3, 20)] {
            let meta = Meta { at: Location { id, size: 10 }, expires_at: Some(at(expires)) };
            shard.insert(id, FamilyId::OTHER, meta, None, 0);
        }
        assert!(shard.remove_expired(at(9)).is_none());
        assert_eq!(shard.remove_expired(at(25)).map(|removed| removed.at.id), Some(2));
        assert_eq!(shard.remove_expired(at(25)).map(|removed| removed.at.id), Some(3));
        assert!(shard.remove_expired(at(25)).is_none());
        shard.take(1);
        assert!(shard.expiring.is_empty() && shard.expires.is_empty());
    }
}
