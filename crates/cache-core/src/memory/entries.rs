//! The entries of a memory store: by key, by last use and by expiry, and the space they take.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::clock::Timestamp;
use crate::entry::Entry;
use crate::invalidation::Invalidation;
use crate::key::CacheKey;
use crate::pattern::CachePattern;

/// Cost of an entry besides its payload and its key, in bytes: its nodes in three maps and its own fields.
const OVERHEAD: u64 = 256;

/// The cost of an entry in bytes.
pub(super) fn cost(key: &CacheKey, payload_length: usize) -> u64 {
    (key.as_str().len() as u64).saturating_add(payload_length as u64).saturating_add(OVERHEAD)
}

/// An entry that was removed, by its key and its cost in bytes.
pub(super) struct Removed {
    pub(super) key: CacheKey,
    pub(super) bytes: u64,
}

/// Entries by key, in exact order of last use.
#[derive(Default)]
pub(super) struct Entries {
    slots: BTreeMap<CacheKey, Slot>,
    /// Keys by the tick of their last use: the first is the least recently used.
    order: BTreeMap<u64, CacheKey>,
    /// Entries with a TTL alone, soonest first.
    expiries: BTreeSet<(Timestamp, CacheKey)>,
    bytes: u64,
    next_tick: u64,
}

struct Slot {
    entry: Entry,
    tick: u64,
}

impl Entries {
    /// The cost of all entries in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry of `key`; the order of use does not change.
    pub(super) fn peek(&self, key: &str) -> Option<&Entry> {
        self.slots.get(key).map(|slot| &slot.entry)
    }

    /// The entry of `key`, if it is live; it becomes the most recently used.
    pub(super) fn touch(&mut self, key: &str, now: Timestamp) -> Option<&Entry> {
        let tick = self.tick();
        let slot = self.slots.get_mut(key).filter(|slot| slot.entry.is_live(now))?;
        let key = self.order.remove(&slot.tick).expect("every slot has a tick in the order");
        self.order.insert(tick, key);
        slot.tick = tick;
        Some(&slot.entry)
    }

    /// Adds an entry under a key that has none.
    pub(super) fn insert(&mut self, key: CacheKey, entry: Entry) {
        let tick = self.tick();
        self.bytes = self.bytes.saturating_add(cost(&key, entry.payload.len()));
        if let Some(at) = entry.expires_at {
            self.expiries.insert((at, key.clone()));
        }
        self.order.insert(tick, key.clone());
        let replaced = self.slots.insert(key, Slot { entry, tick });
        debug_assert!(replaced.is_none(), "the caller removed the old entry");
    }

    /// Removes the entry of `key`.
    pub(super) fn remove(&mut self, key: &str) -> Option<Removed> {
        let (key, Slot { entry, tick }) = self.slots.remove_entry(key)?;
        let bytes = cost(&key, entry.payload.len());
        self.bytes = self.bytes.saturating_sub(bytes);
        self.order.remove(&tick);
        if let Some(at) = entry.expires_at {
            self.expiries.remove(&(at, key.clone()));
        }
        Some(Removed { key, bytes })
    }

    /// Removes one entry that has expired, if there is one.
    pub(super) fn remove_expired(&mut self, now: Timestamp) -> Option<Removed> {
        let (at, key) = self.expiries.first()?;
        if *at > now {
            return None;
        }
        let key = key.clone();
        self.remove(key.as_str())
    }

    /// Removes the least recently used entry.
    pub(super) fn remove_oldest(&mut self) -> Option<Removed> {
        let key = self.order.first_key_value()?.1.clone();
        self.remove(key.as_str())
    }

    /// Removes every entry that `what` matches.
    pub(super) fn remove_matches(&mut self, what: &Invalidation) -> Vec<Removed> {
        self.matching(what).iter().filter_map(|key| self.remove(key.as_str())).collect()
    }

