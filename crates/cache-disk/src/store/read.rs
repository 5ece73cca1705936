//! [`Snapshot`]: the committed state that readers read, and [`StateRows`], which describe the database.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use cache_core::Invalidation;
use cache_core::panics::PanicSafeDrop;
use redb::ReadOnlyTable;

use super::garbage::GarbageNote;
use super::location::Location;
use super::record::Stored;
use super::schema::{
    FORMAT, FORMAT_NAME, GARBAGE_NAMES, Meta, NAMESPACE_NAME, NEXT_ID_NAME, ORDER_NAMES, VALUES_NAME,
};
use crate::error::{Fault, catch_panics};
use crate::values::{SectionBits, Values};

/// The committed state at one moment.
pub(crate) struct Snapshot {
    /// The number of the opening that it belongs to.
    pub(crate) opening: u64,
    pub(super) data: PanicSafeDrop<ReadOnlyTable<u64, &'static [u8]>>,
    pub(super) meta: PanicSafeDrop<ReadOnlyTable<&'static str, &'static [u8]>>,
    pub(super) values: Arc<Values>,
}

impl Snapshot {
    /// Reads the record at `at`; `None` if it is gone.
    pub(crate) fn read(&self, at: Location) -> Result<Option<Stored>, Fault> {
        if at.blocks() == 0 {
            return catch_panics(|| {
                Ok(self.data.get(at.id)?.and_then(|row| Stored::copied_from(row.value())))
            });
        }
        let mut record = Vec::with_capacity(at.record_bytes());
        // A block that cannot be read concerns its value alone.
        if let Err(error) = self.values.read(at, at.bytes_in_blocks(), &mut record) {
            cache_core::log::warn!(limit: self.values.path(), %error, "disk cache cannot read a value");
            return Ok(Some(Stored::unreadable()));
        }
        if at.row_bytes() > 0 {
            let row = |row: redb::AccessGuard<'_, &'static [u8]>| record.extend_from_slice(row.value());
            catch_panics(|| Ok(self.data.get(at.id)?.map(row)))?;
        }
        Ok(Stored::shared_from(record))
    }

    /// The space of the values files on the disk, in bytes.
    pub(crate) fn values_bytes(&self) -> u64 {
        self.values.taken_bytes()
    }

    pub(crate) fn values(&self) -> Arc<Values> {
        Arc::clone(&self.values)
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
}

impl Snapshot {
    /// Calls `each` for the keys that match `what`, beginning with `from` and looking at up to `most`; returns the key to go on
    /// with, or `None` at the end.
    ///
    /// # Errors
    /// Damage, if a key is out of order.
    pub(crate) fn scan_matches(
        &self,
        what: &Invalidation,
        from: &str,
        most: usize,
        mut each: impl FnMut(&str, Meta),
    ) -> Result<Option<String>, Fault> {
        catch_panics(|| {
            let prefix = what.literal_prefix();
            let first = from.max(prefix);
            let mut before: Option<String> = None;
            for (count, row) in self.meta.range::<&str>(first..)?.enumerate() {
                let (key, meta) = row?;
                let key = key.value();
                if before.as_deref().is_some_and(|before| key <= before) {
                    return Err(redb::Error::Corrupted("keys are not where they belong".to_owned()));
                }
                if !key.starts_with(prefix) {
                    return Ok(None);
                }
                if count == most {
                    return Ok(Some(key.to_owned()));
                }
                if what.matches(key)
                    && let Some(meta) = Meta::from_bytes(meta.value())
                {
                    each(key, meta);
                }
                before = Some(key.to_owned());
            }
            Ok(None)
        })
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

    /// The identity of the values files and the bits of their numbers; `None` if they cannot be used.
    pub(crate) fn values(&self) -> Option<(u64, SectionBits)> {
        let (generation, bits) = self.0.get(VALUES_NAME)?.split_first_chunk()?;
        Some((u64::from_le_bytes(*generation), SectionBits::from_byte(*bits.first()?)?))
    }

    /// An id above all that entries have had.
    pub(crate) fn next_id(&self) -> u64 {
        let next = self.0.get(NEXT_ID_NAME).and_then(|next| next.as_slice().try_into().ok());
        next.map_or(1, u64::from_le_bytes)
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
