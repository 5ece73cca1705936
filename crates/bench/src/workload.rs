//! Keys, values and orders of access: the same in every run.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{CacheKey, images};
use fastrand::Rng;

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
    keys: Arc<[CacheKey]>,
    places: Arc<[usize]>,
    next: usize,
}

impl Sequence {
    /// Draws from `keys`. Which keys are asked for often does not depend on their order.
    pub fn new(keys: Vec<CacheKey>, access: Access, seed: u64) -> Self {
        let (mut random, count) = (Rng::with_seed(seed), keys.len());
        let places = match access {
            Access::Uniform => (0..DRAWN).map(|_| random.usize(..count)).collect(),
            Access::Zipf => zipf(count, 0.99, DRAWN, &mut random).into(),
        };
        Self { keys: keys.into(), places, next: 0 }
    }

    /// Draws from `keys` by Zipf's law with another exponent than 0.99.
    pub fn zipf(keys: Vec<CacheKey>, exponent: f64, seed: u64) -> Self {
        let places = zipf(keys.len(), exponent, DRAWN, &mut Rng::with_seed(seed)).into();
        Self { keys: keys.into(), places, next: 0 }
    }

    /// Each of `keys` once, in a random order, over and over.
    pub fn each_once(keys: Vec<CacheKey>, seed: u64) -> Self {
        let places = permutation(keys.len(), &mut Rng::with_seed(seed)).into();
        Self { keys: keys.into(), places, next: 0 }
    }

    /// The next `count` keys.
    pub fn take(&mut self, count: u64) -> Vec<&CacheKey> {
        let places = self.places.iter().cycle().skip(self.next).take(count as usize);
        self.next = (self.next + count as usize) % self.places.len().max(1);
        places.filter_map(|place| self.keys.get(*place)).collect()
    }

    /// The next `count` keys, each with a value.
    pub fn entries(&mut self, count: u64, values: &Values) -> Vec<(&CacheKey, Bytes)> {
        let first = self.next;
        (first..).zip(self.take(count)).map(|(number, key)| (key, values.of(number))).collect()
    }
}

/// The numbers below `count` in a random order.
pub fn permutation(count: usize, random: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    random.shuffle(&mut order);
    order
}

/// `draws` places below `count` by Zipf's law: the chance of the place of rank r goes with r^-`exponent`, and which place
/// has which rank is up to chance.
pub fn zipf(count: usize, exponent: f64, draws: usize, random: &mut Rng) -> Vec<usize> {
    let places = permutation(count, random);
    let mut sum = 0.0;
    let totals: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut rank = || {
        let chance = random.f64() * sum;
        totals.partition_point(|total| *total < chance)
    };
    (0..draws).filter_map(|_| places.get(rank()).copied()).collect()
}

/// The keys of `count` images' metadata, from image `first` on.
pub fn image_keys(first: usize, count: usize) -> Vec<CacheKey> {
    (first..first + count).map(images::image_metadata).collect()
}

/// Keys in groups of `size`: the pages of a project's listing.
pub fn listing_keys(groups: usize, size: usize) -> Result<Vec<CacheKey>, cache_core::Error> {
    let page = |at: usize| images::project_images(at / size).skip(at as u64 % size as u64 * 100).build();
    (0..groups * size).map(page).collect()
}

/// Values that do not compress, to be handed out in turn: more would only measure how they are made.
#[derive(Debug, Clone)]
pub struct Values(Arc<[Bytes]>);

impl Values {
    /// Values of `length` bytes.
    pub fn new(length: usize) -> Self {
        let mut random = Rng::with_seed(length as u64);
        let mut value = || {
            let mut bytes = vec![0; length];
            random.fill(&mut bytes);
            Bytes::from(bytes)
        };
        Self((0..64).map(|_| value()).collect())
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
        for place in zipf(asked.len(), 0.99, DRAWN, &mut Rng::with_seed(3)) {
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
