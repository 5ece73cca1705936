//! Counters and claims: a name space of their own, which nothing evicts and no pattern clears.

use std::collections::HashMap;
use std::collections::hash_map;

use bytes::Bytes;

use super::shelf::cost;
use crate::error::{Error, ErrorKind, Result};
use crate::key::CacheKey;

/// Counters and claims by key.
#[derive(Default)]
pub(super) struct Atoms {
    atoms: HashMap<CacheKey, Atom>,
    bytes: u64,
}

#[derive(Default)]
struct Atom {
    sum: i64,
    claim: Option<Bytes>,
}

impl Atoms {
    /// Adds `by` to the counter of `key`.
    pub(super) fn increment(&mut self, key: &CacheKey, by: i64, limit_bytes: u64) -> Result<i64> {
        let atom = self.atom(key, 0, limit_bytes)?;
        atom.sum = atom.sum.saturating_add(by);
        Ok(atom.sum)
    }

    /// Claims `key` with `value`, unless it is claimed.
    pub(super) fn add(&mut self, key: &CacheKey, value: Bytes, limit_bytes: u64) -> Result<bool> {
        if self.atoms.get(key).is_some_and(|atom| atom.claim.is_some()) {
            return Ok(false);
        }
        let atom = self.atom(key, value.len(), limit_bytes)?;
        atom.claim = Some(value);
        Ok(true)
    }

    /// Removes the counter and the claim of `key`.
    pub(super) fn reset(&mut self, key: &CacheKey) {
        if let Some(atom) = self.atoms.remove(key) {
            let claimed = atom.claim.as_ref().map_or(0, Bytes::len);
            self.bytes = self.bytes.saturating_sub(cost(key, claimed));
        }
    }

    /// The atom of `key`, made if need be, with `more` bytes of claim paid for.
    fn atom(&mut self, key: &CacheKey, more: usize, limit_bytes: u64) -> Result<&mut Atom> {
        let is_new = !self.atoms.contains_key(key);
        let price = if is_new { cost(key, more) } else { more as u64 };
        let bytes = self.bytes.saturating_add(price);
        // To forget a counter or a claim would be a wrong answer, so that a full store takes no new ones.
        if price > 0 && bytes > limit_bytes {
            return Err(Error::new(
                ErrorKind::WritesRefused,
                format!(
                    "counters and claims take {} of {limit_bytes} bytes; reset those no longer needed",
                    self.bytes
                ),
            ));
        }
        self.bytes = bytes;
        match self.atoms.entry(key.clone()) {
            hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            hash_map::Entry::Vacant(entry) => Ok(entry.insert(Atom::default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_of_counters_is_bounded_and_given_back() {
        let mut atoms = Atoms::default();
        let key = |n: u32| CacheKey::builder("counter", n).build().unwrap();
        let fitting = (0..100).take_while(|n| atoms.increment(&key(*n), 1, 4096).is_ok()).count();
        assert!(fitting > 4 && atoms.bytes <= 4096);
        assert_eq!(atoms.increment(&key(0), 1, 4096).unwrap(), 2);
        assert_eq!(
            atoms.add(&key(0), Bytes::from(vec![0; 4096]), 4096).unwrap_err().kind(),
            ErrorKind::WritesRefused
        );
        for n in 0..100 {
            atoms.reset(&key(n));
        }
        assert_eq!(atoms.bytes, 0);
    }
}
