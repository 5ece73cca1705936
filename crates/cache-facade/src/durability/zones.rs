//! [`Zone`] and [`ZoneSet`]: the parts of a store whose servers fail one by one.
//!
//! Every group lies in one zone, for ever: a zone stays the same where its groups move from one server to another. A store
//! on one server has one zone.

use std::fmt::{self, Debug};
use std::iter;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub, SubAssign};

/// One of 64 parts of the groups of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone(u8);

impl Zone {
    /// How many zones there are.
    pub(crate) const COUNT: u8 = 64;

    /// Makes the zone of this number modulo [`COUNT`](Self::COUNT). A store on one server has the zone 0.
    pub(crate) fn new(number: u8) -> Self {
        Self(number % Self::COUNT)
    }

    /// The number, less than [`COUNT`](Self::COUNT).
    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of zones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ZoneSet(u64);

impl ZoneSet {
    pub(crate) const EMPTY: Self = Self(0);
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// Makes a set of bits: bit n stands for zone n.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as bits.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) fn contains(self, zone: Zone) -> bool {
        self.meets(zone.into())
    }

    /// Whether the sets have a zone in common.
    pub(crate) fn meets(self, other: Self) -> bool {
        !(self & other).is_empty()
    }

    /// Whether every zone of `other` is in this set.
    pub(crate) fn covers(self, other: Self) -> bool {
        (other - self).is_empty()
    }

    /// The zones in ascending order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Zone> {
        let mut left = self.0;
        iter::from_fn(move || {
            let lowest = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            u8::try_from(lowest).ok().filter(|number| *number < Zone::COUNT).map(Zone)
        })
    }

    /// How much of `all` this is, in percent, rounded up: a part is never nothing.
    pub(crate) fn percent_of(self, all: Self) -> u32 {
        ((self & all).len() * 100).div_ceil(all.len().max(1))
    }
}

impl From<Zone> for ZoneSet {
    fn from(zone: Zone) -> Self {
        Self(1 << zone.number())
    }
}

impl FromIterator<Zone> for ZoneSet {
    fn from_iter<I: IntoIterator<Item = Zone>>(zones: I) -> Self {
        zones.into_iter().map(Self::from).collect()
    }
}

impl FromIterator<ZoneSet> for ZoneSet {
    fn from_iter<I: IntoIterator<Item = ZoneSet>>(sets: I) -> Self {
        sets.into_iter().fold(Self::EMPTY, BitOr::bitor)
    }
}

impl BitAnd for ZoneSet {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for ZoneSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ZoneSet {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl Sub for ZoneSet {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl SubAssign for ZoneSet {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Debug for ZoneSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|zone| zone.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_the_zones_that_it_was_collected_from() {
        for numbers in [vec![], vec![0], vec![63], vec![0, 21, 22, 63], (0..64).collect()] {
            let zones: Vec<_> = numbers.iter().copied().map(Zone::new).collect();
            let set: ZoneSet = zones.iter().copied().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), zones);
            assert_eq!((set.len() as usize, set.is_empty()), (zones.len(), zones.is_empty()));
            assert!((0..64).all(|number| set.contains(Zone::new(number)) == numbers.contains(&number)));
        }
        assert_eq!((0..64).map(Zone::new).collect::<ZoneSet>(), ZoneSet::ALL);
    }

    #[test]
    fn a_part_of_a_set_is_told_in_percent_and_is_never_nothing() {
        let part = |count: u8| (0..count).map(Zone::new).collect::<ZoneSet>();
        assert_eq!([0, 1, 22, 32, 64].map(|count| part(count).percent_of(ZoneSet::ALL)), [0, 2, 35, 50, 100]);
        assert_eq!(ZoneSet::ALL.percent_of(Zone::new(0).into()), 100);
    }
}
