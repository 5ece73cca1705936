//! [`Location`]: where the record of an entry is, in blocks of a values file, in a row of the database, or both.

/// The size of a block of a values file, and of a page of redb, in bytes.
pub(crate) const BLOCK: u64 = 4096;
/// The longest row, in bytes: it fills exactly one page of the B-tree, so that any freed page fits any row.
pub(crate) const ROW_BYTES: usize = 4080;

/// The longest remainder of a record with blocks that gets a row: such rows share a page.
const LONGEST_REMAINDER: u32 = 2000;
/// From so many blocks on, a remainder gets a block: the rest of it that stays empty is a small part of the whole.
const BLOCKS_WITHOUT_ROW: u32 = 4;

/// Bits of [`Location::size`] for the length of the record: 128 MiB of payload and what precedes it.
const LENGTH_BITS: u32 = 28;
/// The unit of the length of a key in [`Location::size`], in bytes.
const KEY_UNIT: usize = 64;

/// Where the record of an entry is: its id, and its length, from which the places of its parts follow.
///
/// The id is the number of its first block, counted over all values files, so that it leads to the blocks without a search.
/// Ids ascend and are never used twice; an entry without blocks takes an id all the same, and the block of that number stays
/// a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) id: u64,
    /// The length of the record in the lower 28 bits, that of the key in units of 64 bytes above.
    pub(crate) size: u32,
}

/// The lengths of a record and of its key, as [`Location::size`] holds them.
pub(crate) fn packed_size(key: &str, record_bytes: usize) -> u32 {
    let class = (key.len() / KEY_UNIT).min(15);
    let packed = (class << LENGTH_BITS) | record_bytes.min((1 << LENGTH_BITS) - 1);
    u32::try_from(packed).unwrap_or(u32::MAX)
}

impl Location {
    /// The number of bytes of [`to_bytes`](Self::to_bytes).
    pub(super) const BYTES: usize = 12;

    /// The length of the record, in bytes.
    pub(crate) fn record_bytes(self) -> usize {
        (self.size & ((1 << LENGTH_BITS) - 1)) as usize
    }

    /// About the length of the key, in bytes.
    pub(crate) fn key_bytes(self) -> usize {
        (self.size >> LENGTH_BITS) as usize * KEY_UNIT + KEY_UNIT / 2
    }

    /// The number of blocks that the beginning of the record takes; zero if all of it is in a row.
    pub(crate) fn blocks(self) -> u64 {
        let (whole, remainder) = self.divided();
        u64::from(if Self::is_remainder_in_row((whole, remainder)) { whole } else { whole + 1 })
    }

    /// The length of the part in blocks, in bytes.
    pub(crate) fn bytes_in_blocks(self) -> usize {
        self.record_bytes() - self.row_bytes()
    }

    /// The length of the part in a row, in bytes; zero if there is no row.
    pub(crate) fn row_bytes(self) -> usize {
        let (whole, remainder) = self.divided();
        if Self::is_remainder_in_row((whole, remainder)) { remainder as usize } else { 0 }
    }

    /// The id behind this entry's: the smallest that the next entry may have.
    pub(crate) fn end(self) -> u64 {
        self.id + self.blocks().max(1)
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        [&self.id.to_le_bytes()[..], &self.size.to_le_bytes()].concat()
    }

    /// Reads the beginning of `bytes`; returns the rest, too.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        Some((Self { id: u64::from_le_bytes(*id), size: u32::from_le_bytes(*size) }, rest))
    }

    /// The whole blocks of the record, and the bytes behind them.
    fn divided(self) -> (u32, u32) {
        let length = self.size & ((1 << LENGTH_BITS) - 1);
        (length / 4096, length % 4096)
    }

    fn is_remainder_in_row((whole, remainder): (u32, u32)) -> bool {
        match whole {
            0 => remainder as usize <= ROW_BYTES,
            1..BLOCKS_WITHOUT_ROW => remainder <= LONGEST_REMAINDER,
            _ => remainder == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_record_has_one_place() {
        for length in (0..40_000).step_by(7).chain([4080, 4081, 4096, 6096, 6097, 8192, 1 << 27]) {
            let at = Location { id: 7, size: packed_size("image:1:metadata", length) };
            assert_eq!(at.record_bytes(), length);
            assert_eq!(at.bytes_in_blocks() + at.row_bytes(), length);
            assert!(at.row_bytes() <= ROW_BYTES);
            let room = at.blocks() * BLOCK;
            let free = room - at.bytes_in_blocks() as u64;
            assert!(free < BLOCK, "{length}: {free} of {room} bytes stay empty");
            assert!(at.row_bytes() == 0 || free == 0, "{length}");
        }
    }

    #[test]
    fn short_remainders_of_few_blocks_share_pages_of_rows() {
        let parts = |length| {
            let at = Location { id: 1, size: packed_size("a:1", length) };
            (at.blocks(), at.row_bytes())
        };
        assert_eq!([parts(4080), parts(4081), parts(4200)], [(0, 4080), (1, 0), (1, 104)]);
        assert_eq!([parts(6200), parts(16_400), parts(51_200)], [(2, 0), (5, 0), (13, 0)]);
    }

    #[test]
    fn a_location_reads_back_with_about_the_length_of_its_key() {
        for length in [3, 70, 1024] {
            let at = Location { id: 9, size: packed_size(&"k".repeat(length), 500) };
            assert_eq!(Location::from_bytes(&at.to_bytes()), Some((at, &[][..])));
            assert!(at.key_bytes().abs_diff(length) <= 64 && at.record_bytes() == 500);
        }
    }
}
