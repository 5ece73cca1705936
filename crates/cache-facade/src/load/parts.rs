//! Parts of a batch: each is a call of its own with the time budget of one request. A backend that answers is waited for
//! however large the batch is, and one that does not delays the caller by one budget.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::NewEntry;

use crate::time_budget::LONGEST;

/// Most keys in a part: about ten milliseconds of a backend's time.
const MOST_KEYS: usize = 500;
/// Most bytes of values in a part, unless a single value is larger.
const MOST_BYTES: usize = 1 << 20;

/// Number of keys looked up in a part: smaller while the backend takes long to answer, because the values are large or it
/// is busy.
#[derive(Debug)]
pub(crate) struct PartSize(AtomicUsize);

impl Default for PartSize {
    fn default() -> Self {
        Self(AtomicUsize::new(MOST_KEYS))
    }
}

impl PartSize {
    /// Splits the next part off `keys`.
    pub(crate) fn split<'a, K>(&self, keys: &'a [K]) -> (&'a [K], &'a [K]) {
        keys.split_at(self.0.load(Ordering::Relaxed).min(keys.len()))
    }

    /// Adapts the size to the time that a part of `keys` keys took; one that timed out took [`LONGEST`].
    pub(crate) fn took(&self, keys: usize, took: Duration) {
        let size = self.0.load(Ordering::Relaxed);
        if took > LONGEST / 2 {
            self.0.store((keys / 2).clamp(1, size), Ordering::Relaxed);
        } else if took < LONGEST / 8 && keys >= size && size < MOST_KEYS {
            self.0.store((2 * size).min(MOST_KEYS), Ordering::Relaxed);
        }
    }
}

/// Values that are sent in one call.
#[derive(Debug)]
pub(crate) struct Part<T> {
    pub(crate) values: Vec<T>,
    pub(crate) bytes: usize,
}

/// Splits `values` into parts, by their number and by the bytes of their entries; a large value is a part by itself.
pub(crate) fn of_values<T>(values: Vec<T>, entry: impl Fn(&T) -> &NewEntry) -> Vec<Part<T>> {
    let mut parts: Vec<Part<T>> = Vec::new();
    for value in values {
        let bytes = entry(&value).payload.len();
        let has_room =
            |part: &&mut Part<T>| part.values.len() < MOST_KEYS && part.bytes + bytes <= MOST_BYTES;
        match parts.last_mut().filter(has_room) {
            Some(part) => {
                part.values.push(value);
                part.bytes += bytes;
            }
            None => parts.push(Part { values: vec![value], bytes }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded_in_number_and_bytes_and_keep_the_order() {
        let entry = |bytes: usize| NewEntry::new(vec![0; bytes]);
        let sizes = |entries: Vec<NewEntry>| -> Vec<(usize, usize)> {
            let parts = of_values(entries, |entry| entry);
            parts.iter().map(|part| (part.values.len(), part.bytes)).collect()
        };
        assert_eq!(sizes(Vec::new()), []);
        assert_eq!(sizes(vec![entry(1); 1001]), [(500, 500), (500, 500), (1, 1)]);
        let mixed = vec![entry(10), entry(MOST_BYTES + 1), entry(10), entry(20)];
        assert_eq!(sizes(mixed), [(1, 10), (1, MOST_BYTES + 1), (2, 30)]);
    }

    #[test]
    fn parts_shrink_while_a_backend_is_slow_and_grow_again() {
        let (size, keys) = (PartSize::default(), [(); 20_000]);
        let next = |took: Duration| {
            let part = size.split(&keys).0.len();
            size.took(part, took);
            part
        };
        for expected in [500, 250, 125] {
            assert_eq!(next(LONGEST), expected);
        }
        assert_eq!(next(LONGEST / 4), 62);
        for expected in [62, 124, 248, 496, 500, 500] {
            assert_eq!(next(Duration::ZERO), expected);
        }
        for _ in 0..20 {
            next(LONGEST);
        }
        assert_eq!(next(LONGEST), 1, "one key is as few as there can be");
        size.took(1, Duration::ZERO);
        assert_eq!(size.split(&keys[..1]).0.len(), 1, "a short batch is one part");
    }
}
