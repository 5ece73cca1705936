//! Why recent entries are gone: a short memory for `explain`, one place for each of 64 hashes a shard.

use cache_core::MissCause;

const PLACES: usize = 64;

/// What a shard remembers; a newer key takes the place of an older one with the same lowest bits.
#[derive(Debug)]
pub(crate) struct Causes(Box<[Memory; PLACES]>);

#[derive(Debug, Default, Clone, Copy)]
struct Memory {
    hash: u64,
    /// Why the entry is gone: what the next miss will be put down to.
    gone: Option<MissCause>,
    /// What the last miss was put down to.
    last_miss: Option<MissCause>,
}

impl Causes {
    /// Remembers why the entry of `hash` is gone.
    pub(crate) fn record(&mut self, hash: u64, cause: MissCause) {
        self.memory(hash).gone = Some(cause);
    }

    /// Remembers that a lookup of `hash` missed, which says nothing of the entry where the store was `away`.
    pub(crate) fn missed(&mut self, hash: u64, away: bool) {
        let memory = self.memory(hash);
        let gone = memory.gone.unwrap_or(MissCause::Absent);
        memory.last_miss = Some(if away { MissCause::Unavailable } else { gone });
    }

    /// Why the last lookup of `hash` that missed did so, as far as it is remembered.
    pub(crate) fn last_miss(&self, hash: u64) -> Option<MissCause> {
        let memory = self.0.get(place(hash))?;
        memory.last_miss.filter(|_| memory.hash == hash)
    }

    fn memory(&mut self, hash: u64) -> &mut Memory {
        let memory = self.0.get_mut(place(hash)).expect("reduced to the number of places");
        if memory.hash != hash {
            *memory = Memory { hash, ..Memory::default() };
        }
        memory
    }
}

impl Default for Causes {
    fn default() -> Self {
        Self(Box::new([Memory::default(); PLACES]))
    }
}

fn place(hash: u64) -> usize {
    usize::try_from(hash % PLACES as u64).expect("reduced to the number of places")
}
