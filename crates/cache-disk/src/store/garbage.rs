//! [`GarbageNote`]: rows whose keys were removed, to be deleted later.
//!
//! The keys of a group lie together, but their rows lie where they were stored, all over the file. An invalidation
//! therefore waits for a durable commit that only removes the keys, after which nothing refers to the values, and notes
//! their rows in `state`. The writer deletes the rows later. After a crash the notes are read at the next opening, so no
//! row is left for ever.

use super::location::Location;
use super::schema::GARBAGE_NAMES;
use crate::budget;

/// The fewest entries that get a note: for fewer it would cost as much as it saves. Lower in tests, whose groups are small.
const FEWEST: usize = if cfg!(feature = "shuttle") {
    1
} else if cfg!(feature = "testing") {
    2
} else {
    5
};
/// The most entries in one note: it fits a page.
const MOST: usize = 256;

/// Rows that one note in `state` names, by ascending ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GarbageNote(Vec<Location>);

impl GarbageNote {
    /// Splits `rows`, given by ascending ids, into notes; none for few rows, which are better deleted at once.
    pub(super) fn of(rows: &[Location]) -> Vec<Self> {
        if rows.len() < FEWEST {
            return Vec::new();
        }
        rows.chunks(MOST).map(|some| Self(some.to_vec())).collect()
    }

    pub(crate) fn rows(&self) -> &[Location] {
        &self.0
    }

    /// The cost of the rows in the database, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.0.iter().map(|rows| budget::row_cost(*rows)).sum()
    }

    /// Its name in `state`. A key is removed once, so no other note begins with the same id.
    pub(super) fn name(&self) -> String {
        format!("{GARBAGE_NAMES}{:016x}", self.0.first().map_or(0, |rows| rows.id))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|rows| rows.to_bytes()).collect()
    }

    /// Reads what [`Self::to_bytes`] wrote; leaves out what cannot be read.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(
            bytes
                .chunks_exact(Location::BYTES)
                .filter_map(|row| Some(Location::from_bytes(row)?.0))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_fits_a_page() {
        let rows: Vec<Location> = (1..=1000).map(|id| Location { id, size: 7 }).collect();
        let notes = GarbageNote::of(&rows);
        assert_eq!(notes.iter().map(|note| note.rows().len()).collect::<Vec<_>>(), [256, 256, 256, 232]);
        for note in &notes {
            let bytes = note.to_bytes();
            assert!(bytes.len() < 3200 && GarbageNote::from_bytes(&bytes) == *note);
        }
        assert_eq!(notes.last().map(GarbageNote::name).as_deref(), Some("remains:0000000000000301"));
    }

    #[test]
    fn few_rows_get_no_note() {
        let rows = [Location { id: 1, size: 7 }; FEWEST];
        assert_eq!((GarbageNote::of(&rows[1..]).len(), GarbageNote::of(&rows).len()), (0, 1));
    }
}
