//! The list of a shard, and which of its entries is evicted next.
//!
//! By [`Eviction::Lru`] a hit moves an entry to the front, and the last is evicted. By [`Eviction::Sieve`] a hit only marks an
//! entry; a hand goes from the oldest entry to the newest and begins again, takes the marks away, and evicts the entries
//! without one. Each shard has a hand. The one that has gone round least often is next, and of those at one round the one at
//! the oldest entry: together they are one hand over all entries, of whatever sizes these are.
//!
//! SIEVE: Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is Simpler than LRU", NSDI 2024.

use std::cmp::Reverse;
use std::mem;

use cache_core::Eviction;
use cache_core::sync::atomic::Ordering;

use super::{MARKED, Shard, Slot};

/// The slot that is both ends of the list; its `next` is the newest entry, its `previous` the oldest: by LRU the most and the
/// least recently used.
pub(super) const ENDS: u32 = 0;

/// The slot of the ends of an empty list.
pub(super) const ENDS_ALONE: Slot = Slot { hash: 0, packed: 0, size: 0, tick: 0, previous: ENDS, next: ENDS };

/// The most hits that are not moved in the list yet; see [`Shard::touch`].
pub(super) const MOST_TOUCHED: usize = 32;

/// The entry of a shard that is evicted next; of two shards, the one with the greater is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::index) struct Victim {
    /// By SIEVE the rounds of the hand, by LRU 0.
    rounds: Reverse<u32>,
    /// In insertions.
    age: u32,
    /// Of two entries of one age, the one that was stored first.
    id: Reverse<u64>,
    pub(in crate::index) hash: u64,
}

/// The age in insertions. An entry that was used after `now` was read has none.
pub(in crate::index) fn age(now: u32, tick: u32) -> u32 {
    now.wrapping_sub(tick).cast_signed().max(0).cast_unsigned()
}

impl Shard {
    /// Returns the entry that is evicted next; by SIEVE if it has no mark.
    pub(in crate::index) fn victim(&mut self, now: u32) -> Option<Victim> {
        self.relink();
        let at = self.under_hand();
        let slot = self.slot(at);
        let (age, id, hash) = (age(now, slot.tick), Reverse(slot.id()), slot.hash);
        (at != ENDS).then_some(Victim { rounds: Reverse(self.rounds), age, id, hash })
    }

    /// Takes the mark of the next entry away, and moves the hand; returns whether there was one. By LRU there is none.
    pub(in crate::index) fn spare(&mut self) -> bool {
        let at = self.under_hand();
        let slot = self.slot_mut(at);
        let is_marked = slot.packed & MARKED != 0;
        slot.packed &= !MARKED;
        if is_marked {
            self.advance(at);
        }
        is_marked
    }

    /// The entry under the hand, which is the oldest where the hand begins; the ends of an empty list.
    fn under_hand(&self) -> u32 {
        if self.hand == ENDS { self.slot(ENDS).previous } else { self.hand }
    }

    /// Moves the hand behind the entry `at`.
    fn advance(&mut self, at: u32) {
        self.hand = self.slot(at).previous;
        if self.hand == ENDS {
            self.rounds += 1;
            self.total.rounds.fetch_max(self.rounds, Ordering::Relaxed);
        }
    }

    /// Whether each entry has a mark, the time of its last use, and its id, from the oldest to the newest.
    pub(in crate::index) fn order(&mut self) -> impl Iterator<Item = (bool, u32, u64)> {
        self.relink();
        let mut at = ENDS;
        std::iter::from_fn(move || {
            at = self.slot(at).previous;
            let slot = self.slot(at);
            (at != ENDS).then(|| (slot.is(MARKED), slot.tick, slot.id()))
        })
    }

    /// Sorts the entries that were not used since `since` by the time of their last use, and those of one time by id.
    pub(crate) fn sort_unused(&mut self, since: u32) {
        self.relink();
        let mut unused = Vec::new();
        let mut at = self.slot(ENDS).previous;
        while at != ENDS && age(since, self.slot(at).tick) > 0 {
            let slot = self.slot(at);
            unused.push((age(since, slot.tick), Reverse(slot.id()), at));
            at = slot.previous;
        }
        unused.sort_unstable();
        for (.., at) in &unused {
            self.unlink(*at);
        }
        for (.., at) in unused {
            self.link_behind(at, self.slot(ENDS).previous);
        }
    }

    /// Notes a hit. By LRU the slot is moved to the front of the list later, together with others.
    ///
    /// Its neighbours are not in the processor's cache: moved one at a time, each hit would wait for them under the lock.
    pub(super) fn touch(&mut self, at: u32, tick: u32) {
        let eviction = self.eviction;
        let slot = self.slot_mut(at);
        if eviction == Eviction::Sieve {
            slot.packed |= MARKED;
            return;
        }
        slot.tick = tick;
        self.touched.push(at);
        if self.touched.len() == MOST_TOUCHED {
            self.relink();
        }
    }

