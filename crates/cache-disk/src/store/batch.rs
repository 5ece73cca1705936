//! [`Batch`]: what a write transaction can do.

use cache_core::envelope::KeyHash;
use cache_core::panics::PanicSafeDrop;
use cache_core::{Entry, Invalidation};
use redb::{ReadableTable, Table};

use super::meta::{Meta, has_more_rows, rows_of};
use super::remains::{Remains, Rows};
use crate::record::{FirstRow, Record};

/// The tables inside a write transaction.
pub(crate) struct Batch<'t> {
    pub(super) data: PanicSafeDrop<Table<'t, u64, &'static [u8]>>,
    pub(super) meta: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
    pub(super) state: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
    pub(super) counters: PanicSafeDrop<Table<'t, &'static str, &'static [u8]>>,
}

impl Batch<'_> {
    /// Writes an entry in the place of the one its key had.
    pub(crate) fn insert(
        &mut self,
        key: &str,
        hash: KeyHash,
        meta: Meta,
        entry: &Entry,
    ) -> Result<(), redb::Error> {
        let record = Record::new(key, hash, entry);
        for (row, number) in record.rows().zip(rows_of(meta.id).0..) {
            self.data.insert(number, row)?;
        }
        let replaced =
            self.meta.insert(key, meta.to_bytes().as_slice())?.and_then(|old| Meta::from_bytes(old.value()));
        match replaced {
            Some(old) => self.remove_rows(old.id, old.cost),
            None => Ok(()),
        }
    }

    /// Removes the entry of `key`.
    pub(crate) fn remove_key(&mut self, key: &str) -> Result<(), redb::Error> {
        match self.forget_key(key)? {
            Some(Rows { id, cost }) => self.remove_rows(id, cost),
            None => Ok(()),
        }
    }

    /// The same, unless the entry is newer than `id`.
    pub(crate) fn remove_key_up_to(&mut self, key: &str, id: u64) -> Result<(), redb::Error> {
        let newest = self.meta.get(key)?.map(|meta| rows_named_in(meta.value()));
        if newest.is_some_and(|newest| newest.id <= id) { self.remove_key(key) } else { Ok(()) }
    }

    /// Takes `key` out; the rows of its entry remain.
    pub(crate) fn forget_key(&mut self, key: &str) -> Result<Option<Rows>, redb::Error> {
        Ok(self.meta.remove(key)?.map(|old| rows_named_in(old.value())))
    }

    /// Removes the entry of `id`, whose key only its first row knows; whether there was one.
    pub(crate) fn remove_id(&mut self, id: u64) -> Result<bool, redb::Error> {
        let (first, last) = rows_of(id);
        let key = match self.data.remove(first)? {
            Some(row) => FirstRow::parse(row.value()).and_then(|row| row.key()).map(str::to_owned),
            None => return Ok(false),
        };
        let meta = match &key {
            Some(key) => self.meta.remove(key.as_str())?.and_then(|meta| Meta::from_bytes(meta.value())),
            None => None,
        };
        if let (Some(key), Some(newer)) = (&key, meta.filter(|meta| meta.id != id)) {
            self.meta.insert(key.as_str(), newer.to_bytes().as_slice())?;
        }
        if meta.is_none_or(|meta| meta.id != id || has_more_rows(meta.cost)) {
            self.data.retain_in(first..=last, |_, _| false)?;
        }
        Ok(true)
    }

    /// Takes every key that `what` matches out; the rows of their entries remain.
    pub(crate) fn forget_matching(
        &mut self,
        what: &Invalidation,
    ) -> Result<Vec<(String, Rows)>, redb::Error> {
        let prefix = match what {
            Invalidation::Key(key) => key.as_str(),
            Invalidation::Group(group) => group.as_str(),
            Invalidation::Pattern(pattern) => pattern.literal_prefix(),
            Invalidation::Everything => "",
        };
        let mut forgotten = Vec::new();
        let mut keep = |key: &str, meta: &[u8]| {
            let is_kept = !what.matches(key);
            if !is_kept {
                forgotten.push((key.to_owned(), rows_named_in(meta)));
            }
            is_kept
        };
        match prefix_end(prefix) {
            Some(end) => self.meta.retain_in(prefix..end.as_str(), &mut keep)?,
            None => self.meta.retain_in(prefix.., &mut keep)?,
        }
        Ok(forgotten)
    }

    /// Notes that `rows`, whose keys were taken out, remain; a few are removed at once.
    pub(crate) fn leave(&mut self, mut rows: Vec<Rows>) -> Result<Vec<Remains>, redb::Error> {
        // What a damaged row named has no rows.
        rows.retain(|rows| rows.id > 0);
        rows.sort_unstable();
        let notes = Remains::of(&rows);
        if notes.is_empty() {
            self.sweep_rows(&rows)?;
        }
        for note in &notes {
            self.state.insert(note.name().as_str(), note.to_bytes().as_slice())?;
        }
        Ok(notes)
    }

    /// Removes what a note names, and the note.
    pub(crate) fn sweep(&mut self, remains: &Remains) -> Result<(), redb::Error> {
        self.sweep_rows(remains.rows())?;
        self.state.remove(remains.name().as_str())?;
        Ok(())
    }

    /// Removes rows, given by ascending ids: what was stored one after the other leaves as one range.
    pub(crate) fn sweep_rows(&mut self, rows: &[Rows]) -> Result<(), redb::Error> {
        for run in rows.chunk_by(|one, next| one.id + 1 == next.id) {
            match run {
                [one] => self.remove_rows(one.id, one.cost)?,
                [first, .., last] => {
                    self.data.retain_in(rows_of(first.id).0..=rows_of(last.id).1, |_, _| false)?;
                }
                [] => {}
            }
        }
        Ok(())
    }

    /// Sets a value of the state table.
    pub(crate) fn set_state(&mut self, name: &str, value: &[u8]) -> Result<(), redb::Error> {
        self.state.insert(name, value)?;
        Ok(())
    }

    /// Removes the values of the state table whose names begin with `prefix`.
    pub(crate) fn clear_state(&mut self, prefix: &str) -> Result<(), redb::Error> {
        self.state.retain(|name, _| !name.starts_with(prefix))?;
        Ok(())
    }

    /// A value of the table of counters.
    pub(crate) fn counter(&self, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(self.counters.get(name)?.map(|value| value.value().to_vec()))
    }

    /// Sets or removes a value of the table of counters.
    pub(crate) fn set_counter(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), redb::Error> {
        match value {
            Some(value) => self.counters.insert(name, value)?,
            None => self.counters.remove(name)?,
        };
        Ok(())
    }

    /// Removes the rows of an entry of this id and cost.
    fn remove_rows(&mut self, id: u64, cost: u32) -> Result<(), redb::Error> {
        let (first, last) = rows_of(id);
        if has_more_rows(cost) {
            self.data.retain_in(first..=last, |_, _| false)?;
        } else {
            self.data.remove(first)?;
        }
        Ok(())
    }
}

/// The rows that a row of `meta` names; none exist where it cannot be read, as ids begin with 1.
fn rows_named_in(meta: &[u8]) -> Rows {
    Meta::from_bytes(meta).map_or(Rows { id: 0, cost: 0 }, |Meta { id, cost, .. }| Rows { id, cost })
}

/// The first text behind all that begin with `prefix`; `None` if there is none.
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
    fn the_end_of_a_prefix_lies_behind_all_that_begin_with_it() {
        assert_eq!(prefix_end("a:b").as_deref(), Some("a:c"));
        assert_eq!(prefix_end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(prefix_end("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(prefix_end(""), None);
    }
}
