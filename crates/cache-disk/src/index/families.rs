//! Key families: at most 32 by name, the rest together, with their counters.

use arc_swap::ArcSwap;
use cache_core::sync::Mutex;
use cache_core::{FamilyStats, MOST_FAMILIES};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of a family; the last one stands for all that have no number of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FamilyId(u8);

impl FamilyId {
    pub(crate) const OTHER: Self = Self::from_position(MOST_FAMILIES);

    #[expect(clippy::cast_possible_truncation, reason = "there are at most 33 families")]
    const fn from_position(position: usize) -> Self {
        Self(position as u8)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self((bits & 0xff) as u8)
    }

    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.0)
    }
}

/// The names of families in the order in which they were first seen.
#[derive(Debug, Default)]
pub(crate) struct Families {
    names: ArcSwap<Vec<Box<str>>>,
    adding: Mutex<()>,
}

impl Families {
    /// The number of `name`, given out now if there is one left.
    pub(crate) fn number(&self, name: &str) -> FamilyId {
        match find(&self.names.load(), name) {
            Some(known) => known,
            None => self.add(name),
        }
    }

    /// Figures by name, out of figures by number.
    pub(crate) fn named(&self, counts: &FamilyCounts) -> BTreeMap<String, FamilyStats> {
        let names = self.names.load();
        let name = |at: usize| names.get(at).map_or("other", |name| &**name).to_owned();
        counts
            .by_number()
            .filter(|(_, stats)| *stats != FamilyStats::default())
            .map(|(at, s)| (name(at), s))
            .collect()
    }

    fn add(&self, name: &str) -> FamilyId {
        let _adding = self.adding.lock();
        let names = self.names.load();
        if let Some(known) = find(&names, name) {
            return known;
        }
        if names.len() == MOST_FAMILIES {
            return FamilyId::OTHER;
        }
        let mut more = names.to_vec();
        more.push(name.into());
        let number = FamilyId::from_position(names.len());
        self.names.store(Arc::new(more));
        number
    }
}

fn find(names: &[Box<str>], name: &str) -> Option<FamilyId> {
    names.iter().position(|known| **known == *name).map(FamilyId::from_position)
}

/// Counters of all families, by number.
#[derive(Debug, Default, Clone)]
pub(crate) struct FamilyCounts(Vec<FamilyStats>);

impl FamilyCounts {
    pub(crate) fn hit(&mut self, family: FamilyId) {
        self.of(family).hits += 1;
    }

    pub(crate) fn miss(&mut self, family: FamilyId) {
        self.of(family).misses += 1;
    }

    /// What was counted as a hit turned out to be a miss.
    pub(crate) fn hit_was_miss(&mut self, family: FamilyId) {
        self.hit_was_nothing(family);
        self.miss(family);
    }

    /// What was counted as a hit is looked up, and counted, again.
    pub(crate) fn hit_was_nothing(&mut self, family: FamilyId) {
        self.of(family).hits -= 1;
    }

    pub(crate) fn remember(&mut self, family: FamilyId, cost: u32) {
        let stats = self.of(family);
        stats.count += 1;
        stats.bytes += u64::from(cost);
    }

    pub(crate) fn forget(&mut self, family: FamilyId, cost: u32) {
        let stats = self.of(family);
        stats.count -= 1;
        stats.bytes -= u64::from(cost);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (at, more) in other.by_number() {
            let FamilyStats { hits, misses, count, bytes } = more;
            let stats = self.of(FamilyId::from_position(at));
            stats.hits += hits;
            stats.misses += misses;
            stats.count += count;
            stats.bytes += bytes;
        }
    }

    pub(crate) fn by_number(&self) -> impl Iterator<Item = (usize, FamilyStats)> {
        self.0.iter().copied().enumerate()
    }

    fn of(&mut self, family: FamilyId) -> &mut FamilyStats {
        let at = usize::from(family.0);
        if self.0.len() <= at {
            self.0.resize(at + 1, FamilyStats::default());
        }
        self.0.get_mut(at).expect("resized to hold it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thirty_third_family_and_all_later_ones_are_other() {
        let families = Families::default();
        let numbers: Vec<_> = (0..40).map(|n| families.number(&format!("f{n}"))).collect();
        assert_eq!(numbers[31], families.number("f31"));
        assert!(numbers[32..].iter().all(|number| *number == FamilyId::OTHER));
        let mut counts = FamilyCounts::default();
        counts.hit(numbers[0]);
        counts.miss(numbers[35]);
        let named = families.named(&counts);
        assert_eq!((named["f0"].hits, named["other"].misses, named.len()), (1, 1, 2));
    }
}
