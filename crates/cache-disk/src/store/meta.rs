//! [`Meta`]: where the rows of a key's entry are, and until when it lives.

use cache_core::Timestamp;

use crate::record::ROW_BYTES;

/// What `meta` holds of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) id: u64,
    pub(crate) cost: u32,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Meta {
    pub(super) fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        let (id, rest) = bytes.split_at_mut(8);
        let (cost, expires_at) = rest.split_at_mut(4);
        id.copy_from_slice(&self.id.to_le_bytes());
        cost.copy_from_slice(&self.cost.to_le_bytes());
        expires_at.copy_from_slice(&self.expires_at.map_or(0, Timestamp::as_millis).to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
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

/// Whether an entry of this cost may have more than one row: a cheaper one fits the first.
pub(super) fn has_more_rows(cost: u32) -> bool {
    cost as usize > ROW_BYTES
}

/// The numbers of the first and the last possible row of `id`.
pub(super) fn rows_of(id: u64) -> (u64, u64) {
    (id << 16, id << 16 | 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_reads_back() {
        for expires_at in [None, Some(Timestamp::from_millis(9))] {
            let meta = Meta { id: 7, cost: 8, expires_at };
            assert_eq!(Meta::from_bytes(&meta.to_bytes()), Some(meta));
        }
        assert_eq!(Meta::from_bytes(&[1; 19]), None);
    }
}
