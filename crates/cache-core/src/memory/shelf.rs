//! The entries of a memory store: by key, by last use and by expiry, and the space they take.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::clock::Timestamp;
use crate::entry::Entry;
use crate::invalidation::Invalidation;
use crate::key::CacheKey;
use crate::pattern::CachePattern;

/// What an entry costs beside its payload and its key, in bytes: its places in three maps and the entry's own fields.
const OVERHEAD: u64 = 256;

/// What an entry costs, in bytes.
pub(super) fn cost(key: &CacheKey, payload_length: usize) -> u64 {
    (key.as_str().len() as u64).saturating_add(payload_length as u64).saturating_add(OVERHEAD)
}

/// An entry that was taken away.
pub(super) struct Gone {
    pub(super) key: CacheKey,
    pub(super) bytes: u64,
}

/// Entries under their keys, in exact order of last use.
#[derive(Default)]
pub(super) struct Shelf {
    slots: BTreeMap<ByText, Slot>,
    /// Keys by the tick of their last use: the first is the least recently used.
    order: BTreeMap<u64, CacheKey>,
    /// Entries with a TTL alone, soonest first.
    expiries: BTreeSet<(Timestamp, ByText)>,
    bytes: u64,
    next_tick: u64,
}

struct Slot {
    entry: Entry,
    tick: u64,
}

impl Shelf {
    /// What all entries cost together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The entry of `key`, wherever it stands in the order.
    pub(super) fn peek(&self, key: &str) -> Option<&Entry> {
        self.slots.get(key).map(|slot| &slot.entry)
    }

    /// The entry of `key` if it is live, which becomes the most recently used.
    pub(super) fn touch(&mut self, key: &str, now: Timestamp) -> Option<&Entry> {
        let tick = self.tick();
        let slot = self.slots.get_mut(key).filter(|slot| slot.entry.is_live(now))?;
        let key = self.order.remove(&slot.tick).expect("every slot has its place in the order");
        self.order.insert(tick, key);
        slot.tick = tick;
        Some(&slot.entry)
    }

    /// Adds an entry under a key that has none.
    pub(super) fn put(&mut self, key: CacheKey, entry: Entry) {
        let tick = self.tick();
        self.bytes = self.bytes.saturating_add(cost(&key, entry.payload.len()));
        if let Some(at) = entry.expires_at {
            self.expiries.insert((at, ByText(key.clone())));
        }
        self.order.insert(tick, key.clone());
        let replaced = self.slots.insert(ByText(key), Slot { entry, tick });
        debug_assert!(replaced.is_none(), "the caller took the old entry away");
    }

    /// Takes the entry of `key` away.
    pub(super) fn take(&mut self, key: &str) -> Option<Gone> {
        let (ByText(key), Slot { entry, tick }) = self.slots.remove_entry(key)?;
        let bytes = cost(&key, entry.payload.len());
        self.bytes = self.bytes.saturating_sub(bytes);
        self.order.remove(&tick);
        if let Some(at) = entry.expires_at {
            self.expiries.remove(&(at, ByText(key.clone())));
        }
        Some(Gone { key, bytes })
    }

    /// Takes the entry of `key` away if its time is over.
    pub(super) fn take_if_expired(&mut self, key: &str, now: Timestamp) -> Option<Gone> {
        let is_over = self.peek(key)?.expires_at.is_some_and(|at| at <= now);
        if is_over { self.take(key) } else { None }
    }

    /// Takes one entry away whose time is over, if there is one.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Option<Gone> {
        let (at, ByText(key)) = self.expiries.first()?;
        if *at > now {
            return None;
        }
        let key = key.clone();
        self.take(key.as_str())
    }

    /// Takes the least recently used entry away.
    pub(super) fn take_least_recent(&mut self) -> Option<Gone> {
        let key = self.order.first_key_value()?.1.clone();
        self.take(key.as_str())
    }

    /// Takes away all that `what` removes.
    pub(super) fn take_matches(&mut self, what: &Invalidation) -> Vec<Gone> {
        let keys = match what {
            Invalidation::Key(key) => return self.take(key.as_str()).into_iter().collect(),
            Invalidation::Group(group) => self.below(group.as_str()),
            Invalidation::Pattern(pattern) => self.matches(pattern),
            Invalidation::Everything => self.slots.keys().map(|key| key.0.clone()).collect(),
        };
        keys.iter().filter_map(|key| self.take(key.as_str())).collect()
    }

    fn matches(&self, pattern: &CachePattern) -> Vec<CacheKey> {
        let prefix = pattern.literal_prefix();
        // A scope's own pattern ends with its bracket; what follows it is no segment.
        if pattern.is_glob() || prefix.ends_with(']') {
            return self.starting_with(prefix).filter(|key| pattern.matches(key.as_str())).cloned().collect();
        }
        self.below(prefix)
    }

    /// The key `prefix` itself and all keys with further segments: without a look at neighbours like `{prefix}0`.
    fn below(&self, prefix: &str) -> Vec<CacheKey> {
        let itself = self.slots.get_key_value(prefix).map(|(key, _)| key.0.clone());
        itself.into_iter().chain(self.starting_with(&format!("{prefix}:")).cloned()).collect()
    }

    fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a CacheKey> {
        self.slots
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(ByText(key), _)| key)
            .take_while(move |key| key.as_str().starts_with(prefix))
    }

    fn tick(&mut self) -> u64 {
        self.next_tick += 1;
        self.next_tick
    }
}

/// A key ordered by its text, so that the maps can be searched by text.
struct ByText(CacheKey);

impl Borrow<str> for ByText {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for ByText {}

impl PartialOrd for ByText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByText {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
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

    fn shelf(keys: &[&str]) -> Shelf {
        let mut shelf = Shelf::default();
        for text in keys {
            shelf.put(key(text), NewEntry::new("x").stored_at(Timestamp::default()));
        }
        shelf
    }

    #[test]
    fn the_three_maps_and_the_space_agree_when_all_is_taken() {
        let mut shelf = shelf(&["a:b", "a:c:d"]);
        shelf.put(
            key("e:f"),
            NewEntry::new("y").expires_in(Duration::from_secs(1)).stored_at(Timestamp::default()),
        );
        shelf.touch("a:b", Timestamp::default());
        assert_eq!(shelf.bytes(), 3 * OVERHEAD + 3 + 3 + 5 + 3);
        assert_eq!(shelf.take_matches(&Invalidation::Everything).len(), 3);
        assert_eq!((shelf.bytes(), shelf.count()), (0, 0));
        assert!(shelf.order.is_empty() && shelf.expiries.is_empty());
    }

    #[test]
    fn a_range_holds_what_the_definition_of_a_match_says() {
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
            let mut taken: Vec<_> =
                shelf(&keys).take_matches(&what).iter().map(|gone| gone.key.to_string()).collect();
            taken.sort();
            let mut expected: Vec<_> =
                keys.iter().filter(|key| what.matches(key)).map(ToString::to_string).collect();
            expected.sort();
            assert_eq!(taken, expected, "{what}");
        }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut shelf = shelf(&["a:1", "a:2", "a:3"]);
        shelf.touch("a:1", Timestamp::default());
        let order: Vec<_> =
            std::iter::from_fn(|| shelf.take_least_recent()).map(|gone| gone.key.to_string()).collect();
        assert_eq!(order, ["a:2", "a:3", "a:1"]);
    }
}
