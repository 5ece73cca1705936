//! [`Remains`]: rows whose keys are gone.
//!
//! The keys of a group lie together, their rows lie where they were stored: all over the file. Whoever waits for an
//! invalidation waits for a durable commit that takes the keys out, after which nothing leads to a value any more, and
//! that notes whose rows remain. The writer sweeps them behind the caller's back; after a crash the next opening knows
//! them from `state`, so that no row is left for ever.

/// The fewest entries that get a note: for fewer it would cost as much as it saves. Tests, whose groups are small, make notes
/// of two, and those that explore schedules of one.
const WORTH_A_NOTE: usize = if cfg!(feature = "shuttle") {
    1
} else if cfg!(feature = "testing") {
    2
} else {
    5
};
/// Most entries in one note: it fits a page.
const MOST: usize = 256;
/// Bytes of an entry in a note.
const BYTES: usize = 12;

/// What the names of notes in `state` begin with.
pub(super) const NAMES: &str = "remains:";
/// The first name behind all of them.
pub(super) const BEHIND_NAMES: &str = "remains;";

/// Where the rows of an entry are, and what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rows {
    pub(crate) id: u64,
    pub(crate) cost: u32,
}

/// Rows that one note in `state` names, by ascending ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remains(Vec<Rows>);

impl Remains {
    /// Notes for `rows`, given by ascending ids; none for a few, which are better removed at once.
    pub(super) fn of(rows: &[Rows]) -> Vec<Self> {
        if rows.len() < WORTH_A_NOTE {
            return Vec::new();
        }
        rows.chunks(MOST).map(|some| Self(some.to_vec())).collect()
    }

    pub(crate) fn rows(&self) -> &[Rows] {
        &self.0
    }

    /// What the rows cost, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.0.iter().map(|rows| u64::from(rows.cost)).sum()
    }

    /// Its name in `state`: a key is removed once, so no other note begins with the same id.
    pub(super) fn name(&self) -> String {
        format!("{NAMES}{:016x}", self.0.first().map_or(0, |rows| rows.id))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let parts = |rows: &Rows| (rows.id.to_le_bytes(), rows.cost.to_le_bytes());
        self.0.iter().map(parts).flat_map(|(id, cost)| id.into_iter().chain(cost)).collect()
    }

    /// What [`Self::to_bytes`] wrote; what cannot be read is left out.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let rows = bytes.chunks_exact(BYTES).filter_map(|row| {
            let (id, cost) = row.split_first_chunk()?;
            Some(Rows { id: u64::from_le_bytes(*id), cost: u32::from_le_bytes(cost.try_into().ok()?) })
        });
        Self(rows.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_fits_a_page() {
        let rows: Vec<Rows> = (1..=1000).map(|id| Rows { id, cost: 7 }).collect();
        let notes = Remains::of(&rows);
        assert_eq!(notes.iter().map(|note| note.rows().len()).collect::<Vec<_>>(), [256, 256, 256, 232]);
        assert_eq!(notes.iter().map(Remains::cost).sum::<u64>(), 7000);
        for note in &notes {
            let bytes = note.to_bytes();
            assert!(bytes.len() < 3200 && Remains::from_bytes(&bytes) == *note);
        }
        assert_eq!(notes.last().map(Remains::name).as_deref(), Some("remains:0000000000000301"));
    }

    #[test]
    fn a_few_are_not_worth_a_note() {
        let rows = [Rows { id: 1, cost: 7 }; WORTH_A_NOTE];
        assert_eq!((Remains::of(&rows[1..]).len(), Remains::of(&rows).len()), (0, 1));
    }
}