    /// Brings the list up to date. Every use of its order does this first.
    pub(super) fn relink(&mut self) {
        let mut touched = mem::take(&mut self.touched);
        for at in touched.drain(..) {
            if self.slot(ENDS).next != at {
                self.unlink(at);
                self.link_behind(at, ENDS);
            }
        }
        self.touched = touched;
    }

    /// Links a slot into the list behind `previous`, which is newer.
    pub(super) fn link_behind(&mut self, at: u32, previous: u32) {
        let next = mem::replace(&mut self.slot_mut(previous).next, at);
        self.slot_mut(next).previous = at;
        let slot = self.slot_mut(at);
        (slot.previous, slot.next) = (previous, next);
    }

    pub(super) fn unlink(&mut self, at: u32) {
        if self.hand == at {
            self.advance(at);
        }
        let Slot { previous, next, .. } = *self.slot(at);
        self.slot_mut(previous).next = next;
        self.slot_mut(next).previous = previous;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::MissCause;
    use cache_core::family_counters::FamilyId;

    use super::*;
    use crate::index::shard::Found;
    use crate::index::tests::stored;
    use crate::store::{Location, Meta};

    fn order(shard: &mut Shard) -> Vec<u64> {
        shard.order().map(|(.., id)| id).collect()
    }

    fn filled(eviction: Eviction, ids: u64) -> Shard {
        let mut shard = Shard::new(Arc::default(), eviction);
        for id in 1..=ids {
            assert!(stored(&mut shard, id * 100, id, 0).is_none());
        }
        shard
    }

    fn evict(shard: &mut Shard) -> Option<u64> {
        while shard.spare() {}
        let victim = shard.victim(9)?;
        shard.remove(victim.hash, MissCause::Evicted).map(|removed| removed.at.id)
    }

    #[test]
    fn a_hit_becomes_the_most_recently_used() {
        let mut shard = filled(Eviction::Lru, 4);
        assert!(matches!(shard.find(200, 9), Some((_, Found::Stored(Location { id: 2, .. })))));
        assert_eq!(order(&mut shard), [1, 3, 4, 2]);
        assert_eq!(shard.victim(9), Some(Victim { rounds: Reverse(0), age: 9, id: Reverse(1), hash: 100 }));
    }

    #[test]
    fn entries_that_were_not_used_since_are_sorted_by_time_and_id() {
        let mut shard = Shard::new(Arc::default(), Eviction::Lru);
        let meta = |id| Meta { at: Location { id, size: 10 }, expires_at: None };
        stored(&mut shard, 9, 90, 100);
        for (id, tick) in [(5, 90), (3, 99), (4, 90), (7, 99), (6, 80)] {
            assert!(shard.insert_oldest(id, FamilyId::OTHER, meta(id), tick));
        }
        shard.find(4, 101);
        shard.sort_unused(100);
        assert_eq!(order(&mut shard), [6, 5, 3, 7, 90, 4]);
    }

    #[test]
    fn the_hand_passes_over_marked_entries_once_and_goes_on_where_it_was() {
        // The example of the paper: hits keep their places, and the hand evicts the first entry without a mark.
        let mut shard = filled(Eviction::Sieve, 6);
        for id in [1, 2, 4] {
            shard.find(id * 100, 1);
        }
        assert_eq!(evict(&mut shard), Some(3));
        assert_eq!(order(&mut shard), [1, 2, 4, 5, 6]);
        stored(&mut shard, 700, 7, 1);
        shard.find(200, 1);
        assert_eq!([evict(&mut shard), evict(&mut shard), evict(&mut shard)], [Some(5), Some(6), Some(7)]);
        // From the oldest again: 1 lost its mark in the first round, 2 was hit since, 4 lost its mark.
        assert_eq!([evict(&mut shard), evict(&mut shard), evict(&mut shard)], [Some(1), Some(4), Some(2)]);
        assert_eq!(evict(&mut shard), None);
        stored(&mut shard, 800, 8, 1);
        assert_eq!(evict(&mut shard), Some(8));
    }

    #[test]
    fn an_entry_that_leaves_under_the_hand_does_not_stop_it() {
        let mut shard = filled(Eviction::Sieve, 5);
        shard.find(100, 1);
        assert_eq!(evict(&mut shard), Some(2));
        assert!(shard.victim(9).is_some_and(|victim| victim.hash == 300));
        assert!(shard.remove(300, MissCause::Invalidated).is_some());
        assert_eq!([evict(&mut shard), evict(&mut shard), evict(&mut shard)], [Some(4), Some(5), Some(1)]);
    }
}
