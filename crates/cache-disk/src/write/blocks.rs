//! Blocks of the values files: what is freed, and room for what is to be written.

use std::ops::Range;

use cache_core::sync::atomic::Ordering;

use super::{OpenFile, Writer};
use crate::queue::WriteBehind;
use crate::store::Location;

/// Runs of blocks that are freed before commands are served again.
const RUNS_AT_ONCE: usize = 64;

impl Writer {
    /// Whether there are blocks that can be freed now.
    pub(super) fn has_blocks_to_free(&self) -> bool {
        self.file.get().is_some_and(|file| !file.freed.is_empty())
    }

    /// Frees some of the blocks that nothing leads to; returns whether there were any.
    ///
    /// Blocks that cannot be freed are tried again a second later; those of a process that ended are found by the next.
    pub(super) fn free_blocks(&mut self) -> bool {
        let Some(file) = self.file.get_mut() else { return false };
        let mut some = file.freed.split_off(file.freed.len().saturating_sub(RUNS_AT_ONCE));
        if some.is_empty() {
            return false;
        }
        some.sort_unstable_by_key(|blocks| blocks.start);
        let values = &file.store.values;
        let is_run = |one: &Range<u64>, next: &Range<u64>| values.bits().is_sparse() && one.end == next.start;
        for run in some.chunk_by(is_run) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            if let Err(error) = values.free(first.start..last.end) {
                cache_core::log::warn!(
                    limit: values.path(), %error, "disk cache cannot free the space of removed values"
                );
                file.refused.extend_from_slice(run);
            }
        }
        true
    }

    /// Has blocks that could not be freed tried again.
    pub(super) fn free_again(&mut self) {
        if let Some(file) = self.file.get_mut() {
            file.freed.append(&mut file.refused);
        }
    }

    /// Frees blocks later to which nothing of this opening leads.
    pub(super) fn free_later(&mut self, opening: u64, blocks: Vec<Range<u64>>) {
        if let Some(file) = self.file.get_mut().filter(|file| file.store.opening == opening) {
            file.freed.extend(blocks);
        }
    }

    /// The space of the values files on the disk, in bytes.
    pub(super) fn values_bytes(&self) -> u64 {
        self.file.get().map_or(0, |file| file.store.values.taken_bytes())
    }

    /// The space for further blocks, in bytes.
    pub(super) fn room_for_blocks(&self) -> u64 {
        let Some(file) = self.file.get() else { return 0 };
        let space = self.engine.space.load();
        // The transaction that follows the blocks may take pages of the database that were never written.
        let of_rows = space.written_bytes() + self.interval() + self.reserve();
        let of_rows = of_rows.max(self.budget.needed(self.rows_cost()));
        self.whole().saturating_sub(of_rows + file.store.values.taken_bytes())
    }

    /// Makes space for the blocks of the next value, when nothing is left that could be removed for it; returns whether there
    /// is one.
    ///
    /// The space is taken by what the costs of entries do not count: free pages of the database, which a compaction gives
    /// back, or the file system's own records of many extents, for which entries are evicted.
    pub(super) fn make_space(&mut self) -> bool {
        let needed = self.engine.queue.write_behind(|queued| queued.next_in_blocks());
        let missing = needed.saturating_sub(self.room_for_blocks());
        if missing == 0 || self.has_blocks_to_free() {
            return false;
        }
        if self.compact_for_blocks() {
            return true;
        }
        let before = self.engine.index.cost();
        if self.file.get().is_some_and(|file| file.refused.is_empty()) {
            let missing = missing.max(self.budget.whole(0) / 256);
            self.engine.allowance.store(before.saturating_sub(missing), Ordering::Relaxed);
            self.engine.make_room(0);
            self.set_allowance();
        }
        if self.engine.index.cost() == before {
            // Nothing is left to evict, or no space comes of it.
            let dropped = self.engine.queue.write_behind(WriteBehind::take_value);
            self.drop_values(dropped);
        }
        true
    }

    /// Removes values files that hold nothing, and the entries of the oldest if there are too many.
    pub(super) fn close_empty_files(&mut self) {
        let Some(OpenFile { store, .. }) = self.file.get() else { return };
        if let Some(end) = store.values.close_empty() {
            let removed = self.engine.index.remove_below(end);
            self.engine.stats.lock().evictions += removed.len() as u64;
            self.engine.queue_removals(removed);
        }
    }
}

impl OpenFile {
    /// Frees the blocks of `entries` later.
    pub(super) fn free(&mut self, entries: &[Location]) {
        self.freed.extend(entries.iter().map(|at| at.id..at.end()));
    }
}
