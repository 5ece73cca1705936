//! [`Slot`]: which part of a Redis Cluster holds a key.

/// How many slots a cluster has.
pub(crate) const SLOTS: u16 = 16_384;

/// One slot of a cluster. A server without a cluster has all keys in slot 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Slot(pub(crate) u16);

/// A set of zones: bit n stands for the slots from 256 n on.
pub(crate) type Zones = u64;

/// All zones.
pub(crate) const ALL_ZONES: Zones = u64::MAX;

impl Slot {
    /// The number of the zone of this slot, less than 64.
    pub(crate) fn zone(self) -> u8 {
        let [high, _] = self.0.to_be_bytes();
        high & 63
    }

    /// The zone of this slot, as a set.
    pub(crate) fn zones(self) -> Zones {
        1 << self.zone()
    }
}

/// Computes the slot of a key from its parts: CRC16/XMODEM modulo 16,384 ("Key distribution model" in the Redis Cluster
/// specification). Keys hold no braces, so there are no hash tags.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SlotHasher(u16);

impl SlotHasher {
    /// Adds the next part of the key.
    pub(crate) fn with(self, part: &str) -> Self {
        let step = |crc: u16, byte: u8| {
            let [high, _] = crc.to_be_bytes();
            crc << 8 ^ TABLE.get(usize::from(high ^ byte)).copied().unwrap_or_default()
        };
        Self(part.bytes().fold(self.0, step))
    }

    pub(crate) fn slot(self) -> Slot {
        Slot(self.0 & 0x3fff)
    }
}

/// The remainder of each byte.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, where get_mut is not allowed")]
const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(SlotHasher::default().with("123456789").0, 0x31c3);
        // As redis-cli answers to CLUSTER KEYSLOT.
        assert_eq!(SlotHasher::default().with("foo").slot(), Slot(12182));
        assert_eq!(SlotHasher::default().with("f").with("oo").slot(), Slot(12182));
        assert_eq!(SlotHasher::default().slot(), Slot(0));
    }
}
