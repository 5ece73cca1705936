//! [`Lazy`]: what the writer does when nobody waits for it, and in which order.

use std::collections::VecDeque;

use cache_core::{CacheKey, Entry};

use crate::backlog::Place;
use crate::budget;
use crate::index::Removed;

/// Most operations of one transaction.
const MOST_OPERATIONS: usize = 1000;

/// A value to write, if the index still holds this id for it; the rows of the one it replaced are to be removed.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) key: CacheKey,
    pub(crate) hash: u64,
    pub(crate) id: u64,
    pub(crate) replaced: Option<u64>,
    pub(crate) entry: Entry,
    pub(crate) cost: u32,
    pub(crate) place: Place,
}

/// What may wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Lazy {
    /// Entries that left the index, whose rows are to be removed.
    discards: VecDeque<Removed>,
    values: VecDeque<Value>,
    /// What the rows of all discards cost, in bytes.
    discarded: u64,
    pushed: Mark,
}

/// A part of it.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) discards: Vec<Removed>,
    pub(crate) values: Vec<Value>,
}

impl Taken {
    pub(crate) fn is_empty(&self) -> bool {
        self.discards.is_empty() && self.values.is_empty()
    }
}

/// How many there were of both, one after the other.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mark {
    discards: u64,
    values: u64,
}

impl Mark {
    /// Whether everything before `other` is before this one.
    pub(crate) fn reaches(self, other: Self) -> bool {
        self.discards >= other.discards && self.values >= other.values
    }
}

impl Lazy {
    pub(crate) fn push_value(&mut self, value: Value) {
        self.pushed.values += 1;
        self.values.push_back(value);
    }

    pub(crate) fn push_discard(&mut self, removed: Removed) {
        self.pushed.discards += 1;
        self.discarded += rows_cost(&removed);
        self.discards.push_back(removed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.discards.is_empty() && self.values.is_empty()
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> Mark {
        self.pushed
    }

    /// Where it begins: all before has been taken.
    pub(crate) fn beginning(&self) -> Mark {
        Mark {
            discards: self.pushed.discards - self.discards.len() as u64,
            values: self.pushed.values - self.values.len() as u64,
        }
    }

    /// What the rows of all discards cost, in bytes: they take space until they are taken.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded
    }

    /// The hashes of keys whose values are still to be written or to be removed.
    pub(crate) fn hashes(&self) -> Vec<u64> {
        let discards = self.discards.iter().map(|removed| removed.hash);
        discards.chain(self.values.iter().map(|value| value.hash)).collect()
    }

    /// Takes what [`budget::written`] counts as up to `most` bytes, or a single value that is larger.
    ///
    /// Where room is short, all that leaves goes before anything that comes: pages that many entries share are free only
    /// when the last of them has left. Where there `is_room`, both take turns, so that nobody waits for what has expired.
    pub(crate) fn take(&mut self, most: u64, is_room: bool) -> Taken {
        let a_discard = budget::written(0, 1);
        let for_discards = if is_room { most / 2 } else { most };
        let count =
            usize::try_from(for_discards / a_discard).unwrap_or(usize::MAX).clamp(1, MOST_OPERATIONS / 2);
        let mut taken = Taken { discards: self.take_discards(count), values: Vec::new() };
        let mut bytes = a_discard * taken.discards.len() as u64;
        while taken.discards.len() + taken.values.len() < MOST_OPERATIONS
            && let Some(next) = self.values.front()
        {
            bytes += budget::written(u64::from(next.cost), 1);
            let is_alone = taken.values.is_empty() && (is_room || taken.discards.is_empty());
            if bytes > most && !is_alone {
                break;
            }
            taken.values.extend(self.values.pop_front());
        }
        taken
    }

    /// Takes up to `most` discards, and no value.
    pub(crate) fn take_discards(&mut self, most: usize) -> Vec<Removed> {
        let taken: Vec<Removed> = self.discards.drain(..most.min(self.discards.len())).collect();
        self.discarded -= taken.iter().map(rows_cost).sum::<u64>();
        if self.discards.is_empty() {
            // A million entries may have expired at once.
            self.discards.shrink_to(MOST_OPERATIONS);
        }
        taken
    }

    /// Takes all values, and no discard.
    pub(crate) fn take_values(&mut self) -> VecDeque<Value> {
        std::mem::take(&mut self.values)
    }
}

/// What the rows of an entry cost that are still in the file.
fn rows_cost(removed: &Removed) -> u64 {
    if removed.unwritten.is_some() { 0 } else { u64::from(removed.cost) }
}

#[cfg(test)]
mod tests {
    use cache_core::{NewEntry, Timestamp};

    use super::*;
    use crate::backlog::Backlog;

    fn value(cost: u32) -> Value {
        let key = CacheKey::parse("image:1").unwrap();
        let entry = NewEntry::new("a value").stored_at(Timestamp::from_millis(1));
        let place = Backlog::new().place_at_once(7).unwrap();
        Value { key, hash: 1, id: 1, replaced: None, entry, cost, place }
    }

    fn discard(id: u64) -> Removed {
        Removed { hash: id, id, cost: 7, unwritten: None }
    }

    fn counts(taken: &Taken) -> (usize, usize) {
        (taken.discards.len(), taken.values.len())
    }

    #[test]
    fn what_leaves_is_taken_before_what_comes() {
        let mut lazy = Lazy::default();
        for id in 1..=10 {
            lazy.push_value(value(100));
            lazy.push_discard(discard(id));
        }
        let (end, most) = (lazy.end(), 8 * budget::written(0, 1));
        assert_eq!(counts(&lazy.take(most, false)), (8, 0));
        assert_eq!(counts(&lazy.take(most, false)), (2, 5));
        assert!(!lazy.beginning().reaches(end));
        assert_eq!(counts(&lazy.take(most, false)), (0, 5));
        assert!(lazy.beginning().reaches(end) && lazy.is_empty());
    }

    #[test]
    fn where_there_is_room_both_take_turns() {
        let mut lazy = Lazy::default();
        for id in 1..=1000 {
            lazy.push_discard(discard(id));
        }
        lazy.push_value(value(1_000_000));
        assert_eq!(lazy.discarded(), 7000);
        assert_eq!(counts(&lazy.take(8 * budget::written(0, 1), true)), (4, 1));
        assert_eq!(lazy.discarded(), 6972);
    }

    #[test]
    fn a_value_larger_than_a_batch_is_taken_alone() {
        let mut lazy = Lazy::default();
        lazy.push_value(value(1_000_000));
        lazy.push_value(value(1_000_000));
        assert_eq!(counts(&lazy.take(10_000, true)), (0, 1));
    }
}
