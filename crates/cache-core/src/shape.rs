//! The shape hash: detects that a value was stored by another version of its type.
//!
//! bincode writes no types, so the bytes of one struct often decode as another. The shape is a hash of everything that
//! serde reports while it walks the value: every kind, every list of field names and every variant. Serializing and
//! deserializing walk a value in the same way, so that a field added, removed, reordered, renamed or retyped shows as
//! another hash. The name of a type is not hashed: `struct Page` reads the bytes of `struct PageRef<'a>`.
//!
//! The walk is a sequence of tokens. Leaves (numbers, text, bytes, units, an absent option) are a token each. A part that
//! holds others adds its own token after theirs, with their number or their names: like reverse Polish notation, the
//! sequence then has one reading only. Equal sequences mean that the reader asked for the same kinds at the same places
//! of the same bytes, and so that it read the value that was written.
//!
//! An empty list has no element to report: an empty `Vec<A>` reads as an empty `Vec<B>`, which is right.

mod memo;

use twox_hash::XxHash3_64;

pub(crate) use memo::fields_of;

/// The hash of a sequence of tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    state: u64,
}

impl Shape {
    /// Adds the token of a leaf.
    ///
    /// Called for each byte of a `Vec<u8>`: the cheapest step that still tells any two orders of leaves apart.
    #[inline]
    pub(crate) fn leaf(&mut self, token: u64) {
        self.state = self.state.wrapping_mul(9).wrapping_add(token);
    }

    /// Adds the token of a part that holds others.
    #[inline]
    pub(crate) fn holder(&mut self, token: u64) {
        self.state = mix(self.state, token);
    }

    pub(crate) fn finish(self) -> u64 {
        spread(self.state)
    }
}

/// The tokens. They are part of the stored format: if one changes, every stored value is a miss.
pub(crate) mod token {
    use super::kind;

    pub(crate) const BOOL: u64 = kind(1);
    pub(crate) const I8: u64 = kind(2);
    pub(crate) const I16: u64 = kind(3);
    pub(crate) const I32: u64 = kind(4);
    pub(crate) const I64: u64 = kind(5);
    pub(crate) const I128: u64 = kind(6);
    pub(crate) const U8: u64 = kind(7);
    pub(crate) const U16: u64 = kind(8);
    pub(crate) const U32: u64 = kind(9);
    pub(crate) const U64: u64 = kind(10);
    pub(crate) const U128: u64 = kind(11);
    pub(crate) const F32: u64 = kind(12);
    pub(crate) const F64: u64 = kind(13);
    pub(crate) const CHAR: u64 = kind(14);
    pub(crate) const STR: u64 = kind(15);
    pub(crate) const BYTES: u64 = kind(16);
    pub(crate) const UNIT: u64 = kind(17);
    pub(crate) const UNIT_STRUCT: u64 = kind(18);
    pub(crate) const NONE: u64 = kind(19);
    pub(crate) const SOME: u64 = kind(20);
    pub(crate) const NEWTYPE: u64 = kind(21);
    pub(crate) const SEQUENCE: u64 = kind(22);
    pub(crate) const MAP: u64 = kind(23);
    pub(crate) const TUPLE: u64 = kind(24);
    pub(crate) const TUPLE_STRUCT: u64 = kind(25);
    pub(crate) const FIELDS: u64 = kind(26);
    pub(crate) const VARIANT: u64 = kind(27);
    pub(crate) const UNIT_VARIANT: u64 = kind(28);
    pub(crate) const NEWTYPE_VARIANT: u64 = kind(29);
    pub(crate) const TUPLE_VARIANT: u64 = kind(30);
    pub(crate) const STRUCT_VARIANT: u64 = kind(31);
}

/// The token of the kind `number`: any two differ in their last five bits, and look random in the others.
const fn kind(number: u64) -> u64 {
    (spread(number) << 5) | number
}

/// One step of the hash; for a given state no two tokens give the same result.
#[inline]
const fn mix(state: u64, token: u64) -> u64 {
    (state.rotate_left(5) ^ token).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The finalizer of `SplitMix64`: spreads small numbers over all bits.
const fn spread(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The token of a list of names, `state`, after one more; it begins as [`token::FIELDS`].
#[inline]
pub(crate) fn with_name(state: u64, name: &str) -> u64 {
    mix(state, XxHash3_64::oneshot(name.as_bytes()))
}

/// The token of a list of field names.
fn fields(names: &[&str]) -> u64 {
    names.iter().fold(token::FIELDS, |list, name| with_name(list, name))
}

/// The token of the variant `name` in place `index`, written in the form of the token `form`.
#[inline]
pub(crate) fn variant(form: u64, index: u32, name: &str) -> u64 {
    with_name(mix(mix(token::VARIANT, form), u64::from(index)), name)
}

/// The token of `count` parts of the kind `kind`.
#[inline]
pub(crate) fn counted(kind: u64, count: u64) -> u64 {
    mix(kind, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(leaves: &[u64]) -> u64 {
        let mut shape = Shape::default();
        for token in leaves {
            shape.leaf(*token);
        }
        shape.finish()
    }

    /// Leaves are the digits of a number to base 9, modulo 2^64. Exchanging two of them, or all of one kind for another
    /// in a list of n, goes unseen only if their difference times their distance (or n) is a multiple of 2^61.
    #[test]
    fn the_tokens_of_kinds_differ_in_their_last_bits() {
        let kinds: Vec<u64> = (1..=31).map(kind).collect();
        for (i, a) in kinds.iter().enumerate() {
            assert!(kinds[..i].iter().all(|b| a.wrapping_sub(*b).trailing_zeros() < 5));
        }
    }

    #[test]
    fn leaves_in_another_order_number_or_kind_have_another_shape() {
        use token::{STR, U8, U32, U64};

        let mut shapes = vec![
            shape_of(&[]),
            shape_of(&[U8]),
            shape_of(&[U8, U8]),
            shape_of(&[U8, STR]),
            shape_of(&[STR, U8]),
            shape_of(&[U32, U64, U32]),
            shape_of(&[U64, U32, U32]),
        ];
        for length in [1_000, 65_536, 1 << 20] {
            shapes.push(shape_of(&vec![U32; length]));
            shapes.push(shape_of(&vec![U64; length]));
            let mut swapped = vec![U32; length];
            for place in [0, length / 2, length - 1] {
                swapped[place] = U64;
                shapes.push(shape_of(&swapped));
                swapped[place] = U32;
            }
        }
        let count = shapes.len();
        shapes.sort_unstable();
        shapes.dedup();
        assert_eq!(shapes.len(), count);
    }
}
