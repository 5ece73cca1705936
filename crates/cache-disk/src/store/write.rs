//! [`Batch`]: the operations of a write transaction.

use std::collections::HashSet;
use std::ops::Bound;

use cache_core::Invalidation;
use cache_core::panics::PanicSafeDrop;
use redb::{ReadableTable, Table};

use super::garbage::GarbageNote;
use super::location::{Location, ROW_BYTES};
use super::record::{HEAD_AND_KEY, Parsed, Record};
use super::schema::{FORMAT, FORMAT_NAME, Meta, NAMESPACE_NAME, NEXT_ID_NAME, ORDER_NAMES, VALUES_NAME};
use crate::values::{SectionBits, Values};

/// The tables inside a write transaction.
pub(crate) struct Batch<'t> {
    pub(super) data: PanicSafeDrop<Table<'t, u64, &'static [u8]>>,
    pub(super) meta: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
    pub(super) state: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
    pub(super) counters: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
    pub(super) values: &'t Values,
    /// The entries whose blocks can be freed once this is committed.
    pub(super) freed: Vec<Location>,
    pub(super) is_aborted: bool,
}

impl Batch<'_> {
    /// Has the transaction aborted instead of committed: nothing was changed.
    pub(crate) fn abort(&mut self) {
        self.is_aborted = true;
    }

    /// Writes an entry in place of the one that its key had. Its blocks are written already.
    pub(crate) fn insert(&mut self, key: &str, meta: Meta, record: &Record<'_>) -> Result<(), redb::Error> {
        let in_row = meta.at.row_bytes();
        if in_row > 0 {
            self.data.insert(meta.at.id, record.end(in_row).as_slice())?;
        }
        let replaced =
            self.meta.insert(key, meta.to_bytes().as_slice())?.and_then(|old| Meta::from_bytes(old.value()));
        replaced.map_or(Ok(()), |old| self.remove_record(old.at))
    }

    /// Removes the entry of `key` unless it is newer than `id`.
    pub(crate) fn remove_key_up_to(&mut self, key: &str, id: u64) -> Result<(), redb::Error> {
        let newest = self.meta.get(key)?.map(|meta| location_in(meta.value()));
        if let Some(newest) = newest.filter(|newest| newest.id <= id) {
            self.meta.remove(key)?;
            self.remove_record(newest)?;
        }
        Ok(())
    }

    /// Removes keys that match `what` from `meta`, beginning with `from` and looking at up to `most`, but not the rows of the
    /// entries, which it adds to `unlinked`; returns the key to go on with, if that is not all.
    pub(crate) fn unlink(
        &mut self,
        what: &Invalidation,
        from: &str,
        most: usize,
        unlinked: &mut Vec<(String, Location)>,
    ) -> Result<Option<String>, redb::Error> {
        if let Invalidation::Key(key) = what {
            let removed = self.meta.remove(key.as_str())?;
            unlinked.extend(removed.map(|meta| (key.to_string(), location_in(meta.value()))));
            return Ok(None);
        }
        let prefix = what.literal_prefix();
        let first = from.max(prefix);
        let end = prefix_end(prefix);
        let range = (Bound::Included(first), bound(end.as_deref()));
        let rest = match self.meta.range::<&str>(range)?.nth(most) {
            Some(row) => Some(row?.0.value().to_owned()),
            None => None,
        };
        if rest.as_deref().is_some_and(|rest| rest <= first) {
            return Err(redb::Error::Corrupted("keys are not where they belong".to_owned()));
        }
        let range = (Bound::Included(first), bound(rest.as_deref().or(end.as_deref())));
        self.meta.retain_in::<&str, _>(range, |key, meta| {
            let is_kept = !what.matches(key);
            if !is_kept {
                unlinked.push((key.to_owned(), location_in(meta)));
            }
            is_kept
        })?;
        Ok(rest)
    }

    /// Removes the entries at `all`, whose keys are read from their records; returns how many there were.
    pub(crate) fn remove_entries(&mut self, all: &[Location]) -> Result<usize, redb::Error> {
        let (mut removed, mut unreadable) = (0, HashSet::new());
        for at in all {
            let row = if at.row_bytes() > 0 {
                self.data.remove(at.id)?.map(|row| row.value().to_vec())
            } else {
                None
            };
            if at.blocks() == 0 && row.is_none() {
                continue;
            }
            let head = if at.blocks() > 0 { self.head_in_blocks(*at) } else { row };
            match head
                .as_deref()
                .map(|head| Parsed::of(head).and_then(|record| record.key().map(str::to_owned)))
            {
                Some(Some(key)) => self.unlink_entry(&key, at.id)?,
                Some(None) => drop(unreadable.insert(at.id)),
                // A hole, which no key leads to: the entry was never written.
                None => continue,
            }
            removed += 1;
            self.free_blocks(*at);
        }
        if !unreadable.is_empty() {
            // Damaged: their keys are found by their ids.
            self.meta.retain(|_, meta| !unreadable.contains(&location_in(meta).id))?;
        }
        Ok(removed)
    }

    /// Writes notes of the rows of `entries`, whose keys were unlinked; removes them at once if they are few.
    pub(crate) fn note_garbage(&mut self, entries: Vec<Location>) -> Result<Vec<GarbageNote>, redb::Error> {
        let mut rows = entries;
        for at in &rows {
            self.free_blocks(*at);
        }
        rows.retain(|at| at.row_bytes() > 0);
        rows.sort_unstable();
        let notes = GarbageNote::of(&rows);
        if notes.is_empty() {
            self.remove_rows(&rows)?;
        }
        for note in &notes {
            self.state.insert(note.name().as_str(), note.to_bytes().as_slice())?;
        }
        Ok(notes)
    }

    /// Removes the rows that `note` names, and the note.
    pub(crate) fn remove_garbage(&mut self, note: &GarbageNote) -> Result<(), redb::Error> {
        self.remove_rows(note.rows())?;
        self.state.remove(note.name().as_str())?;
        Ok(())
    }

    /// Removes the records of `entries`.
    pub(crate) fn remove_records(&mut self, entries: &[Location]) -> Result<(), redb::Error> {
        entries.iter().try_for_each(|at| self.remove_record(*at))
    }

    /// Removes the rows of `entries`, given by ascending ids: many that follow each other are removed as one range.
    pub(crate) fn remove_rows(&mut self, entries: &[Location]) -> Result<(), redb::Error> {
        for run in entries.chunk_by(|one, next| one.end() == next.id) {
            match run {
                [one] => drop(self.data.remove(one.id)?),
                [first, .., last] => self.data.retain_in(first.id..=last.id, |_, _| false)?,
                [] => {}
            }
        }
        Ok(())
    }

    /// Writes the format, the namespace and the identity of the values files, by which the next opening recognizes the file.
    pub(crate) fn identify(
        &mut self,
        namespace: &str,
        generation: u64,
        bits: SectionBits,
    ) -> Result<(), redb::Error> {
        let values = [&generation.to_le_bytes()[..], &[bits.to_byte()]].concat();
        self.state.insert(FORMAT_NAME, FORMAT)?;
        self.state.insert(VALUES_NAME, values.as_slice())?;
        self.state.insert(NAMESPACE_NAME, namespace.as_bytes())?;
        Ok(())
    }

    /// Notes that every id of an entry is below `next`.
    pub(crate) fn set_next_id(&mut self, next: u64) -> Result<(), redb::Error> {
        self.state.insert(NEXT_ID_NAME, next.to_le_bytes().as_slice())?;
        Ok(())
    }

    /// Replaces the saved order of use.
    pub(crate) fn set_usage_order(&mut self, packed: &[u8]) -> Result<(), redb::Error> {
        self.state.retain(|name, _| !name.starts_with(ORDER_NAMES))?;
        for (at, part) in packed.chunks(ROW_BYTES - 64).enumerate() {
            self.state.insert(format!("{ORDER_NAMES}{at:08}").as_str(), part)?;
        }
        Ok(())
    }

    /// Reads a counter or a claim.
    pub(crate) fn counter(&self, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(self.counters.get(name)?.map(|value| value.value().to_vec()))
    }

    /// Sets a counter or a claim.
    pub(crate) fn set_counter(&mut self, name: &str, value: &[u8]) -> Result<(), redb::Error> {
        self.counters.insert(name, value)?;
        Ok(())
    }

    /// Removes a counter or a claim, and returns it.
    pub(crate) fn remove_counter(&mut self, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(self.counters.remove(name)?.map(|value| value.value().to_vec()))
    }

    /// Reads the beginning of a record in blocks, which is empty if it cannot be read; `None` if it is a hole.
    fn head_in_blocks(&self, at: Location) -> Option<Vec<u8>> {
        let mut head = Vec::new();
        match self.values.read(at, at.bytes_in_blocks().min(HEAD_AND_KEY), &mut head) {
            Ok(()) => head.iter().any(|byte| *byte != 0).then_some(head),
            Err(_) => Some(Vec::new()),
        }
    }

    /// Removes `key` if its entry is the one of `id`.
    fn unlink_entry(&mut self, key: &str, id: u64) -> Result<(), redb::Error> {
        let removed = self.meta.remove(key)?.and_then(|meta| Meta::from_bytes(meta.value()));
        if let Some(newer) = removed.filter(|meta| meta.at.id != id) {
            self.meta.insert(key, newer.to_bytes().as_slice())?;
        }
        Ok(())
    }

    fn remove_record(&mut self, at: Location) -> Result<(), redb::Error> {
        self.free_blocks(at);
        if at.row_bytes() > 0 {
            self.data.remove(at.id)?;
        }
        Ok(())
    }

    fn free_blocks(&mut self, at: Location) {
        if at.blocks() > 0 {
            self.freed.push(at);
        }
    }
}

/// The bound of a range of keys that ends before `end`, or nowhere.
fn bound(end: Option<&str>) -> Bound<&str> {
    end.map_or(Bound::Unbounded, Bound::Excluded)
}

/// The location that a row of `meta` holds; one of nothing if it cannot be read, as ids begin with 1.
fn location_in(meta: &[u8]) -> Location {
    Meta::from_bytes(meta).map_or(Location { id: 0, size: 0 }, |meta| meta.at)
}

/// The first text behind all texts that begin with `prefix`; `None` if there is none.
fn prefix_end(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // The character after the surrogates follows the one before them.
        let next = (last as u32 + 1..=0x0010_ffff).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_lies_behind_all_texts_that_begin_with_it() {
        assert_eq!(prefix_end("a:b").as_deref(), Some("a:c"));
        assert_eq!(prefix_end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(prefix_end("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(prefix_end(""), None);
    }
}
