//! [`Snapshot`]: the committed state that readers read, and [`StateRows`], which describe the database.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use cache_core::panics::PanicSafeDrop;
use redb::{ReadOnlyTable, ReadableTable};

use super::garbage::GarbageNote;
use super::record::{FirstRow, Stored};
use super::schema::{FORMAT, FORMAT_NAME, GARBAGE_NAMES, Meta, NAMESPACE_NAME, ORDER_NAMES, Rows};
use crate::error::{Fault, catch_panics};

/// The committed state at one moment.
pub(crate) struct Snapshot {
    /// The number of the opening that it belongs to.
    pub(crate) opening: u64,
    pub(super) data: PanicSafeDrop<ReadOnlyTable<u64, &'static [u8]>>,
    pub(super) meta: PanicSafeDrop<ReadOnlyTable<&'static str, &'static [u8]>>,
}

impl Snapshot {
    /// Reads the value in `rows`; `None` if they are gone.
    pub(crate) fn read(&self, rows: Rows) -> Result<Option<Stored>, Fault> {
        catch_panics(|| {
            // A value of one row takes one look-up, a longer one a range.
            if !rows.are_many() {
                let Some(row) = self.data.get(rows.first())? else { return Ok(None) };
                let Some(first) = FirstRow::parse(row.value()) else { return Ok(None) };
                return first.into_stored(|_| Ok(false)).map(Some);
            }
            let mut range = self.data.range(rows.first()..=rows.last())?;
            let Some(row) = range.next() else { return Ok(None) };
            let (number, row) = row?;
            let first = FirstRow::parse(row.value()).filter(|_| number.value() == rows.first());
            let Some(first) = first else { return Ok(None) };
            let next_row = |payload: &mut Vec<u8>| {
                let Some(row) = range.next() else { return Ok(false) };
                payload.extend_from_slice(row?.1.value());
                Ok::<_, redb::Error>(true)
            };
            first.into_stored(next_row).map(Some)
        })
    }

    /// Reads the row of `meta` for `key`.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<Meta>, Fault> {
        catch_panics(|| Ok(self.meta.get(key)?.and_then(|meta| Meta::from_bytes(meta.value()))))
    }

    /// Calls `each` for up to `most` keys behind `after`; returns the last one, or `None` at the end.
    ///
    /// # Errors
    /// Damage, if a key is out of order or not where a search for it goes.
    pub(crate) fn scan(
        &self,
        after: &str,
        most: usize,
        mut each: impl FnMut(&str, Meta),
    ) -> Result<Option<String>, Fault> {
        catch_panics(|| {
            let mut before = after.to_owned();
            let behind = (Bound::Excluded(after), Bound::Unbounded);
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
        catch_panics(|| Ok(self.data.last()?.map_or(0, |(number, _)| number.value() >> 16)))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

/// The content of the table of state.
#[derive(Debug)]
pub(crate) struct StateRows(pub(super) BTreeMap<String, Vec<u8>>);

impl StateRows {
    /// Checks that this build can read the file.
    ///
    /// # Errors
    /// Damage, if its format is another or not known.
    pub(crate) fn check_format(&self) -> Result<(), Fault> {
        let format = self.0.get(FORMAT_NAME).map_or(&b"unknown"[..], Vec::as_slice);
        if format == FORMAT {
            return Ok(());
        }
        let message = format!("its format is {}", String::from_utf8_lossy(format));
        Err(Fault::Redb(redb::Error::Corrupted(message)))
    }

    pub(crate) fn is_of(&self, namespace: &str) -> bool {
        self.0.get(NAMESPACE_NAME).is_some_and(|name| name == namespace.as_bytes())
    }

    /// The packed order of use.
    pub(crate) fn usage_order(&self) -> Vec<u8> {
        self.named(ORDER_NAMES).flatten().copied().collect()
    }

    pub(crate) fn garbage(&self) -> Vec<GarbageNote> {
        self.named(GARBAGE_NAMES).map(|bytes| GarbageNote::from_bytes(bytes)).collect()
    }

    /// The values whose names begin with `prefix`, in the order of their names.
    fn named(&self, prefix: &'static str) -> impl Iterator<Item = &Vec<u8>> {
        let rest = self.0.range(prefix.to_owned()..);
        rest.take_while(move |(name, _)| name.starts_with(prefix)).map(|(_, value)| value)
    }
}
