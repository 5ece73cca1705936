//! [`Store`]: every transaction of redb, and nothing else opens one.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `data` | id << 16 \| row | a row of a [record](crate::record) |
//! | `meta` | full key | id (u64), cost (u32), expires at (u64, 0: never) |
//! | `state` | name | format, namespace, saved order |
//! | `counters` | full key | a counter or a claim |
//!
//! Ids ascend and are never used twice, so a read is one range by number, and an index that is behind can at worst
//! point to rows that are gone.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::envelope::KeyHash;
use cache_core::{Entry, Invalidation, Timestamp};
use redb::{
    AccessGuard, Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable,
    StorageBackend, Table, TableDefinition, TableError,
};

use crate::contained::Contained;
use crate::error::{Fault, guarded};
use crate::record::{FirstRow, ROW_BYTES, Record, Stored};

const DATA: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("data");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");
const COUNTERS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("counters");

/// How far a commit reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Seen by readers; lost if the process dies before the next durable one.
    Lazy,
    /// On the disk.
    Durable,
    /// Not at all: nothing was changed.
    Nothing,
}

/// What `meta` holds of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) id: u64,
    pub(crate) cost: u32,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Meta {
    fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        let (id, rest) = bytes.split_at_mut(8);
        let (cost, expires_at) = rest.split_at_mut(4);
        id.copy_from_slice(&self.id.to_le_bytes());
        cost.copy_from_slice(&self.cost.to_le_bytes());
        expires_at.copy_from_slice(&self.expires_at.map_or(0, Timestamp::as_millis).to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (cost, expires_at) = rest.split_first_chunk()?;
        let expires_at = u64::from_le_bytes(expires_at.try_into().ok()?);
        Some(Self {
            id: u64::from_le_bytes(*id),
            cost: u32::from_le_bytes(*cost),
            expires_at: (expires_at != 0).then(|| Timestamp::from_millis(expires_at)),
        })
    }
}

/// How many databases were opened: what tells the faults of one from those of the next.
static OPENINGS: AtomicU64 = AtomicU64::new(0);

/// An open database.
pub(crate) struct Store {
    opening: u64,
    database: Contained<Database>,
}

impl Store {
    /// Opens the database in `storage`, or creates one in an empty storage.
    pub(crate) fn open(storage: impl StorageBackend, page_cache_bytes: usize) -> Result<Self, Fault> {
        guarded(|| {
            let database = Builder::new().set_cache_size(page_cache_bytes).create_with_backend(storage)?;
            let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
            Ok(Self { opening, database: Contained::new(database) })
        })
    }

    /// The number of this opening.
    pub(crate) fn opening(&self) -> u64 {
        self.opening
    }

