//! The states that a search has seen, by their fingerprints.

/// The parent of the first state, and the mark of a free slot.
pub(crate) const NONE: u64 = 0;

/// A hash table of fingerprints with the fingerprint of the state from which each was first reached.
///
/// It takes 16 bytes a slot. Fingerprints are hashes, so that they need no other.
#[derive(Debug)]
pub(crate) struct Seen {
    slots: Vec<(u64, u64)>,
    len: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { slots: vec![(NONE, NONE); 1 << 16], len: 0 }
    }
}

impl Seen {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether `fingerprint` is new.
    pub(crate) fn insert(&mut self, fingerprint: u64, parent: u64) -> bool {
        if self.len * 3 > self.slots.len() * 2 {
            self.grow();
        }
        let slot = self.slot(fingerprint);
        if self.slots[slot].0 == fingerprint {
            return false;
        }
        self.slots[slot] = (fingerprint, parent);
        self.len += 1;
        true
    }

    /// Returns the state from which `fingerprint` was first reached; `None` for the first state.
    pub(crate) fn parent(&self, fingerprint: u64) -> Option<u64> {
        let (_, parent) = self.slots[self.slot(fingerprint)];
        (parent != NONE).then_some(parent)
    }

    /// The slot of `fingerprint`, or the free one where it belongs.
    fn slot(&self, fingerprint: u64) -> usize {
        let mask = self.slots.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the mask takes the lowest bits")]
        let mut slot = fingerprint as usize & mask;
        while self.slots[slot].0 != NONE && self.slots[slot].0 != fingerprint {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let larger = vec![(NONE, NONE); self.slots.len() * 2];
        for (fingerprint, parent) in std::mem::replace(&mut self.slots, larger) {
            if fingerprint != NONE {
                let slot = self.slot(fingerprint);
                self.slots[slot] = (fingerprint, parent);
            }
        }
    }
}
