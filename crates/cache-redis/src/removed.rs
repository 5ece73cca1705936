//! [`Removed`]: about how many entries were removed, by family.

use std::collections::BTreeMap;

use cache_core::CacheKey;

/// Entries that were removed. Whole groups count with their leases: only values could tell them apart.
#[derive(Debug, Default)]
pub(crate) struct Removed(BTreeMap<String, u64>);

impl Removed {
    /// Adds `entries` of the group `group`.
    pub(crate) fn add(&mut self, group: &str, entries: u64) {
        if entries == 0 {
            return;
        }
        let Ok(key) = CacheKey::parse(group) else { return };
        match self.0.get_mut(key.family()) {
            Some(count) => *count += entries,
            None => drop(self.0.insert(key.family().to_owned(), entries)),
        }
    }

    /// How many there are in all families.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many there are by family.
    pub(crate) fn by_family(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(family, count)| (family.as_str(), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_count_for_the_family_of_their_group() {
        let mut removed = Removed::default();
        for (group, entries) in [("image:5", 2), ("image:6", 1), ("thumbnail:5", 4), ("page:1", 0)] {
            removed.add(group, entries);
        }
        assert_eq!(removed.total(), 7);
        assert_eq!(removed.by_family().collect::<Vec<_>>(), [("image", 3), ("thumbnail", 4)]);
    }
}