    /// What was committed last, lazily or durably; it does not change.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Fault> {
        guarded(|| {
            let transaction = self.database.begin_read()?;
            let data = Contained::new(transaction.open_table(DATA)?);
            let meta = Contained::new(transaction.open_table(META)?);
            Ok(Snapshot { opening: self.opening, data, meta })
        })
    }

    /// A value of the state table.
    pub(crate) fn state(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        guarded(|| match self.database.begin_read()?.open_table(STATE) {
            Ok(table) => Ok(table.get(name)?.map(|value| value.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// Everything in the table of counters.
    pub(crate) fn counters(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(COUNTERS)?;
            let row = |row: Result<(AccessGuard<'_, &str>, AccessGuard<'_, &[u8]>), _>| {
                row.map(|(name, value)| (name.value().to_owned(), value.value().to_vec()))
            };
            Ok(table.iter()?.map(row).collect::<Result<_, redb::StorageError>>()?)
        })
    }

    /// Runs `work` in one transaction and commits it as far as `work` says; on an error nothing of it is committed.
    ///
    /// `most` is how far the commit may reach. Blocks while another transaction writes.
    pub(crate) fn write<T>(
        &self,
        most: Commit,
        work: impl FnOnce(&mut Batch<'_>) -> Result<(T, Commit), redb::Error>,
    ) -> Result<T, Fault> {
        guarded(|| {
            let mut transaction = Contained::new(self.database.begin_write()?);
            if most == Commit::Durable {
                // Stores the allocator's state, so that opening after a crash takes milliseconds.
                transaction.set_quick_repair(true);
            } else {
                transaction.set_durability(Durability::None)?;
            }
            let mut batch = Batch {
                data: Contained::new(transaction.open_table(DATA)?),
                meta: Contained::new(transaction.open_table(META)?),
                state: Contained::new(transaction.open_table(STATE)?),
                counters: Contained::new(transaction.open_table(COUNTERS)?),
            };
            let (value, commit) = work(&mut batch)?;
            drop(batch);
            if commit == Commit::Nothing {
                transaction.into_inner().abort()?;
            } else {
                transaction.into_inner().commit()?;
            }
            Ok(value)
        })
    }

    /// Closes the file; everything committed is on the disk then.
    pub(crate) fn close(self) -> Result<(), Fault> {
        guarded(|| Ok(self.database.into_inner().close()?))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// The tables inside a write transaction.
pub(crate) struct Batch<'t> {
    data: Contained<Table<'t, u64, &'static [u8]>>,
    meta: Contained<Table<'t, &'static str, &'static [u8]>>,
    state: Contained<Table<'t, &'static str, &'static [u8]>>,
    counters: Contained<Table<'t, &'static str, &'static [u8]>>,
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

    /// Removes the entry of `key`; its id, if there was one.
    pub(crate) fn remove_key(&mut self, key: &str) -> Result<Option<u64>, redb::Error> {
        let removed = self.meta.remove(key)?.map(|old| Meta::from_bytes(old.value()));
        let Some(old) = removed else { return Ok(None) };
        let (id, cost) = old.map_or((0, u32::MAX), |meta| (meta.id, meta.cost));
        self.remove_rows(id, cost)?;
        Ok(Some(id))
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

    /// Removes every entry that `what` matches; their keys and ids.
    pub(crate) fn remove_matching(&mut self, what: &Invalidation) -> Result<Vec<(String, u64)>, redb::Error> {
        let prefix = match what {
            Invalidation::Key(key) => key.as_str(),
            Invalidation::Group(group) => group.as_str(),
            Invalidation::Pattern(pattern) => pattern.literal_prefix(),
            Invalidation::Everything => "",
        };
        let (mut removed, mut rows) = (Vec::new(), Vec::new());
        let mut keep = |key: &str, meta: &[u8]| {
            if !what.matches(key) {
                return true;
            }
            let (id, cost) = Meta::from_bytes(meta).map_or((0, u32::MAX), |meta| (meta.id, meta.cost));
            removed.push((key.to_owned(), id));
            rows.push((id, cost));
            false
        };
        match prefix_end(prefix) {
            Some(end) => self.meta.retain_in(prefix..end.as_str(), &mut keep)?,
            None => self.meta.retain_in(prefix.., &mut keep)?,
        }
        rows.sort_unstable();
        // What was stored one after the other leaves as one range.
        for run in rows.chunk_by(|(id, _), (next, _)| id + 1 == *next) {
            match run {
                [(id, cost)] => self.remove_rows(*id, *cost)?,
                [(first, _), .., (last, _)] => {
                    self.data.retain_in(rows_of(*first).0..=rows_of(*last).1, |_, _| false)?;
                }
                [] => {}
            }
        }
        Ok(removed)
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

/// The committed state at one moment.
pub(crate) struct Snapshot {
    opening: u64,
    data: Contained<ReadOnlyTable<u64, &'static [u8]>>,
    meta: Contained<ReadOnlyTable<&'static str, &'static [u8]>>,
}

impl Snapshot {
    /// The number of the opening it belongs to.
    pub(crate) fn opening(&self) -> u64 {
        self.opening
    }

    /// The value in the rows of `id`; `None` if they are gone.
    ///
    /// `cost` tells a value of one row, which takes one look-up, from a longer one, which takes a range.
    pub(crate) fn read(&self, id: u64, cost: u32) -> Result<Option<Stored>, Fault> {
        guarded(|| if has_more_rows(cost) { self.read_range(id) } else { self.read_one(id) })
    }

    /// What `meta` holds of `key`.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<Meta>, Fault> {
        guarded(|| Ok(self.meta.get(key)?.and_then(|meta| Meta::from_bytes(meta.value()))))
    }

    /// Calls `each` for up to `most` keys behind `after`; the last one, or `None` at the end.
    ///
    /// Each must be in order and be found where a search for it goes: anything else is damage.
    pub(crate) fn scan(
        &self,
        after: &str,
        most: usize,
        mut each: impl FnMut(&str, Meta),
    ) -> Result<Option<String>, Fault> {
        guarded(|| {
            let behind = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
            let mut before = after.to_owned();
            for (count, row) in self.meta.range::<&str>(behind)?.enumerate() {
                let (key, meta) = row?;
                let is_found = self.meta.get(key.value())?.is_some_and(|found| found.value() == meta.value());
                if !is_found || key.value() <= before.as_str() {
                    return Err(redb::Error::Corrupted("keys are not where they belong".to_owned()));
                }
                if let Some(meta) = Meta::from_bytes(meta.value()) {
                    each(key.value(), meta);
                }
                key.value().clone_into(&mut before);
                if count + 1 == most {
                    return Ok(Some(before));
                }
            }
            Ok(None)
        })
    }

    /// The highest id in use.
    pub(crate) fn last_id(&self) -> Result<u64, Fault> {
        guarded(|| Ok(self.data.last()?.map_or(0, |(number, _)| number.value() >> 16)))
    }

    fn read_one(&self, id: u64) -> Result<Option<Stored>, redb::Error> {
        let Some(row) = self.data.get(rows_of(id).0)? else { return Ok(None) };
        let Some(first) = FirstRow::parse(row.value()) else { return Ok(None) };
        first.into_stored(std::iter::empty::<Result<Vec<u8>, redb::Error>>()).map(Some)
    }

    fn read_range(&self, id: u64) -> Result<Option<Stored>, redb::Error> {
        let (first, last) = rows_of(id);
        let mut rows = self.data.range(first..=last)?;
        let Some(row) = rows.next() else { return Ok(None) };
        let (number, row) = row?;
        let (true, Some(head)) = (number.value() == first, FirstRow::parse(row.value())) else {
            return Ok(None);
        };
        let following = rows.map(|row| Ok::<_, redb::Error>(Row(row?.1)));
        head.into_stored(following).map(Some)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

struct Row(AccessGuard<'static, &'static [u8]>);

impl AsRef<[u8]> for Row {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

/// Whether an entry of this cost may have more than one row: a cheaper one fits the first.
fn has_more_rows(cost: u32) -> bool {
    cost as usize > ROW_BYTES
}

/// The numbers of the first and the last possible row of `id`.
fn rows_of(id: u64) -> (u64, u64) {
    (id << 16, id << 16 | 0xffff)
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

    #[test]
    fn meta_reads_back() {
        for expires_at in [None, Some(Timestamp::from_millis(9))] {
            let meta = Meta { id: 7, cost: 8, expires_at };
            assert_eq!(Meta::from_bytes(&meta.to_bytes()), Some(meta));
        }
        assert_eq!(Meta::from_bytes(&[1; 19]), None);
    }
}
