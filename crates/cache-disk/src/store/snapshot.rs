//! [`Snapshot`]: what readers read.

use std::fmt;

use cache_core::panics::PanicSafeDrop;
use redb::{AccessGuard, ReadOnlyTable, ReadableTable};

use super::meta::{Meta, has_more_rows, rows_of};
use crate::error::{Fault, guarded};
use crate::record::{FirstRow, Stored};

/// The committed state at one moment.
pub(crate) struct Snapshot {
    pub(super) opening: u64,
    pub(super) data: PanicSafeDrop<ReadOnlyTable<u64, &'static [u8]>>,
    pub(super) meta: PanicSafeDrop<ReadOnlyTable<&'static str, &'static [u8]>>,
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
