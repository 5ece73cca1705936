//! The order of use, packed so that it survives a restart: about two bytes an entry.
//!
//! Ids ascending, each as a varint of its distance from the one before and one byte that says in which of 256 equal
//! parts of the order, from the least to the most recently used, the entry stands. Within a part the order of ids, which
//! is that of insertion, has to do.

/// Packs ids given from the least to the most recently used.
pub(crate) fn pack(order: &[u64]) -> Vec<u8> {
    let parts = order.len().max(1);
    let mut ranked: Vec<(u64, u8)> = order
        .iter()
        .enumerate()
        .map(|(rank, id)| (*id, u8::try_from(rank * 256 / parts).unwrap_or(u8::MAX)))
        .collect();
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

/// The saved order, to be asked by id.
#[derive(Debug, Default)]
pub(crate) struct Order(Vec<(u64, u8)>);

impl Order {
    /// Unpacks what [`pack`] made; what cannot be read is left out.
    pub(crate) fn unpack(mut packed: &[u8]) -> Self {
        let mut order = Vec::with_capacity(packed.len() / 2);
        let mut id = 0_u64;
        while let Some((distance, rest)) = take_varint(packed) {
            let Some((part, rest)) = rest.split_first() else { break };
            let Some(next) = id.checked_add(distance) else { break };
            id = next;
            order.push((id, *part));
            packed = rest;
        }
        Self(order)
    }

    /// In which part of the order `id` stood; what was stored since it was saved counts as most recently used.
    pub(crate) fn part(&self, id: u64) -> u8 {
        match self.0.binary_search_by_key(&id, |(known, _)| *known) {
            Ok(at) => self.0.get(at).map_or(u8::MAX, |(_, part)| *part),
            Err(_) => u8::MAX,
        }
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
        let packed = pack(&ids);
        assert!(packed.len() <= ids.len() * 3 + 16);
        let order = Order::unpack(&packed);
        let parts: Vec<u8> = ids.iter().map(|id| order.part(*id)).collect();
        assert!(parts.is_sorted());
        assert_eq!((parts.first(), parts.last()), (Some(&0), Some(&255)));
        assert_eq!(order.part(3), u8::MAX);
    }

    #[test]
    fn damage_does_not_panic() {
        let packed = pack(&[1, 2, 300, u64::MAX]);
        for cut in 0..packed.len() {
            let _ = Order::unpack(&packed[..cut]);
        }
        let _ = Order::unpack(&[0xff; 100]);
    }
}
