//! Writing queued values and removals, lazy and durable commits, and the flushes that wait for them.

use std::sync::Arc;

use cache_core::MissCause;

use super::{FileState, Writer};
use crate::budget;
use crate::error::Fault;
use crate::index::PendingRemoval;
use crate::queue::{Ack, Most, QueuePosition, QueuedValue, WriteBatch};
use crate::store::{Batch, CommitMode, Record};

/// The most bytes of values in one transaction.
const MOST_BATCH_BYTES: u64 = 1 << 20;
/// The most bytes of blocks that are written before commands are served again.
const BATCH_IN_BLOCKS: u64 = 1 << 20;

/// A caller that waits until everything that was queued before `position` is on the disk.
#[derive(Debug)]
pub(super) struct Flush {
    pub(super) position: QueuePosition,
    pub(super) ack: Ack<()>,
}

impl Writer {
    /// Takes what the next transaction writes.
    pub(super) fn take_batch(&self) -> WriteBatch {
        let most = Most {
            written: MOST_BATCH_BYTES.min(self.interval()),
            in_blocks: self.room_for_blocks(),
            batch_in_blocks: BATCH_IN_BLOCKS,
        };
        self.engine.queue.write_behind(|queued| {
            let is_room = self.is_room_beside(self.garbage_cost() + queued.removal_cost());
            queued.take(most, is_room)
        })
    }

    /// Writes values and removes entries that left the index, in one lazy commit.
    pub(super) fn write(&mut self, batch: WriteBatch) {
        self.wait_for_readers(self.interval());
        let WriteBatch { mut removals, values } = batch;
        let replaced = values.iter().filter_map(|value| Some((value.replaced?, value.hash)));
        removals.extend(replaced.map(|(at, hash)| PendingRemoval { hash, at, key: None }));
        // A value that was replaced, invalidated or evicted while it was queued must not reach the file, and the value
        // before it must not stay there.
        let holds = |value: &QueuedValue| self.engine.index.shard(value.hash).holds(value.hash, value.at.id);
        let (values, dropped): (Vec<_>, Vec<_>) = values.into_iter().partition(holds);
        removals.extend(dropped.iter().map(QueuedValue::to_removal));
        if let Err(fault) = self.commit_batch(&values, &removals) {
            self.undo_later(&values, &removals);
            self.fail(&fault);
        }
    }

    /// Removes what the file holds for the keys of `dropped`, which are not to be written.
    pub(super) fn drop_values(&mut self, dropped: impl IntoIterator<Item = QueuedValue>) {
        let values: Vec<QueuedValue> = dropped.into_iter().collect();
        for value in &values {
            self.engine.index.shard(value.hash).remove_if(value.hash, value.at.id, MissCause::Evicted);
        }
        self.write(WriteBatch { removals: Vec::new(), values });
    }

    fn commit_batch<'v>(
        &mut self,
        values: &'v [QueuedValue],
        removals: &[PendingRemoval],
    ) -> Result<(), Fault> {
        let engine = Arc::clone(&self.engine);
        let bytes = values.iter().map(|value| budget::row_cost(value.at)).sum();
        let record = |value: &'v QueuedValue| {
            let key = value.key.as_str();
            Record::new(key, engine.keys.hash(key), value.at.id, &value.entry)
        };
        let records: Vec<Record<'_>> = values.iter().map(record).collect();
        self.write_blocks(values, &records)?;
        // What the blocks take is not left to the database.
        self.set_allowance();
        let next_id = self.file.get().map_or(0, |file| file.next_id);
        let next_id = values.iter().map(|value| value.at.end()).fold(next_id, u64::max);
        let commit = self.commit(budget::written(bytes, values.len() + removals.len()), |batch| {
            remove_all(batch, removals)?;
            for (value, record) in values.iter().zip(&records) {
                batch.insert(value.key.as_str(), value.meta(), record)?;
            }
            if values.is_empty() { Ok(()) } else { batch.set_next_id(next_id) }
        })?;
        if let Some(file) = self.file.get_mut() {
            file.next_id = next_id;
        }
        for value in values {
            engine.index.shard(value.hash).mark_stored(value.hash, value.at.id);
        }
        if commit == CommitMode::Lazy {
            self.undo_later(values, removals);
        }
        Ok(())
    }

    /// Writes the parts of `records` that are in blocks; those of a batch that fails are freed.
    fn write_blocks(&mut self, values: &[QueuedValue], records: &[Record<'_>]) -> Result<(), Fault> {
        let files = Arc::clone(&self.store()?.values);
        let in_blocks = || values.iter().zip(records).filter(|(value, _)| value.at.blocks() > 0);
        let written = in_blocks()
            .try_for_each(|(value, record)| files.write(value.at, record.start(value.at.bytes_in_blocks())));
        written.map_err(|error| {
            for (value, _) in in_blocks() {
                // What stays is found when the file is reopened.
                let _ = files.free(value.at.id..value.at.end());
            }
            Fault::Redb(error.into())
        })
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
        let most = self.interval();
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
        let written = self.store()?.write(commit, work)?;
        self.publish()?;
        self.compacts_after = self.compacts_after.saturating_sub(bytes);
        if let Some(file) = self.file.get_mut() {
            file.free(&written.freed);
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

    /// Makes all blocks that were written durable.
    ///
    /// Only for a flush and at the end: a commit does not wait for blocks, because a row whose blocks were lost is a miss.
    pub(super) fn sync_values(&self) -> Result<(), Fault> {
        self.file
            .get()
            .map_or(Ok(()), |file| file.store.values.sync())
            .map_err(|error| Fault::Redb(error.into()))
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
        // A commit that changes nothing takes pages all the same, until readers get another snapshot.
        let is_dirty = self.file.get().is_some_and(|file| file.is_dirty);
        let synced = self.sync_values().and_then(|()| if is_dirty { self.sync() } else { Ok(()) });
        if let Err(fault) = synced {
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
    let mut stored = Vec::new();
    for PendingRemoval { at, key, .. } in removals {
        match key {
            // Its own record may not be there; that of an older value may be, or that of a newer one.
            Some(key) => batch.remove_key_up_to(key.as_str(), at.id)?,
            None => stored.push(*at),
        }
    }
    batch.remove_entries(&stored).map(drop)
}
