//! [`Layout`]: the names of keys and fields in Redis.

use std::collections::HashMap;

use cache_core::envelope::{KeyHash, KeyHasher};
use cache_core::{CacheKey, random_nonzero};

use super::slot::{Slot, SlotHasher};

/// The end of the Redis key of a group, which no other key of the cache has.
const SUFFIX: &str = ":@";

/// Makes and parses the keys of one namespace.
#[derive(Debug)]
pub(crate) struct Layout {
    namespace: String,
    hasher: KeyHasher,
    /// The hash of what all keys begin with.
    slots: SlotHasher,
}

/// The field that holds the value of a key.
#[derive(Debug, Clone)]
pub(crate) struct HashField<'a> {
    /// The Redis key of the hash: the group.
    pub(crate) group: String,
    pub(crate) field: &'a str,
}

/// Fields of one group, each with the position of its key in the caller's list.
#[derive(Debug)]
pub(crate) struct GroupFields<'a> {
    /// The Redis key of the group.
    pub(crate) group: String,
    pub(crate) fields: Vec<&'a str>,
    pub(crate) positions: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(namespace: &str) -> Self {
        let slots = SlotHasher::default().with(namespace).with(":");
        Self { namespace: namespace.to_owned(), hasher: KeyHasher::new(namespace), slots }
    }

    /// Returns the hash that a value of `key` carries.
    pub(crate) fn hash(&self, key: &CacheKey) -> KeyHash {
        self.hasher.hash(key.as_str())
    }

    pub(crate) fn field<'a>(&self, key: &'a CacheKey) -> HashField<'a> {
        HashField { group: self.group(key.group()), field: key.rest() }
    }

    /// Sorts the fields of the keys at `positions` of `keys` by group.
    pub(crate) fn by_group<'a>(
        &self,
        keys: &[&'a CacheKey],
        positions: impl IntoIterator<Item = usize>,
    ) -> Vec<GroupFields<'a>> {
        let mut groups: Vec<GroupFields<'a>> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        for position in positions {
            let Some(key) = keys.get(position) else { continue };
            let number = *known.entry(key.group()).or_insert_with(|| {
                let group = self.group(key.group());
                groups.push(GroupFields { group, fields: Vec::new(), positions: Vec::new() });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(number) {
                group.fields.push(key.rest());
                group.positions.push(position);
            }
        }
        groups
    }

    /// Returns the Redis key of a group.
    pub(crate) fn group(&self, group: &str) -> String {
        [&self.namespace, ":", group, SUFFIX].concat()
    }

    /// Returns the slot of a group.
    pub(crate) fn slot(&self, group: &str) -> Slot {
        self.slots.with(group).with(SUFFIX).slot()
    }

    /// Returns a fresh key, in the cluster slot of `group`, for values that wait within one transaction.
    pub(crate) fn staging(&self, group: &str) -> String {
        format!("{}:stage:{{{group}}}:{:016x}", self.namespace, random_nonzero())
    }

    /// Returns the Redis key of the counter or claim of `key`, which is no group.
    pub(crate) fn atomic(&self, key: &CacheKey, kind: &str) -> String {
        format!("{}:{key}:#{kind}", self.namespace)
    }

    /// Returns a Redis key for the cache's own use, which is no group.
    pub(crate) fn internal(&self, name: &str) -> String {
        format!("{}:#{name}", self.namespace)
    }

    /// Parses a key found in the server into its group; `None` if it is no group of this namespace.
    pub(crate) fn parse<'a>(&self, key: &'a str) -> Option<&'a str> {
        let path = key.strip_prefix(self.namespace.as_str())?.strip_prefix(':')?;
        path.strip_suffix(SUFFIX).filter(|group| !group.starts_with("stage:{"))
    }

    /// Whether a key found in the server is a group of layout 1, which ends with 16 hexadecimal digits. Nothing reads it.
    pub(crate) fn is_of_layout_1(&self, key: &str) -> bool {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        self.digits(key).is_some_and(|digits| digits.len() == 16 && digits.bytes().all(is_digit))
    }

    /// What follows the `:@` of a key that would be a group.
    fn digits<'a>(&self, key: &'a str) -> Option<&'a str> {
        let path = key.strip_prefix(self.namespace.as_str())?.strip_prefix(':')?;
        let (group, digits) = path.rsplit_once(SUFFIX)?;
        (!group.starts_with("stage:{")).then_some(digits)
    }

    /// Returns the SCAN pattern of every group whose name begins with `prefix`.
    pub(crate) fn groups_from(&self, prefix: &str) -> String {
        format!("{}:{}*{SUFFIX}", escaped(&self.namespace), escaped(prefix))
    }

    /// Returns the SCAN pattern of every group, also of layout 1.
    pub(crate) fn groups_of_any_layout(&self) -> String {
        format!("{}:*{SUFFIX}*", escaped(&self.namespace))
    }
}

/// Escapes `text` so that it matches only itself as a Redis pattern.
pub(crate) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> CacheKey {
        CacheKey::parse(text).unwrap()
    }

    #[test]
    fn a_group_key_is_parsed_back() {
        let layout = Layout::new("app");
        for text in ["image:5", "image:@", "image:@0000000000000007", "[r]image:5", "stage:5"] {
            let group = layout.group(text);
            assert_eq!(layout.parse(&group), Some(text), "{group}");
            assert!(!layout.is_of_layout_1(&group));
        }
        assert_eq!(layout.field(&key("image:5:a:b")).field, "a:b");
        assert_eq!(layout.field(&key("image:5")).field, "");
    }

    #[test]
    fn a_key_that_is_no_group_of_this_namespace_is_not_parsed() {
        let layout = Layout::new("app");
        let group = layout.group("image:5");
        let tricky = key("image:5:@");
        for other in [
            layout.atomic(&tricky, "counter"),
            layout.internal("settings"),
            layout.staging(&group),
            "app:image:5".to_owned(),
            "app:image:5:@7".to_owned(),
            "app:image:5:@0000000000000007".to_owned(),
            "app2:image:5:@".to_owned(),
        ] {
            assert_eq!(layout.parse(&other), None, "{other}");
        }
        assert!(layout.is_of_layout_1("app:image:5:@0000000000000007"));
        for other in ["app:image:5:@7", "app:image:5:@+000000000000007", "app:image:5:@000000000000000A"] {
            assert!(!layout.is_of_layout_1(other), "{other}");
        }
    }

    #[test]
    fn the_slot_of_a_group_is_that_of_its_key() {
        let layout = Layout::new("app");
        assert_eq!(layout.slot("image:5"), SlotHasher::default().with(&layout.group("image:5")).slot());
    }

    #[test]
    fn an_escaped_text_matches_only_itself() {
        assert_eq!(escaped("[r]image:a*"), "\\[r\\]image:a\\*");
        assert_eq!(Layout::new("a.b").groups_from("[r]"), "a.b:\\[r\\]*:@");
    }
}
