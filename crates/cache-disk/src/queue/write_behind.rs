//! [`WriteBehind`]: the values and removals that no caller waits for, and the order in which they are written.

use std::collections::VecDeque;

use cache_core::{CacheKey, Entry};

use super::Permit;
use crate::budget;
use crate::index::PendingRemoval;
use crate::store::{Meta, Rows};

/// The most operations in one transaction.
const MOST_OPERATIONS: usize = 1000;

/// A value to be written if the index still holds this id for its key.
#[derive(Debug)]
pub(crate) struct QueuedValue {
    pub(crate) key: CacheKey,
    pub(crate) hash: u64,
    pub(crate) rows: Rows,
    /// The entry that it replaced in the index, which is removed with the same transaction.
    pub(crate) replaced: Option<u64>,
    pub(crate) entry: Entry,
    /// Held until the value is written.
    pub(crate) _permit: Permit,
}

impl QueuedValue {
    pub(crate) fn meta(&self) -> Meta {
        Meta { rows: self.rows, expires_at: self.entry.expires_at }
    }

    /// The removal of whatever the file holds for the key, up to this value.
    pub(crate) fn to_removal(&self) -> PendingRemoval {
        PendingRemoval { hash: self.hash, rows: self.rows, key: Some(self.key.clone()) }
    }
}

/// The queued values and removals, oldest first.
#[derive(Debug, Default)]
pub(crate) struct WriteBehind {
    removals: VecDeque<PendingRemoval>,
    values: VecDeque<QueuedValue>,
    /// The cost of the rows of all removals, in bytes.
    removal_cost: u64,
    end: QueuePosition,
}

/// A part of the queue, to be written in one transaction.
#[derive(Debug)]
pub(crate) struct WriteBatch {
    pub(crate) removals: Vec<PendingRemoval>,
    pub(crate) values: Vec<QueuedValue>,
}

impl WriteBatch {
    pub(crate) fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.values.is_empty()
    }
}

/// A position in the queue: how many removals and values were queued before it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct QueuePosition {
    removals: u64,
    values: u64,
}

impl QueuePosition {
    /// Whether everything before `other` is before this position.
    pub(crate) fn reaches(self, other: Self) -> bool {
        self.removals >= other.removals && self.values >= other.values
    }
}

impl WriteBehind {
    pub(super) fn push_value(&mut self, value: QueuedValue) {
        self.end.values += 1;
        self.values.push_back(value);
    }

    pub(super) fn push_removal(&mut self, removal: PendingRemoval) {
        self.end.removals += 1;
        self.removal_cost += rows_cost(&removal);
        self.removals.push_back(removal);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.values.is_empty()
    }

    /// The position behind everything that was queued.
    pub(crate) fn end(&self) -> QueuePosition {
        self.end
    }

    /// The position behind everything that was taken.
    pub(crate) fn start(&self) -> QueuePosition {
        QueuePosition {
            removals: self.end.removals - self.removals.len() as u64,
            values: self.end.values - self.values.len() as u64,
        }
    }

    /// The cost of the rows of all removals, in bytes: they take space until they are removed.
    pub(crate) fn removal_cost(&self) -> u64 {
        self.removal_cost
    }

    /// The hashes of keys whose values are still to be written or removed.
    pub(crate) fn hashes(&self) -> Vec<u64> {
        let removals = self.removals.iter().map(|removal| removal.hash);
        removals.chain(self.values.iter().map(|value| value.hash)).collect()
    }

    /// Takes up to `most` bytes as [`budget::written`] counts them, or a single larger value.
    ///
    /// If space is short, all removals go before any value: a page that many entries share is free only when the last of
    /// them is removed. If there `is_room`, both take turns, so that no value waits for removals of expired entries.
    pub(crate) fn take(&mut self, most: u64, is_room: bool) -> WriteBatch {
        let of_removal = budget::written(0, 1);
        let for_removals = if is_room { most / 2 } else { most };
        let count =
            usize::try_from(for_removals / of_removal).unwrap_or(usize::MAX).clamp(1, MOST_OPERATIONS / 2);
        let mut batch = WriteBatch { removals: self.take_removals(count), values: Vec::new() };
        let mut bytes = of_removal * batch.removals.len() as u64;
        while batch.removals.len() + batch.values.len() < MOST_OPERATIONS
            && let Some(next) = self.values.front()
        {
            bytes += budget::written(u64::from(next.rows.cost), 1);
            let is_alone = batch.values.is_empty() && (is_room || batch.removals.is_empty());
            if bytes > most && !is_alone {
                break;
            }
            batch.values.extend(self.values.pop_front());
        }
        batch
    }

    /// Takes up to `most` removals, and no value.
    pub(crate) fn take_removals(&mut self, most: usize) -> Vec<PendingRemoval> {
        let taken: Vec<PendingRemoval> = self.removals.drain(..most.min(self.removals.len())).collect();
        self.removal_cost -= taken.iter().map(rows_cost).sum::<u64>();
        if self.removals.is_empty() {
            // A million entries may have expired at once.
            self.removals.shrink_to(MOST_OPERATIONS);
        }
        taken
    }

    /// Takes all values, and no removal.
    pub(crate) fn take_values(&mut self) -> VecDeque<QueuedValue> {
        std::mem::take(&mut self.values)
    }
}

/// The cost of the rows that are in the file.
fn rows_cost(removal: &PendingRemoval) -> u64 {
    if removal.key.is_some() { 0 } else { u64::from(removal.rows.cost) }
}

#[cfg(test)]
mod tests {
    use cache_core::{NewEntry, Timestamp};

    use super::*;
    use crate::queue::Backpressure;

    fn value(cost: u32) -> QueuedValue {
        let key = CacheKey::parse("image:1").unwrap();
        let entry = NewEntry::new("a value").stored_at(Timestamp::from_millis(1));
        let permit = Backpressure::default().try_acquire(7).unwrap();
        QueuedValue { key, hash: 1, rows: Rows { id: 1, cost }, replaced: None, entry, _permit: permit }
    }

    fn removal(id: u64) -> PendingRemoval {
        PendingRemoval { hash: id, rows: Rows { id, cost: 7 }, key: None }
    }

    fn counts(batch: &WriteBatch) -> (usize, usize) {
        (batch.removals.len(), batch.values.len())
    }

    #[test]
    fn removals_are_taken_before_values() {
        let mut queued = WriteBehind::default();
        for id in 1..=10 {
            queued.push_value(value(100));
            queued.push_removal(removal(id));
        }
        let (end, most) = (queued.end(), 8 * budget::written(0, 1));
        assert_eq!(counts(&queued.take(most, false)), (8, 0));
        assert_eq!(counts(&queued.take(most, false)), (2, 5));
        assert!(!queued.start().reaches(end));
        assert_eq!(counts(&queued.take(most, false)), (0, 5));
        assert!(queued.start().reaches(end) && queued.is_empty());
    }

    #[test]
    fn if_there_is_room_removals_and_values_take_turns() {
        let mut queued = WriteBehind::default();
        for id in 1..=1000 {
            queued.push_removal(removal(id));
        }
        queued.push_value(value(1_000_000));
        assert_eq!(queued.removal_cost(), 7000);
        assert_eq!(counts(&queued.take(8 * budget::written(0, 1), true)), (4, 1));
        assert_eq!(queued.removal_cost(), 6972);
    }

    #[test]
    fn a_value_larger_than_a_batch_is_taken_alone() {
        let mut queued = WriteBehind::default();
        queued.push_value(value(1_000_000));
        queued.push_value(value(1_000_000));
        assert_eq!(counts(&queued.take(10_000, true)), (0, 1));
    }
}
