//! Fingerprints stand for states, which keeps a search of tens of millions of states in memory.
//!
//! Two states with one fingerprint of 64 bits would be taken for one: among 45 million states, there is such a pair with
//! a probability of 1 in 18,000.

use std::hash::{Hash, Hasher};

use twox_hash::XxHash3_64;

use crate::state::State;

/// Returns the fingerprint of `state`.
pub(crate) fn fingerprint(state: &State) -> u64 {
    let mut bytes = Bytes { bytes: [0; 384], len: 0 };
    state.hash(&mut bytes);
    bytes.finish()
}

/// Collects what is hashed, and hashes it at once.
struct Bytes {
    bytes: [u8; 384],
    len: usize,
}

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// The discriminant of an enum, of which none has 256 variants.
    fn write_isize(&mut self, discriminant: isize) {
        self.write_u8(discriminant.to_le_bytes()[0]);
    }

    /// The length of an array, which is the same in every state.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        // 0 marks a free slot of the table.
        XxHash3_64::oneshot(&self.bytes[..self.len]).max(1)
    }
}
