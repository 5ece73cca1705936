//! Vacuum: deleting in the background the rows whose keys an invalidation removed.

use std::collections::VecDeque;

use super::Writer;
use crate::budget;
use crate::error::Fault;
use crate::store::{Batch, GarbageNote, Location};

/// The notes of garbage that is still to be deleted, oldest first.
#[derive(Debug)]
pub(super) struct GarbageQueue {
    notes: VecDeque<GarbageNote>,
    /// The cost of the rows, in bytes: they take space until they are deleted.
    cost: u64,
}

impl GarbageQueue {
    pub(super) fn new(notes: Vec<GarbageNote>) -> Self {
        Self { cost: notes.iter().map(GarbageNote::cost).sum(), notes: notes.into() }
    }

    pub(super) fn extend(&mut self, notes: Vec<GarbageNote>) {
        self.cost += notes.iter().map(GarbageNote::cost).sum::<u64>();
        self.notes.extend(notes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Takes notes for up to `most` bytes as [`budget::written`] counts them, or a single larger one.
    fn take(&mut self, most: u64) -> Vec<GarbageNote> {
        let mut bytes = 0;
        let fits = |note: &&GarbageNote| {
            bytes += written(std::slice::from_ref(note));
            bytes <= most
        };
        let count = self.notes.iter().take_while(fits).count().max(1).min(self.notes.len());
        let taken: Vec<GarbageNote> = self.notes.drain(..count).collect();
        self.cost -= taken.iter().map(GarbageNote::cost).sum::<u64>();
        taken
    }
}

impl Writer {
    /// The cost of garbage, in bytes.
    pub(super) fn garbage_cost(&self) -> u64 {
        self.file.get().map_or(0, |file| file.garbage.cost)
    }

    /// Whether garbage takes more than the space that is kept free for it.
    pub(super) fn has_much_garbage(&self) -> bool {
        self.garbage_cost() > self.interval()
    }

    /// Whether garbage takes so much space that no value may be written before more of it is deleted.
    pub(super) fn is_garbage_in_the_way(&self) -> bool {
        self.has_much_garbage() && !self.is_room_beside(self.garbage_cost())
    }

    /// Deletes as much garbage as fits between two durable commits. After a fault, reopening the file reads the notes again.
    pub(super) fn vacuum(&mut self) {
        if self.file.get().is_none_or(|file| file.garbage.is_empty()) {
            return;
        }
        self.wait_for_readers(self.interval());
        // While hardly any page is free, after one note there is space for all others.
        let most = if self.freeing.is_some() { 0 } else { self.interval() };
        let Some(notes) = self.file.get_mut().map(|file| file.garbage.take(most)) else { return };
        let done = if self.freeing.is_some() {
            self.vacuum_in_steps(&notes)
        } else {
            self.commit(written(&notes), |batch| remove_garbage(batch, &notes)).map(drop)
        };
        match done {
            Ok(()) => self.set_allowance(),
            Err(fault) => self.fail(&fault),
        }
    }

    /// Deletes the rows of `notes` a few at a time, while hardly any page is free.
    fn vacuum_in_steps(&mut self, notes: &[GarbageNote]) -> Result<(), Fault> {
        for note in notes {
            self.in_steps(note.rows(), remove_rows)?;
        }
        // The rows are gone: this removes the notes alone.
        self.in_steps(notes, remove_garbage)?;
        self.freed()
    }
}

fn written(notes: &[GarbageNote]) -> u64 {
    budget::written(0, notes.iter().map(|note| note.rows().len() + 1).sum())
}

fn remove_rows(batch: &mut Batch<'_>, rows: &[Location]) -> Result<(), redb::Error> {
    batch.remove_rows(rows)
}

fn remove_garbage(batch: &mut Batch<'_>, notes: &[GarbageNote]) -> Result<(), redb::Error> {
    notes.iter().try_for_each(|note| batch.remove_garbage(note))
}
