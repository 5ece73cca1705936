//! [`SectionBits`]: how the values files of a database divide the ids, which depends on what the file system can do.

use std::fs::File;
use std::ops::Range;

use super::file;
use crate::fs::Directory;
use crate::store::BLOCK;

/// The bits of an id that count within one file: 2^28 blocks, one TiB, which any file system with holes can address.
const MOST_BITS: u8 = 28;

/// The number of bits of an id that count within one file; the others are the number of the file. Zero, where every value is a
/// file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SectionBits(u8);

impl SectionBits {
    /// Tries what the file system of `directory` can do.
    pub(crate) fn probe(directory: &Directory) -> Self {
        let Some(most) = Self::most() else { return Self(0) };
        let can_punch = || {
            let file: File = directory.scratch_file().ok()?;
            let block = [1; 4096];
            let parts = || [std::io::IoSlice::new(&block), std::io::IoSlice::new(&block)];
            file::write(&file, 0, parts()).ok()?;
            file::punch(&file, 0, BLOCK).ok()?;
            let mut first = Vec::new();
            file::read(&file, 0, 1, &mut first).ok()?;
            (first == [0]).then_some(())
        };
        let bits = if can_punch().is_some() { most } else { 0 };
        directory.remove_scratch_file();
        Self(bits)
    }

    /// Every value in a file of its own.
    pub(crate) fn without_holes() -> Self {
        Self(0)
    }

    /// Reads the bits that a database was written with; `None` if this process may not write such files.
    pub(crate) fn from_byte(bits: u8) -> Option<Self> {
        (bits <= Self::most().unwrap_or(0)).then_some(Self(bits))
    }

    pub(crate) fn to_byte(self) -> u8 {
        self.0
    }

    /// The most bits for which a file does not become longer than this process may write: a byte more, and a signal would
    /// end it.
    fn most() -> Option<u8> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        let Some(limit) = limit else { return Some(MOST_BITS) };
        let bits = u8::try_from((limit / BLOCK).checked_ilog2()?).unwrap_or(MOST_BITS);
        // A file must hold the largest value.
        (bits >= 11).then_some(bits.min(MOST_BITS))
    }

    /// Whether values share sparse files.
    pub(crate) fn is_sparse(self) -> bool {
        self.0 > 0
    }

    /// The number of the file of `id`.
    pub(super) fn section(self, id: u64) -> u64 {
        id >> self.0
    }

    /// Whether a file can have this number: there is no end of ids behind it.
    pub(super) fn has(self, number: u64) -> bool {
        number < 1 << (60 - self.0)
    }

    /// The offset of `id` in its file, in bytes.
    pub(super) fn offset(self, id: u64) -> u64 {
        (id & ((1 << self.0) - 1)) * BLOCK
    }

    /// The ids of file `number`.
    pub(super) fn ids(self, number: u64) -> Range<u64> {
        number << self.0..(number + 1) << self.0
    }

    /// The first of `blocks` ids from `id` on that are in one file.
    pub(crate) fn first_of(self, id: u64, blocks: u64) -> u64 {
        let end = self.ids(self.section(id)).end;
        if self.is_sparse() && id + blocks > end { end } else { id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_lies_in_two_files() {
        let bits = SectionBits(11);
        assert_eq!((bits.first_of(2040, 8), bits.first_of(2041, 8)), (2040, 2048));
        assert_eq!((bits.section(2048), bits.offset(2049), bits.ids(1)), (1, BLOCK, 2048..4096));
    }
}
