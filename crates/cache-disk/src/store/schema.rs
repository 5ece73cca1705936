//! The tables, the rows of `meta`, and the names in `state`.

use cache_core::Timestamp;
use redb::TableDefinition;

use super::record::ROW_BYTES;

/// A table whose keys are text.
pub(super) type TextTable = TableDefinition<'static, &'static str, &'static [u8]>;

pub(super) const DATA: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("data");
pub(super) const META: TextTable = TableDefinition::new("meta");
pub(super) const STATE: TextTable = TableDefinition::new("state");
pub(super) const COUNTERS: TextTable = TableDefinition::new("counters");

/// The version of everything in the file, rows and envelope included.
pub(super) const FORMAT: &[u8] = b"1";

pub(super) const FORMAT_NAME: &str = "format";
pub(super) const NAMESPACE_NAME: &str = "namespace";
/// Begins the names of the rows of the order of use, which are numbered.
pub(super) const ORDER_NAMES: &str = "order:";
/// Begins the names of notes of garbage.
pub(super) const GARBAGE_NAMES: &str = "remains:";

/// The rows of an entry in `data`: their id, and what they cost on disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rows {
    pub(crate) id: u64,
    pub(crate) cost: u32,
}

impl Rows {
    /// The length of [`Self::to_bytes`].
    pub(super) const BYTES: usize = 12;

    pub(super) fn to_bytes(self) -> Vec<u8> {
        [&self.id.to_le_bytes()[..], &self.cost.to_le_bytes()].concat()
    }

    /// Reads the beginning of `bytes`; returns the rest, too.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (cost, rest) = rest.split_first_chunk()?;
        Some((Self { id: u64::from_le_bytes(*id), cost: u32::from_le_bytes(*cost) }, rest))
    }

    /// The number of the first row.
    pub(super) fn first(self) -> u64 {
        self.id << 16
    }

    /// The number of the last possible row.
    pub(super) fn last(self) -> u64 {
        self.id << 16 | 0xffff
    }

    /// Whether there may be more than one row: an entry that costs less fits the first.
    pub(super) fn are_many(self) -> bool {
        self.cost as usize > ROW_BYTES
    }
}

/// A row of `meta`: where the rows of a key's entry are, and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) rows: Rows,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Meta {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let expires_at = self.expires_at.map_or(0, Timestamp::as_millis);
        [self.rows.to_bytes(), expires_at.to_le_bytes().to_vec()].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (rows, rest) = Rows::from_bytes(bytes)?;
        let expires_at = u64::from_le_bytes(rest.try_into().ok()?);
        Some(Self { rows, expires_at: (expires_at != 0).then(|| Timestamp::from_millis(expires_at)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_reads_back() {
        for expires_at in [None, Some(Timestamp::from_millis(9))] {
            let meta = Meta { rows: Rows { id: 7, cost: 8 }, expires_at };
            assert_eq!(Meta::from_bytes(&meta.to_bytes()), Some(meta));
        }
        assert_eq!(Meta::from_bytes(&[1; 19]), None);
    }
}
