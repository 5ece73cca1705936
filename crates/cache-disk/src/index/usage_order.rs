//! [`UsageOrder`]: the order of use, packed to about two bytes an entry so that it survives a restart.
//!
//! Ids ascend; each is a varint of its distance from the one before, and one byte for its part of the order: there are 256
//! equal parts, from the least to the most recently used. Within a part, entries are ordered by id, which is the order of
//! insertion.

/// Packs ids given from the least to the most recently used.
pub(super) fn pack(order: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let count = order.len().max(1);
    let part = |rank: usize| u8::try_from(rank * 256 / count).unwrap_or(u8::MAX);
    let mut ranked: Vec<(u64, u8)> = order.enumerate().map(|(rank, id)| (id, part(rank))).collect();
    ranked.sort_unstable();
    let mut packed = Vec::with_capacity(ranked.len() * 2);
    let mut before = 0;
    for (id, part) in ranked {
        push_varint(&mut packed, id - before);
        packed.push(part);
        before = id;
    }
    packed
}

/// The saved order of use: ascending, an id and its part as [`pair`] makes them.
#[derive(Debug, Default)]
pub(crate) struct UsageOrder(Vec<u64>);

/// An id of at most 48 bits and its part, in one number that ascends with the id.
fn pair(id: u64, part: u8) -> u64 {
    id << 8 | u64::from(part)
}

impl UsageOrder {
    /// Unpacks the result of [`pack`]; leaves out what cannot be read.
    pub(crate) fn unpack(mut packed: &[u8]) -> Self {
        let mut order = Vec::with_capacity(packed.len() / 2);
        let mut id = 0_u64;
        while let Some((distance, rest)) = take_varint(packed) {
            let Some((part, rest)) = rest.split_first() else { break };
            let Some(next) = id.checked_add(distance).filter(|id| *id < 1 << 48) else { break };
            id = next;
            order.push(pair(id, *part));
            packed = rest;
        }
        Self(order)
    }

    /// The number of parts.
    pub(crate) const PARTS: u32 = 256;

    /// The part of the order that `id` was in; entries stored since then count as most recently used.
    pub(crate) fn part(&self, id: u64) -> u8 {
        let found = self.0.binary_search_by_key(&id, |known| known >> 8).ok().and_then(|at| self.0.get(at));
        found.map_or(u8::MAX, |known| (known & 0xff) as u8)
    }
}

fn push_varint(packed: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        packed.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    packed.push((number & 0x7f) as u8);
}

fn take_varint(packed: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in packed.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (at * 7).min(63);
        if byte & 0x80 == 0 {
            return Some((number, packed.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_survives_within_its_parts() {
        let ids: Vec<u64> = (0..10_000).map(|n| (n * 7919) % 10_000 * 1000 + 5).collect();
        let packed = pack(ids.iter().copied());
        assert!(packed.len() <= ids.len() * 3 + 16);
        let order = UsageOrder::unpack(&packed);
        let parts: Vec<u8> = ids.iter().map(|id| order.part(*id)).collect();
        assert!(parts.is_sorted());
        assert_eq!((parts.first(), parts.last()), (Some(&0), Some(&255)));
        assert_eq!(order.part(3), u8::MAX);
    }

    #[test]
    fn damage_does_not_panic() {
        let packed = pack([1, 2, 300, (1 << 48) - 1].into_iter());
        for cut in 0..packed.len() {
            let _ = UsageOrder::unpack(&packed[..cut]);
        }
        let _ = UsageOrder::unpack(&[0xff; 100]);
    }
}
