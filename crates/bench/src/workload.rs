//! Keys, values and orders of access: the same in every run.

use bytes::Bytes;
use cache_core::{CacheKey, keys};

/// Random numbers that are the same in every run (`SplitMix64`, Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is far below 2^64.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next_bits() % end.max(1) as u64) as usize
    }

    /// A number from 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next_bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The numbers below `count` in a random order.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// How often each of many keys is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All alike.
    Uniform,
    /// By Zipf's law with an exponent of 0.99: of 100,000 keys the first tenth gets four fifths.
    Zipf,
}

/// How many places are drawn ahead; then they come again in the same order.
const DRAWN: usize = 1 << 18;

/// Keys in the order in which they are asked for, over and over.
#[derive(Debug, Clone)]
pub struct Sequence {
    keys: Vec<CacheKey>,
    places: Vec<usize>,
    next: usize,
}

impl Sequence {
    /// Draws from `keys`. Which keys are asked for often has nothing to do with where they stand.
    pub fn new(keys: Vec<CacheKey>, access: Access, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = keys.len();
        let places = match access {
            Access::Uniform => (0..DRAWN).map(|_| random.below(count)).collect(),
            Access::Zipf => zipf(count, 0.99, DRAWN, &mut random),
        };
        Self { keys, places, next: 0 }
    }

    /// Each of `keys` once, in a random order, over and over.
    pub fn each_once(keys: Vec<CacheKey>, seed: u64) -> Self {
        let places = Random::new(seed).permutation(keys.len());
        Self { keys, places, next: 0 }
    }

    /// The next `count` keys.
    pub fn take(&mut self, count: u64) -> Vec<&CacheKey> {
        let places = self.places.iter().cycle().skip(self.next).take(count as usize);
        self.next = (self.next + count as usize) % self.places.len().max(1);
        places.filter_map(|place| self.keys.get(*place)).collect()
    }
}

/// `draws` places below `count` by Zipf's law: the chance of the place of rank r goes with r^-`exponent`, and which place
/// has which rank is up to chance.
pub fn zipf(count: usize, exponent: f64, draws: usize, random: &mut Random) -> Vec<usize> {
    let places = random.permutation(count);
    let mut sum = 0.0;
    let totals: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    (0..draws)
        .filter_map(|_| {
            let chance = random.fraction() * sum;
            places.get(totals.partition_point(|total| *total < chance)).copied()
        })
        .collect()
}

/// The keys of `count` images' metadata, from image `first` on.
pub fn image_keys(first: usize, count: usize) -> Vec<CacheKey> {
    (first..first + count).map(keys::image_metadata).collect()
}

/// Keys in groups of `size`: the pages of a project's listing.
pub fn listing_keys(groups: usize, size: usize) -> Result<Vec<CacheKey>, cache_core::Error> {
    let page = |at: usize| keys::project_images(at / size).skip(at as u64 % size as u64 * 100).build();
    (0..groups * size).map(page).collect()
}

/// Values that do not compress, to be handed out in turn: more would only measure how they are made.
#[derive(Debug, Clone)]
pub struct Values(Vec<Bytes>);

impl Values {
    /// Values of `length` bytes.
    pub fn new(length: usize) -> Self {
        let mut random = Random::new(length as u64);
        Self((0..64).map(|_| (0..length).map(|_| random.next_bits() as u8).collect()).collect())
    }

    /// The value of the `number`th entry.
    pub fn of(&self, number: usize) -> Bytes {
        self.0.get(number % self.0.len().max(1)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_asks_for_the_same_keys() {
        for access in [Access::Uniform, Access::Zipf] {
            let mut one = Sequence::new(image_keys(0, 1000), access, 7);
            let mut other = one.clone();
            assert_eq!(one.take(5000), other.take(5000));
        }
    }

    #[test]
    fn by_zipfs_law_a_tenth_of_the_keys_gets_most_of_the_lookups() {
        let mut asked = vec![0; 10_000];
        for place in zipf(asked.len(), 0.99, DRAWN, &mut Random::new(3)) {
            asked[place] += 1;
        }
        asked.sort_unstable_by(|one, other| other.cmp(one));
        let share = f64::from(asked[..1000].iter().sum::<u32>()) / DRAWN as f64;
        assert!((0.7..0.85).contains(&share), "{share}");
    }

    #[test]
    fn a_sequence_goes_on_where_it_stopped_and_begins_again() {
        let mut sequence = Sequence::each_once(image_keys(0, 5), 1);
        let first: Vec<CacheKey> = sequence.take(5).into_iter().cloned().collect();
        let again: Vec<CacheKey> = sequence.take(5).into_iter().cloned().collect();
        assert_eq!(first, again);
        let mut sorted = first.clone();
        sorted.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        assert_eq!(sorted, image_keys(0, 5));
    }

    #[test]
    fn listings_of_one_project_are_one_group() {
        let keys = listing_keys(3, 100).unwrap();
        assert!(keys[100..200].iter().all(|key| key.group() == "project_images:1"));
        let distinct: std::collections::HashSet<_> = keys.iter().map(CacheKey::as_str).collect();
        assert_eq!(distinct.len(), 300);
    }
}
