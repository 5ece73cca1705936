//! [`FamilyCounters`]: figures by key family, for stores that count them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::stats::{FamilyStats, MOST_FAMILIES};

/// The name under which families past the first [`MOST_FAMILIES`] are counted together.
const OTHER: &str = "other";

/// The number of a family in its [`FamilyNames`]; one byte, so that an index can keep it with every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyId(u8);

impl FamilyId {
    /// All families that got no number of their own.
    pub const OTHER: Self = Self::at(MOST_FAMILIES);

    /// The family that [`to_byte`](Self::to_byte) gave `byte` for.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The number as a byte.
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are at most 33 families")]
    const fn at(position: usize) -> Self {
        Self(position as u8)
    }
}

/// Numbers key families in the order in which they are first seen.
///
/// # Guarantees
/// - The first [`MOST_FAMILIES`] families have a number of their own for as long as this lives, all others
///   [`FamilyId::OTHER`], so that figures by number always add up.
/// - No lock is taken for a family that has a number; the cost is a comparison with at most 32 names.
#[derive(Debug, Default)]
pub struct FamilyNames([OnceLock<Box<str>>; MOST_FAMILIES]);

impl FamilyNames {
    /// The number of the family `name`, given out now if it is new and one is left.
    pub fn id(&self, name: &str) -> FamilyId {
        let is_name = |slot: &OnceLock<Box<str>>| **slot.get_or_init(|| name.into()) == *name;
        self.0.iter().position(is_name).map_or(FamilyId::OTHER, FamilyId::at)
    }

    /// The names by number, from 0 on; the last is that of all others.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..=MOST_FAMILIES).map(|position| self.name(position))
    }

    fn name(&self, position: usize) -> &str {
        self.0.get(position).and_then(OnceLock::get).map_or(OTHER, |name| name)
    }
}

/// Figures of every family, by its number in a [`FamilyNames`].
///
/// # Guarantees
/// - Memory is bounded: about 1 KiB.
/// - [`of`](Self::of) is one array access.
///
/// There is no lock inside: a store keeps the counters under the lock of the entries that they count, one for each
/// shard if it has shards.
#[derive(Debug, Clone)]
pub struct FamilyCounters([FamilyStats; MOST_FAMILIES + 1]);

impl Default for FamilyCounters {
    fn default() -> Self {
        Self([FamilyStats::default(); MOST_FAMILIES + 1])
    }
}

impl FamilyCounters {
    /// The figures of `family`, to be changed.
    #[inline]
    pub fn of(&mut self, family: FamilyId) -> &mut FamilyStats {
        self.0.get_mut(usize::from(family.0)).expect("numbers of families are 0 to 32")
    }

    /// The figures of all families, to be changed.
    pub fn all(&mut self) -> impl Iterator<Item = &mut FamilyStats> {
        self.0.iter_mut()
    }

    /// Adds the figures of `other`, which counts under the same names.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            add(sum, more);
        }
    }

    /// The sums over all families.
    pub fn total(&self) -> FamilyStats {
        let mut total = FamilyStats::default();
        self.0.iter().for_each(|family| add(&mut total, family));
        total
    }

    /// The figures by name, without families for which nothing is counted.
    pub fn named(&self, names: &FamilyNames) -> BTreeMap<String, FamilyStats> {
        let mut by_name = BTreeMap::<_, FamilyStats>::new();
        for (position, figures) in self.0.iter().enumerate() {
            if *figures != FamilyStats::default() {
                // Added and not inserted: a family may be called `other` too.
                add(by_name.entry(names.name(position).to_owned()).or_default(), figures);
            }
        }
        by_name
    }
}

fn add(sum: &mut FamilyStats, more: &FamilyStats) {
    let FamilyStats { hits, misses, count, bytes } = more;
    sum.hits += hits;
    sum.misses += misses;
    sum.count += count;
    sum.bytes += bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_past_the_limit_are_counted_together() {
        let (names, mut counters) = (FamilyNames::default(), FamilyCounters::default());
        for n in 0..40 {
            counters.of(names.id(&format!("family{n}"))).hits += 1;
        }
        assert_eq!(names.id("family31"), FamilyId::at(31));
        assert_eq!(names.id("family32"), FamilyId::OTHER);
        let by_name = counters.named(&names);
        assert_eq!((by_name.len(), by_name["family31"].hits, by_name[OTHER].hits), (MOST_FAMILIES + 1, 1, 8));
        assert_eq!(counters.total().hits, 40);
    }

    #[test]
    fn a_family_called_other_and_the_families_past_the_limit_add_up() {
        let (names, mut counters) = (FamilyNames::default(), FamilyCounters::default());
        counters.of(names.id(OTHER)).bytes = 1;
        counters.of(FamilyId::OTHER).bytes = 2;
        assert_eq!(counters.named(&names)[OTHER].bytes, 3);
    }

    #[test]
    fn counters_of_two_shards_add_up() {
        let names = FamilyNames::default();
        let (mut sum, mut shard) = (FamilyCounters::default(), FamilyCounters::default());
        *shard.of(names.id("user")) = FamilyStats { hits: 1, misses: 2, count: 3, bytes: 4 };
        sum.add(&shard);
        sum.add(&shard);
        let expected = FamilyStats { hits: 2, misses: 4, count: 6, bytes: 8 };
        assert_eq!(sum.named(&names), BTreeMap::from([("user".to_owned(), expected)]));
    }
}
