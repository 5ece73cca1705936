//! [`Table`]: which slots of a journal hold what, in memory; it knows what is to be written and writes nothing.

use std::collections::BTreeSet;

use super::slots::{self, SLOTS, Slot};

/// The slot that says `everything` for all claims that found no room.
const OVERFLOW: usize = 1;

/// The texts in the slots of one journal.
#[derive(Debug)]
pub(super) struct Table {
    /// By number of the slot; the first is the file's heading and stays empty here.
    texts: Vec<Option<String>>,
    /// The lowest is taken first, so that a slot that was let go is usually overwritten and need not be freed on disk.
    free: BTreeSet<usize>,
    changed: BTreeSet<usize>,
    overflowing: usize,
    /// A write failed: nobody knows what the file holds until every slot was written again.
    unsure: bool,
}

/// What one intent holds in the table.
#[derive(Debug)]
pub(super) enum Claim {
    /// Slots of its own.
    Slots(Vec<usize>),
    /// A share of the slot that says `everything`.
    Overflow,
}

impl Table {
    /// A table whose slots `taken` stay as they are in the file.
    pub(super) fn new(taken: impl IntoIterator<Item = (usize, String)>) -> Self {
        let mut table = Self {
            texts: vec![None; SLOTS],
            free: (OVERFLOW + 1..SLOTS).collect(),
            changed: BTreeSet::new(),
            overflowing: 0,
            unsure: false,
        };
        for (number, text) in taken {
            table.free.remove(&number);
            table.put(number, Some(text));
        }
        table.changed.clear();
        table
    }

    /// Puts `texts` into slots; where there is no room for all of them, `everything` stands for them.
    pub(super) fn claim(&mut self, texts: Vec<String>, everything: String) -> Claim {
        if texts.len() > self.free.len() {
            if self.overflowing == 0 {
                self.put(OVERFLOW, Some(everything));
            }
            self.overflowing += 1;
            return Claim::Overflow;
        }
        let mut taken = Vec::with_capacity(texts.len());
        for text in texts {
            let Some(number) = self.free.pop_first() else { break };
            self.put(number, Some(text));
            taken.push(number);
        }
        Claim::Slots(taken)
    }

    /// Puts `text`, which says all that the old one said and more, in the place of what slot `number` holds.
    pub(super) fn extend(&mut self, number: usize, text: String) {
        self.put(number, Some(text));
    }

    /// Lets go of what `claim` holds.
    pub(super) fn release(&mut self, claim: Claim) {
        match claim {
            Claim::Slots(numbers) => {
                for number in numbers {
                    self.put(number, None);
                    self.free.insert(number);
                }
            }
            Claim::Overflow => {
                self.overflowing = self.overflowing.saturating_sub(1);
                if self.overflowing == 0 {
                    self.put(OVERFLOW, None);
                }
            }
        }
    }

    /// What must be written so that the file holds what the table holds; it is then taken for written.
    pub(super) fn take_changes(&mut self) -> Vec<(usize, Slot)> {
        let changed = std::mem::take(&mut self.changed);
        let numbers = if self.unsure { (OVERFLOW..SLOTS).collect() } else { changed };
        numbers.into_iter().map(|number| (number, self.slot(number))).collect()
    }

    /// Says whether what was taken for written really was.
    pub(super) fn written(&mut self, is_certain: bool) {
        self.unsure = !is_certain;
    }

    fn put(&mut self, number: usize, text: Option<String>) {
        if let Some(slot) = self.texts.get_mut(number) {
            *slot = text;
            self.changed.insert(number);
        }
    }

    fn slot(&self, number: usize) -> Slot {
        let text = self.texts.get(number).and_then(Option::as_deref);
        text.map_or(slots::FREE, |text| slots::sealed(number, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(changes: &[(usize, Slot)]) -> Vec<usize> {
        changes.iter().map(|(number, _)| *number).collect()
    }

    fn table() -> Table {
        Table::new([])
    }

    fn claim(table: &mut Table, count: usize) -> Claim {
        table.claim(vec!["x".to_owned(); count], "everything".to_owned())
    }

    #[test]
    fn a_slot_that_was_let_go_is_the_next_to_be_taken() {
        let mut table = table();
        let first = claim(&mut table, 1);
        assert_eq!(numbers(&table.take_changes()), [2]);
        table.release(first);
        let _second = claim(&mut table, 2);
        assert_eq!(numbers(&table.take_changes()), [2, 3]);
        assert!(table.take_changes().is_empty());
    }

    #[test]
    fn what_finds_no_room_is_covered_by_one_slot_until_the_last_such_claim_ends() {
        let mut table = table();
        let all = claim(&mut table, SLOTS - 2);
        table.take_changes();
        let (one, two) = (claim(&mut table, 1), claim(&mut table, 900));
        assert!(matches!((&one, &two), (Claim::Overflow, Claim::Overflow)));
        assert_eq!(table.take_changes(), [(OVERFLOW, slots::sealed(OVERFLOW, "everything"))]);
        table.release(one);
        assert!(table.take_changes().is_empty());
        table.release(two);
        assert_eq!(table.take_changes(), [(OVERFLOW, slots::FREE)]);
        table.release(all);
        assert!(matches!(claim(&mut table, 1), Claim::Slots(_)));
    }

    #[test]
    fn after_a_failed_write_every_slot_is_written_until_it_is_certain() {
        let mut table = table();
        let _claim = claim(&mut table, 1);
        table.take_changes();
        table.written(false);
        assert_eq!(table.take_changes().len(), SLOTS - 1);
        table.written(false);
        assert_eq!(table.take_changes().len(), SLOTS - 1);
        table.written(true);
        assert!(table.take_changes().is_empty());
    }

    #[test]
    fn slots_that_were_taken_before_stay_as_they_are() {
        let mut table = Table::new([(2, "x".to_owned()), (OVERFLOW, "y".to_owned())]);
        assert!(table.take_changes().is_empty());
        let _claim = claim(&mut table, 1);
        assert_eq!(numbers(&table.take_changes()), [3]);
    }
}