    /// The keys of the entries that `what` matches.
    pub(super) fn matching(&self, what: &Invalidation) -> Vec<CacheKey> {
        match what {
            Invalidation::Key(key) => self.peek(key.as_str()).map(|_| key.clone()).into_iter().collect(),
            Invalidation::Group(group) => self.below(group.as_str()),
            Invalidation::Pattern(pattern) => self.matches(pattern),
            Invalidation::Everything => self.slots.keys().cloned().collect(),
        }
    }

    fn matches(&self, pattern: &CachePattern) -> Vec<CacheKey> {
        let prefix = pattern.literal_prefix();
        // The pattern of a scope ends with its bracket, after which a key goes on without a `:`.
        if pattern.is_glob() || prefix.ends_with(']') {
            return self.starting_with(prefix).filter(|key| pattern.matches(key.as_str())).cloned().collect();
        }
        self.below(prefix)
    }

    /// The key `prefix` itself and all keys with further segments, without passing over neighbours such as `{prefix}0`.
    fn below(&self, prefix: &str) -> Vec<CacheKey> {
        let itself = self.slots.get_key_value(prefix).map(|(key, _)| key.clone());
        itself.into_iter().chain(self.starting_with(&format!("{prefix}:")).cloned()).collect()
    }

    fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a CacheKey> {
        self.slots
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(move |key| key.as_str().starts_with(prefix))
    }

    fn tick(&mut self) -> u64 {
        self.next_tick += 1;
        self.next_tick
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entry::NewEntry;

    fn key(text: &str) -> CacheKey {
        CacheKey::parse(text).unwrap()
    }

    fn entries(keys: &[&str]) -> Entries {
        let mut entries = Entries::default();
        for text in keys {
            entries.insert(key(text), NewEntry::new("x").stored_at(Timestamp::default()));
        }
        entries
    }

    #[test]
    fn the_three_maps_are_empty_and_no_bytes_are_counted_after_all_entries_are_removed() {
        let mut entries = entries(&["a:b", "a:c:d"]);
        entries.insert(
            key("e:f"),
            NewEntry::new("y").expires_in(Duration::from_secs(1)).stored_at(Timestamp::default()),
        );
        entries.touch("a:b", Timestamp::default());
        assert_eq!(entries.bytes(), 3 * OVERHEAD + 3 + 3 + 5 + 3);
        assert_eq!(entries.remove_matches(&Invalidation::Everything).len(), 3);
        assert_eq!(entries.bytes(), 0);
        assert!(entries.slots.is_empty() && entries.order.is_empty() && entries.expiries.is_empty());
    }

    #[test]
    fn removing_by_range_removes_exactly_the_keys_that_match() {
        let keys = ["a:4", "a:4:x", "a:40", "a:40:x", "a:5:x", "[r]a:4:x", "[rr]a:4:x", "b:4:x", "a:4%3A:x"];
        for what in [
            "group a:4",
            "pattern a",
            "pattern a:4:x",
            "pattern a:4*",
            "pattern *x",
            "pattern [r]",
            "pattern [r]a:*",
            "key a:4",
            "everything",
            "group [r]a:4",
        ] {
            let what: Invalidation = what.parse().unwrap();
            let mut removed: Vec<_> =
                entries(&keys).remove_matches(&what).iter().map(|removed| removed.key.to_string()).collect();
            removed.sort();
            let mut expected: Vec<_> =
                keys.iter().filter(|key| what.matches(key)).map(ToString::to_string).collect();
            expected.sort();
            assert_eq!(removed, expected, "{what}");
        }
    }

    #[test]
    fn the_least_recently_used_entry_is_removed_first() {
        let mut entries = entries(&["a:1", "a:2", "a:3"]);
        entries.touch("a:1", Timestamp::default());
        let order: Vec<_> =
            std::iter::from_fn(|| entries.remove_oldest()).map(|removed| removed.key.to_string()).collect();
        assert_eq!(order, ["a:2", "a:3", "a:1"]);
    }
}
