//! [`Table`]: the contents of a journal's slots in memory. It knows which slots are to be written, and writes none.

use std::collections::BTreeSet;

use super::format::{self, SLOTS, Slot};

/// The slot that holds `everything` for all claims that found too few free slots.
const OVERFLOW: usize = 1;

/// The texts in the slots of one journal.
#[derive(Debug)]
pub(super) struct Table {
    /// By number of the slot; the first is the file's heading and stays empty here.
    texts: Vec<Option<String>>,
    /// The lowest is taken first, so that a released slot is usually overwritten and need not be freed on disk.
    free: BTreeSet<usize>,
    changed: BTreeSet<usize>,
    /// How many claims share the overflow slot.
    overflowing: usize,
    /// Whether a write failed: the content of the file is unknown until every slot was written again.
    is_unsure: bool,
}

/// The slots of one intent or of pending invalidations.
#[derive(Debug)]
pub(super) struct Claim(pub(super) Vec<usize>);

impl Claim {
    /// Whether the claim is a share of the slot that holds `everything`.
    pub(super) fn is_overflow(&self) -> bool {
        self.0 == [OVERFLOW]
    }
}

impl Table {
    /// Creates a table whose slots `taken` are in the file already.
    pub(super) fn new(taken: impl IntoIterator<Item = (usize, String)>) -> Self {
        let mut table = Self {
            texts: vec![None; SLOTS],
            free: (OVERFLOW + 1..SLOTS).collect(),
            changed: BTreeSet::new(),
            overflowing: 0,
            is_unsure: false,
        };
        for (number, text) in taken {
            table.free.remove(&number);
            table.overflowing += usize::from(number == OVERFLOW);
            table.put(number, Some(text));
        }
        table.changed.clear();
        table
    }

    /// Puts `texts` into free slots; if there are too few, puts `everything` into the overflow slot instead.
    pub(super) fn claim(&mut self, texts: Vec<String>, everything: String) -> Claim {
        if texts.len() > self.free.len() {
            self.overflowing += 1;
            self.put(OVERFLOW, Some(everything));
            return Claim(vec![OVERFLOW]);
        }
        let mut taken = Vec::with_capacity(texts.len());
        for text in texts {
            let Some(number) = self.free.pop_first() else { break };
            self.put(number, Some(text));
            taken.push(number);
        }
        Claim(taken)
    }

    /// Adds the invalidations of `text` to the last slot of `claim`; returns whether they fit.
    pub(super) fn extend(&mut self, claim: &Claim, text: &str) -> bool {
        let last = claim.0.last().copied().filter(|number| *number != OVERFLOW);
        // A sector is written whole or not at all: the new text holds the old one too.
        let joined = last.and_then(|last| {
            let held = self.texts.get(last)?.as_deref()?;
            Some((last, format::joined(held, text)?))
        });
        let Some((number, joined)) = joined else { return false };
        self.put(number, Some(joined));
        true
    }

    /// Frees the slots of `claim`.
    pub(super) fn release(&mut self, claim: Claim) {
        for number in claim.0 {
            if number == OVERFLOW {
                self.overflowing = self.overflowing.saturating_sub(1);
                if self.overflowing > 0 {
                    continue;
                }
            } else {
                self.free.insert(number);
            }
            self.put(number, None);
        }
    }

    /// Takes the slots to be written so that the file holds what the table holds. They count as written.
    pub(super) fn take_changes(&mut self) -> Vec<(usize, Slot)> {
        let changed = std::mem::take(&mut self.changed);
        let numbers = if self.is_unsure { (OVERFLOW..SLOTS).collect() } else { changed };
        numbers.into_iter().map(|number| (number, self.slot(number))).collect()
    }

    /// Notes whether all slots that counted as written are certain to be in the file.
    pub(super) fn written(&mut self, is_certain: bool) {
        self.is_unsure = !is_certain;
    }

    fn put(&mut self, number: usize, text: Option<String>) {
        if let Some(slot) = self.texts.get_mut(number) {
            *slot = text;
            self.changed.insert(number);
        }
    }

    fn slot(&self, number: usize) -> Slot {
        let text = self.texts.get(number).and_then(Option::as_deref);
        text.map_or(format::FREE, |text| format::sealed(number, text))
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
    fn a_released_slot_is_the_next_to_be_taken() {
        let mut table = table();
        let first = claim(&mut table, 1);
        assert_eq!(numbers(&table.take_changes()), [2]);
        table.release(first);
        let _second = claim(&mut table, 2);
        assert_eq!(numbers(&table.take_changes()), [2, 3]);
        assert!(table.take_changes().is_empty());
    }

    #[test]
    fn claims_without_free_slots_share_one_slot_until_the_last_of_them_is_released() {
        let mut table = table();
        let all = claim(&mut table, SLOTS - 2);
        table.take_changes();
        let (one, two) = (claim(&mut table, 1), claim(&mut table, 900));
        assert!(one.is_overflow() && two.is_overflow());
        assert_eq!(table.take_changes(), [(OVERFLOW, format::sealed(OVERFLOW, "everything"))]);
        table.release(one);
        assert!(table.take_changes().is_empty());
        table.release(two);
        assert_eq!(table.take_changes(), [(OVERFLOW, format::FREE)]);
        table.release(all);
        assert!(!claim(&mut table, 1).is_overflow());
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
    fn slots_taken_before_stay_as_they_are() {
        let mut table = Table::new([(2, "x".to_owned()), (OVERFLOW, "y".to_owned())]);
        assert!(table.take_changes().is_empty());
        let _claim = claim(&mut table, 1);
        assert_eq!(numbers(&table.take_changes()), [3]);
    }

    #[test]
    fn an_overflow_slot_of_an_earlier_process_is_released_only_with_the_claims_that_share_it() {
        let mut table = Table::new((1..SLOTS).map(|number| (number, "x".to_owned())));
        let one = claim(&mut table, 1);
        table.release(Claim(vec![OVERFLOW]));
        assert_eq!(table.take_changes(), [(OVERFLOW, format::sealed(OVERFLOW, "everything"))]);
        table.release(one);
        assert_eq!(table.take_changes(), [(OVERFLOW, format::FREE)]);
    }
}
