//! Writing queued values and removals, lazy and durable commits, and the flushes that wait for them.

use std::sync::Arc;

use super::{FileState, Writer};
use crate::budget;
use crate::error::Fault;
use crate::index::PendingRemoval;
use crate::queue::{Ack, QueuePosition, QueuedValue, WriteBatch};
use crate::store::{Batch, CommitMode, Rows};

/// The most bytes of values in one transaction.
const MOST_BATCH_BYTES: u64 = 1 << 20;

/// A caller that waits until everything that was queued before `position` is on the disk.
#[derive(Debug)]
pub(super) struct Flush {
    pub(super) position: QueuePosition,
    pub(super) ack: Ack<()>,
}

impl Writer {
    /// Takes what the next transaction writes.
    pub(super) fn take_batch(&self) -> WriteBatch {
        let most = MOST_BATCH_BYTES.min(self.budget.interval);
        self.engine.queue.write_behind(|queued| {
            let is_room = self.is_room_beside(self.garbage_cost() + queued.removal_cost());
            queued.take(most, is_room)
        })
    }

    /// Writes values and removes entries that left the index, in one lazy commit.
    pub(super) fn write(&mut self, batch: WriteBatch) {
        self.lengthen_when_needed();
        self.wait_for_readers();
        let WriteBatch { mut removals, values } = batch;
        let replaced = values.iter().filter_map(|value| Some((value.replaced?, value)));
        removals.extend(replaced.map(|(id, value)| PendingRemoval {
            hash: value.hash,
            rows: Rows { id, ..value.rows },
            key: None,
        }));
        // A value that was replaced, invalidated or evicted while it was queued must not reach the file, and the value
        // before it must not stay there.
        let holds =
            |value: &QueuedValue| self.engine.index.shard(value.hash).holds(value.hash, value.rows.id);
        let (values, dropped): (Vec<_>, Vec<_>) = values.into_iter().partition(holds);
        removals.extend(dropped.iter().map(QueuedValue::to_removal));
        let bytes: u64 = values.iter().map(|value| u64::from(value.rows.cost)).sum();
        let done = if bytes > self.budget.interval {
            // More than may be written between two durable commits: the removals go first, or old and new values would
            // take space together. Freed pages are used again after the second durable commit.
            self.commit_batch(&[], &removals).and_then(|()| {
                self.sync()?;
                self.sync()?;
                self.commit_batch(&values, &[])
            })
        } else {
            self.commit_batch(&values, &removals)
        };
        if let Err(fault) = done {
            self.undo_later(&values, &removals);
            self.fail(&fault);
        }
    }

    fn commit_batch(&mut self, values: &[QueuedValue], removals: &[PendingRemoval]) -> Result<(), Fault> {
        let engine = Arc::clone(&self.engine);
        let bytes = values.iter().map(|value| u64::from(value.rows.cost)).sum();
        let commit = self.commit(budget::written(bytes, values.len() + removals.len()), |batch| {
            remove_all(batch, removals)?;
            for value in values {
                let key = value.key.as_str();
                batch.insert(key, engine.keys.hash(key), value.meta(), &value.entry)?;
            }
            Ok(())
        })?;
        for value in values {
            engine.index.shard(value.hash).mark_stored(value.hash, value.rows.id);
        }
        if commit == CommitMode::Lazy {
            self.undo_later(values, removals);
        }
        Ok(())
    }

    /// Records the removals to apply if a fault comes before the next durable commit: of the written values, and of
    /// the older values of keys whose new value never reached the file.
    pub(super) fn undo_later(&mut self, values: &[QueuedValue], removals: &[PendingRemoval]) {
        self.unsynced.extend(values.iter().map(QueuedValue::to_removal));
        self.unsynced.extend(removals.iter().filter(|removal| removal.key.is_some()).cloned());
    }

    /// Commits `work`, which writes `bytes`: durably if that is more than may be written between two durable commits, else
    /// lazily, after a durable commit of the earlier ones if it is more together with them.
    pub(super) fn commit(
        &mut self,
        bytes: u64,
        work: impl FnOnce(&mut Batch<'_>) -> Result<(), redb::Error>,
    ) -> Result<CommitMode, Fault> {
        let most = self.budget.interval;
        if self.file.get().is_some_and(|file| file.unsynced_bytes > 0 && file.unsynced_bytes + bytes > most) {
            self.sync()?;
        }
        let commit = if bytes > most { CommitMode::Durable } else { CommitMode::Lazy };
        self.commit_as(commit, bytes, work)?;
        Ok(commit)
    }

    /// Commits `work`, which writes `bytes`, and publishes the new state to readers.
    pub(super) fn commit_as(
        &mut self,
        commit: CommitMode,
        bytes: u64,
        work: impl FnOnce(&mut Batch<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), Fault> {
        self.store()?.write(commit, work)?;
        self.publish()?;
        if let Some(file) = self.file.get_mut() {
            file.is_dirty = true;
            file.unsynced_bytes += bytes;
            file.written_bytes += bytes;
        }
        if commit == CommitMode::Durable {
            self.synced();
        }
        Ok(())
    }

    /// Publishes the last commit to readers.
    pub(super) fn publish(&mut self) -> Result<(), Fault> {
        if let FileState::Open(file) = &mut self.file {
            let retired = self.engine.publish(file.store.snapshot()?);
            file.retired.push_back((retired, file.written_bytes));
        }
        Ok(())
    }

    /// Makes every commit so far durable.
    pub(super) fn sync(&mut self) -> Result<(), Fault> {
        if let Some(file) = self.file.get() {
            file.store.write(CommitMode::Durable, |_| Ok(()))?;
            self.synced();
        }
        Ok(())
    }

    /// Notes that a durable commit succeeded.
    pub(super) fn synced(&mut self) {
        self.unsynced.clear();
        if let Some(file) = self.file.get_mut() {
            file.is_dirty = false;
            file.unsynced_bytes = 0;
        }
        self.budget.recover();
        self.set_allowance();
    }

    /// Saves the order of use in a lazy commit.
    pub(super) fn save_order(&mut self) {
        let packed = self.engine.index.packed_usage_order();
        if self.is_open()
            && let Err(fault) = self.commit_as(CommitMode::Lazy, 0, |batch| batch.set_usage_order(&packed))
        {
            self.fail(&fault);
        }
    }

    /// Answers the flushes for which everything that was queued before them is written. Work that is queued later, maybe
    /// without end, does not delay them.
    pub(super) fn answer_flushes_when_due(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let written = self.engine.queue.write_behind(|queued| queued.start());
        let is_complete = self.engine.is_complete();
        let is_written = |flush: &Flush| is_complete && written.reaches(flush.position);
        if self.is_open() && !self.flushes.iter().any(is_written) {
            return;
        }
        if let Err(fault) = self.sync() {
            self.fail(&fault);
        }
        let is_open = self.is_open();
        for Flush { ack, .. } in self.flushes.extract_if(.., |flush| !is_open || is_written(flush)) {
            let unavailable = || Fault::Unavailable.into_error("cannot flush");
            drop(ack.send(is_open.then_some(()).ok_or_else(unavailable)));
        }
    }
}

/// Removes entries that left the index, or whose values were lost.
pub(super) fn remove_all(batch: &mut Batch<'_>, removals: &[PendingRemoval]) -> Result<(), redb::Error> {
    for PendingRemoval { rows, key, .. } in removals {
        match key {
            // Its own rows may not be there; those of an older value may be, or those of a newer one.
            Some(key) => batch.remove_key_up_to(key.as_str(), rows.id)?,
            None => drop(batch.remove_id(rows.id)?),
        }
    }
    Ok(())
}
