//! [`WriteBehind`]: the values and removals that no caller waits for, and the order in which they are written.

use std::collections::VecDeque;

use cache_core::{CacheKey, Entry};

use super::Permit;
use crate::budget;
use crate::index::PendingRemoval;
use crate::store::{BLOCK, Location, Meta};

/// The most operations in one transaction.
const MOST_OPERATIONS: usize = 1000;

/// A value to be written if the index still holds this id for its key.
#[derive(Debug)]
pub(crate) struct QueuedValue {
    pub(crate) key: CacheKey,
    pub(crate) hash: u64,
    pub(crate) at: Location,
    /// The entry that it replaced in the index, which is removed with the same transaction.
    pub(crate) replaced: Option<Location>,
    pub(crate) entry: Entry,
    /// Held until the value is written.
    pub(crate) _permit: Permit,
}

impl QueuedValue {
    pub(crate) fn meta(&self) -> Meta {
        Meta { at: self.at, expires_at: self.entry.expires_at }
    }

    /// The removal of whatever the file holds for the key, up to this value.
    pub(crate) fn to_removal(&self) -> PendingRemoval {
        PendingRemoval { hash: self.hash, at: self.at, key: Some(self.key.clone()) }
    }
}

/// The queued values and removals, oldest first.
#[derive(Debug, Default)]
pub(crate) struct WriteBehind {
    removals: VecDeque<PendingRemoval>,
    values: VecDeque<QueuedValue>,
    /// The cost of all removals, in bytes.
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

/// How much of the queue one transaction takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    /// Bytes that are written to the database.
    pub(crate) written: u64,
    /// Bytes of blocks for which there is space.
    pub(crate) in_blocks: u64,
    /// Bytes of blocks that are written in one transaction, but for a single larger value.
    pub(crate) batch_in_blocks: u64,
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
        self.removal_cost += removal_cost(&removal);
        self.removals.push_back(removal);
    }

    /// Whether there is nothing to write and nothing to remove.
    pub(crate) fn is_empty(&self) -> bool {
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

    /// The cost of all removals, in bytes: they take space until they are removed.
    pub(crate) fn removal_cost(&self) -> u64 {
        self.removal_cost
    }

    /// The hashes of keys whose values are still to be written or removed.
    pub(crate) fn hashes(&self) -> Vec<u64> {
        let removals = self.removals.iter().map(|removal| removal.hash);
        removals.chain(self.values.iter().map(|value| value.hash)).collect()
    }

    /// Takes up to `most.written` bytes as [`budget::written`] counts them, and values with up to `most.in_blocks` bytes in
    /// blocks, if there `is_room` a single larger one.
    ///
    /// If space is short, all removals go before any value: a page that many entries share is free only when the last of
    /// them is removed. If there `is_room`, both take turns, so that no value waits for removals of expired entries.
    pub(crate) fn take(&mut self, most: Most, is_room: bool) -> WriteBatch {
        let of_removal = budget::written(0, 1);
        let for_removals = if is_room { most.written / 2 } else { most.written };
        let count =
            usize::try_from(for_removals / of_removal).unwrap_or(usize::MAX).clamp(1, MOST_OPERATIONS / 2);
        let mut batch = WriteBatch { removals: self.take_removals(count), values: Vec::new() };
        let mut bytes = of_removal * batch.removals.len() as u64;
        let mut in_blocks = 0;
        while batch.removals.len() + batch.values.len() < MOST_OPERATIONS
            && let Some(next) = self.values.front()
        {
            bytes += budget::written(budget::row_cost(next.at), 1);
            in_blocks += next.at.blocks() * BLOCK;
            let is_alone = batch.values.is_empty() && (is_room || batch.removals.is_empty());
            let is_one_of_many = in_blocks > most.batch_in_blocks && !batch.values.is_empty();
            if bytes > most.written && !is_alone || in_blocks > most.in_blocks || is_one_of_many {
                break;
            }
            batch.values.extend(self.take_value());
        }
        batch
    }

    /// The space that the next value needs in blocks, in bytes.
    pub(crate) fn next_in_blocks(&self) -> u64 {
        self.values.front().map_or(0, |value| value.at.blocks() * BLOCK)
    }

    /// Takes the next value.
    pub(crate) fn take_value(&mut self) -> Option<QueuedValue> {
        self.values.pop_front()
    }

    /// Takes up to `most` removals, and no value.
    pub(crate) fn take_removals(&mut self, most: usize) -> Vec<PendingRemoval> {
        let taken: Vec<PendingRemoval> = self.removals.drain(..most.min(self.removals.len())).collect();
        self.removal_cost -= taken.iter().map(removal_cost).sum::<u64>();
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

/// The cost of what is in the files.
fn removal_cost(removal: &PendingRemoval) -> u64 {
    if removal.key.is_some() { 0 } else { budget::cost(removal.at) }
}

#[cfg(test)]
mod tests {
    use cache_core::{NewEntry, Timestamp};

    use super::*;
    use crate::queue::Backpressure;
    use crate::store::packed_size;

    fn value(record_bytes: usize) -> QueuedValue {
        let key = CacheKey::parse("image:1").unwrap();
        let entry = NewEntry::new("a value").stored_at(Timestamp::from_millis(1));
        let permit = Backpressure::default().try_acquire(7).unwrap();
        let at = Location { id: 1, size: packed_size("image:1", record_bytes) };
        QueuedValue { key, hash: 1, at, replaced: None, entry, _permit: permit }
    }

    fn removal(id: u64) -> PendingRemoval {
        PendingRemoval { hash: id, at: Location { id, size: 7 }, key: None }
    }

    fn counts(batch: &WriteBatch) -> (usize, usize) {
        (batch.removals.len(), batch.values.len())
    }

    fn most(operations: u64) -> Most {
        Most { written: operations * budget::written(0, 1), in_blocks: 1 << 30, batch_in_blocks: 1 << 20 }
    }

    #[test]
    fn removals_are_taken_before_values() {
        let mut queued = WriteBehind::default();
        for id in 1..=10 {
            queued.push_value(value(100));
            queued.push_removal(removal(id));
        }
        let end = queued.end();
        assert_eq!(counts(&queued.take(most(8), false)), (8, 0));
        assert_eq!(counts(&queued.take(most(8), false)), (2, 5));
        assert!(!queued.start().reaches(end));
        assert_eq!(counts(&queued.take(most(8), false)), (0, 5));
        assert!(queued.start().reaches(end) && queued.is_empty());
    }

    #[test]
    fn if_there_is_room_removals_and_values_take_turns() {
        let mut queued = WriteBehind::default();
        for id in 1..=1000 {
            queued.push_removal(removal(id));
        }
        queued.push_value(value(1_000_000));
        let whole = queued.removal_cost();
        assert_eq!(whole, 1000 * budget::cost(Location { id: 1, size: 7 }));
        assert_eq!(counts(&queued.take(most(8), true)), (4, 1));
        assert_eq!(queued.removal_cost(), whole / 1000 * 996);
    }

    #[test]
    fn values_are_taken_as_far_as_there_is_space_for_their_blocks() {
        let mut queued = WriteBehind::default();
        (0..3).for_each(|_| queued.push_value(value(2_000_000)));
        // A value larger than a batch is taken alone.
        assert_eq!(counts(&queued.take(most(8), true)), (0, 1));
        let full = Most { in_blocks: 1_999_999, ..most(8) };
        assert_eq!(counts(&queued.take(full, true)), (0, 0));
        assert!(queued.next_in_blocks() > 2_000_000);
    }
}
