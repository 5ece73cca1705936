//! The tables, the rows of `meta`, and the names in `state`.

use cache_core::Timestamp;
use redb::TableDefinition;

use super::location::Location;

/// A table whose keys are text.
pub(super) type TextTable = TableDefinition<'static, &'static str, &'static [u8]>;

pub(super) const DATA: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("data");
pub(super) const META: TextTable = TableDefinition::new("meta");
pub(super) const STATE: TextTable = TableDefinition::new("state");
pub(super) const COUNTERS: TextTable = TableDefinition::new("counters");

/// The version of everything in the file, rows and envelope included.
pub(super) const FORMAT: &[u8] = b"2";

pub(super) const FORMAT_NAME: &str = "format";
pub(super) const NAMESPACE_NAME: &str = "namespace";
/// Names the identity of the values files, u64, and the bits of their numbers, u8.
pub(super) const VALUES_NAME: &str = "values";
/// Names an id above all that entries have had, u64.
pub(super) const NEXT_ID_NAME: &str = "next id";
/// Begins the names of the rows of the order of use, which are numbered.
pub(super) const ORDER_NAMES: &str = "order:";
/// Begins the names of notes of garbage.
pub(super) const GARBAGE_NAMES: &str = "remains:";

/// A row of `meta`: where the record of a key's entry is, and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) at: Location,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Meta {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let expires_at = self.expires_at.map_or(0, Timestamp::as_millis);
        [self.at.to_bytes(), expires_at.to_le_bytes().to_vec()].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = Location::from_bytes(bytes)?;
        let expires_at = u64::from_le_bytes(rest.try_into().ok()?);
        Some(Self { at, expires_at: (expires_at != 0).then(|| Timestamp::from_millis(expires_at)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_reads_back() {
        for expires_at in [None, Some(Timestamp::from_millis(9))] {
            let meta = Meta { at: Location { id: 7, size: 8 }, expires_at };
            assert_eq!(Meta::from_bytes(&meta.to_bytes()), Some(meta));
        }
        assert_eq!(Meta::from_bytes(&[1; 19]), None);
    }
}
