//! Sweeping: the rows that an invalidation left behind go without anybody waiting for it.

use std::collections::VecDeque;

use super::Writer;
use crate::budget;
use crate::error::Fault;
use crate::store::{Batch, Remains, Rows};

/// What is still to be swept, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unswept {
    notes: VecDeque<Remains>,
    /// What the rows cost, in bytes: they take space until they are swept.
    cost: u64,
}

impl Unswept {
    pub(super) fn new(notes: Vec<Remains>) -> Self {
        let cost = notes.iter().map(Remains::cost).sum();
        Self { notes: notes.into(), cost }
    }

    pub(super) fn extend(&mut self, notes: Vec<Remains>) {
        let Self { notes, cost } = Self::new(notes);
        self.notes.extend(notes);
        self.cost += cost;
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.notes.iter().flat_map(Remains::rows).map(|rows| rows.id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// What [`budget::written`] counts as at most `most` bytes, or a single note.
    fn take(&mut self, most: u64) -> Vec<Remains> {
        let (mut taken, mut written) = (Vec::new(), 0);
        while let Some(next) = self.notes.front() {
            written += budget::written(0, next.rows().len() + 1);
            if written > most && !taken.is_empty() {
                break;
            }
            self.cost -= next.cost();
            taken.extend(self.notes.pop_front());
        }
        taken
    }
}

impl Writer {
    /// Whether what is unswept takes more than is kept free for it.
    pub(super) fn has_much_to_sweep(&self) -> bool {
        self.unswept.cost() > self.budget.interval
    }

    /// Whether it takes so much that no value may be written before more of it is gone.
    pub(super) fn is_unswept_in_the_way(&self) -> bool {
        self.has_much_to_sweep() && !self.is_room_beside(self.unswept.cost())
    }

    /// Sweeps as much as fits between two durable commits. What fails is known again once the file is reopened.
    pub(super) fn sweep(&mut self) {
        self.wait_for_readers();
        let done = if self.freeing.is_some() {
            // After one of them there is room for all others.
            let notes = self.unswept.take(0);
            self.sweep_in_steps(&notes)
        } else {
            let notes = self.unswept.take(self.budget.interval);
            self.sweep_at_once(&notes)
        };
        match done {
            Ok(()) => self.set_allowance(),
            Err(fault) => self.fail(&fault),
        }
    }

    fn sweep_at_once(&mut self, notes: &[Remains]) -> Result<(), Fault> {
        let written = budget::written(0, notes.iter().map(|note| note.rows().len() + 1).sum());
        let commit = self.commit_for(written)?;
        let Some(store) = &self.store else { return Err(Fault::Unavailable) };
        store.write(commit, |batch| {
            for note in notes {
                batch.sweep(note)?;
            }
            Ok(((), commit))
        })?;
        self.committed(commit, written)
    }

    /// The same while next to no page is free; see [`Writer::free_some`].
    fn sweep_in_steps(&mut self, notes: &[Remains]) -> Result<(), Fault> {
        for note in notes {
            self.in_steps(note.rows(), sweep_rows)?;
            // Its rows are gone: this removes the note alone.
            self.in_steps(&[note], |batch, notes| notes.iter().try_for_each(|note| batch.sweep(note)))?;
        }
        self.freed()
    }
}

fn sweep_rows(batch: &mut Batch<'_>, rows: &[Rows]) -> Result<(), redb::Error> {
    batch.sweep_rows(rows)
}
