//! [`Batch`]: the operations of a write transaction.

use cache_core::envelope::KeyHash;
use cache_core::panics::PanicSafeDrop;
use cache_core::{Entry, Invalidation};
use redb::{ReadableTable, Table};

use super::garbage::GarbageNote;
use super::record::{self, FirstRow, ROW_BYTES};
use super::schema::{FORMAT, FORMAT_NAME, Meta, NAMESPACE_NAME, ORDER_NAMES, Rows};

/// The tables inside a write transaction.
pub(crate) struct Batch<'t> {
    pub(super) data: PanicSafeDrop<Table<'t, u64, &'static [u8]>>,
    pub(super) meta: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
    pub(super) state: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
    pub(super) counters: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
    pub(super) is_aborted: bool,
}

impl Batch<'_> {
    /// Has the transaction aborted instead of committed: nothing was changed.
    pub(crate) fn abort(&mut self) {
        self.is_aborted = true;
    }

    /// Writes an entry in place of the one that its key had.
    pub(crate) fn insert(
        &mut self,
        key: &str,
        hash: KeyHash,
        meta: Meta,
        entry: &Entry,
    ) -> Result<(), redb::Error> {
        let (first, rest) = record::lay_out(key, hash, entry);
        self.data.insert(meta.rows.first(), first.as_slice())?;
        for (row, number) in rest.chunks(ROW_BYTES).zip(meta.rows.first() + 1..) {
            self.data.insert(number, row)?;
        }
        let replaced =
            self.meta.insert(key, meta.to_bytes().as_slice())?.and_then(|old| Meta::from_bytes(old.value()));
        replaced.map_or(Ok(()), |old| self.remove_rows(old.rows))
    }

    /// Removes the entry of `key` unless it is newer than `id`.
    pub(crate) fn remove_key_up_to(&mut self, key: &str, id: u64) -> Result<(), redb::Error> {
        let newest = self.meta.get(key)?.map(|meta| rows_named_in(meta.value()));
        if let Some(newest) = newest.filter(|newest| newest.id <= id) {
            self.meta.remove(key)?;
            self.remove_rows(newest)?;
        }
        Ok(())
    }

    /// Removes every key that matches `what` from `meta`, but not the rows of the entries, which it returns.
    pub(crate) fn unlink(&mut self, what: &Invalidation) -> Result<Vec<(String, Rows)>, redb::Error> {
        let prefix = match what {
            Invalidation::Key(key) => {
                let removed = self.meta.remove(key.as_str())?;
                return Ok(removed
                    .map(|meta| (key.to_string(), rows_named_in(meta.value())))
                    .into_iter()
                    .collect());
            }
            Invalidation::Group(group) => group.as_str(),
            Invalidation::Pattern(pattern) => pattern.literal_prefix(),
            Invalidation::Everything => "",
        };
        let mut unlinked = Vec::new();
        let mut keep = |key: &str, meta: &[u8]| {
            let is_kept = !what.matches(key);
            if !is_kept {
                unlinked.push((key.to_owned(), rows_named_in(meta)));
            }
            is_kept
        };
        match prefix_end(prefix) {
            Some(end) => self.meta.retain_in(prefix..end.as_str(), &mut keep)?,
            None => self.meta.retain_in(prefix.., &mut keep)?,
        }
        Ok(unlinked)
    }

    /// Removes the entry of `id`, whose key is read from its first row; returns whether there was one.
    pub(crate) fn remove_id(&mut self, id: u64) -> Result<bool, redb::Error> {
        let rows = Rows { id, cost: u32::MAX };
        let key = match self.data.remove(rows.first())? {
            Some(row) => FirstRow::parse(row.value()).and_then(|row| row.key()).map(str::to_owned),
            None => return Ok(false),
        };
        let meta = match &key {
            Some(key) => self.meta.remove(key.as_str())?.and_then(|meta| Meta::from_bytes(meta.value())),
            None => None,
        };
        if let (Some(key), Some(newer)) = (&key, meta.filter(|meta| meta.rows.id != id)) {
            self.meta.insert(key.as_str(), newer.to_bytes().as_slice())?;
        }
        if meta.is_none_or(|meta| meta.rows.id != id || meta.rows.are_many()) {
            self.remove_rows(rows)?;
        }
        Ok(true)
    }

    /// Writes notes of `rows`, whose keys were unlinked; removes them at once if they are few.
    pub(crate) fn note_garbage(&mut self, mut rows: Vec<Rows>) -> Result<Vec<GarbageNote>, redb::Error> {
        // A damaged row of `meta` refers to no rows.
        rows.retain(|rows| rows.id > 0);
        rows.sort_unstable();
        let notes = GarbageNote::of(&rows);
        if notes.is_empty() {
            self.remove_all_rows(&rows)?;
        }
        for note in &notes {
            self.state.insert(note.name().as_str(), note.to_bytes().as_slice())?;
        }
        Ok(notes)
    }

    /// Removes the rows that `note` names, and the note.
    pub(crate) fn remove_garbage(&mut self, note: &GarbageNote) -> Result<(), redb::Error> {
        self.remove_all_rows(note.rows())?;
        self.state.remove(note.name().as_str())?;
        Ok(())
    }

    /// Removes `rows`, given by ascending ids: entries with consecutive ids are removed as one range.
    pub(crate) fn remove_all_rows(&mut self, rows: &[Rows]) -> Result<(), redb::Error> {
        for run in rows.chunk_by(|one, next| one.id + 1 == next.id) {
            match run {
                [one] => self.remove_rows(*one)?,
                [first, .., last] => self.data.retain_in(first.first()..=last.last(), |_, _| false)?,
                [] => {}
            }
        }
        Ok(())
    }

    /// Writes the format and the namespace, by which the next opening recognizes the file.
    pub(crate) fn identify(&mut self, namespace: &str) -> Result<(), redb::Error> {
        self.state.insert(FORMAT_NAME, FORMAT)?;
        self.state.insert(NAMESPACE_NAME, namespace.as_bytes())?;
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

    fn remove_rows(&mut self, rows: Rows) -> Result<(), redb::Error> {
        if rows.are_many() {
            self.data.retain_in(rows.first()..=rows.last(), |_, _| false)?;
        } else {
            self.data.remove(rows.first())?;
        }
        Ok(())
    }
}

/// The rows that a row of `meta` refers to; none exist if it cannot be read, as ids begin with 1.
fn rows_named_in(meta: &[u8]) -> Rows {
    Meta::from_bytes(meta).map_or(Rows { id: 0, cost: 0 }, |meta| meta.rows)
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
