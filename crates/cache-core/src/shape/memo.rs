//! A memo of the tokens of field lists, by the address of the list.

use std::cell::Cell;

use super::fields;

const SLOTS: usize = 128;

/// A list's address and length, and its token.
type Slot = (usize, usize, u64);

thread_local! {
    // Without a destructor and with a constant initial value, access costs one addition.
    static MEMO: [Cell<Slot>; SLOTS] = const { [const { Cell::new((0, 0, 0)) }; SLOTS] };
}

/// Returns the token of the list `names`.
///
/// Hashing the field names of each struct would double the cost of decoding it. A `'static` list never changes and never
/// moves, so that its address and length identify it. Every thread has its own table, of 3 KiB.
#[inline]
pub(crate) fn fields_of(names: &'static [&'static str]) -> u64 {
    let (address, length) = (names.as_ptr().addr(), names.len());
    MEMO.with(|slots| {
        let Some(slot) = slots.get((address >> 4) % SLOTS) else { return fields(names) };
        let (known_address, known_length, token) = slot.get();
        if (known_address, known_length) == (address, length) {
            return token;
        }
        let token = fields(names);
        slot.set((address, length, token));
        token
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_share_a_slot_keep_their_own_tokens() {
        let lists: Vec<&'static [&'static str]> =
            (0..4 * SLOTS).map(|i| &*vec![&*i.to_string().leak()].leak()).collect();
        for _ in 0..2 {
            assert!(lists.iter().all(|list| fields_of(list) == fields(list)));
        }
    }

    #[test]
    fn a_list_and_its_beginning_are_two_lists() {
        static NAMES: [&str; 2] = ["a", "b"];
        assert_ne!(fields_of(&NAMES), fields_of(&NAMES[..1]));
    }
}
