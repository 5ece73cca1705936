//! What keys look like in Redis, and which of them are ours.

use cache_core::envelope::{KeyHash, KeyHasher};
use cache_core::{CacheKey, random_nonzero};

use crate::incarnation::World;

/// The digits of an incarnation at the end of a key.
const DIGITS: usize = 16;

/// Makes and reads the keys of one namespace.
#[derive(Debug)]
pub(crate) struct Layout {
    namespace: String,
    hasher: KeyHasher,
}

/// Where a key's value is: a field of a hash.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    pub(crate) group: String,
    pub(crate) field: &'a str,
}

impl Layout {
    pub(crate) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), hasher: KeyHasher::new(namespace) }
    }

    /// By what a value of `key` is known as its own.
    pub(crate) fn hash(&self, key: &CacheKey) -> KeyHash {
        self.hasher.hash(key.as_str())
    }

    /// Where the value of `key` is in `world`.
    pub(crate) fn place<'a>(&self, world: &World, key: &'a CacheKey) -> Place<'a> {
        Place { group: self.group(world, key.group()), field: key.rest() }
    }

    /// The hash of a group.
    pub(crate) fn group(&self, world: &World, group: &str) -> String {
        [&self.namespace, ":", group, &world.suffix].concat()
    }

    /// Where a large value waits within one transaction: a name of its own in the same cluster slot.
    pub(crate) fn staging(&self, group: &str, nonce: u128) -> String {
        format!("{}:stage:{{{group}}}:{nonce:032x}", self.namespace)
    }

    /// A counter: what ends so is no group.
    pub(crate) fn counter(&self, key: &CacheKey) -> String {
        format!("{}:{key}:#counter", self.namespace)
    }

    /// A claim: what ends so is no group.
    pub(crate) fn claim(&self, key: &CacheKey) -> String {
        format!("{}:{key}:#claim", self.namespace)
    }

    /// What instances tell each other about their settings: what ends so is no group.
    pub(crate) fn settings(&self) -> String {
        format!("{}:#settings", self.namespace)
    }

    /// A key for trying commands out: what ends so is no group.
    pub(crate) fn check(&self) -> String {
        format!("{}:#check", self.namespace)
    }

    /// The group and the incarnation of a key found in the server; `None` for what is no group of this namespace.
    pub(crate) fn parse<'a>(&self, key: &'a str) -> Option<(&'a str, u64)> {
        let path = key.strip_prefix(self.namespace.as_str())?.strip_prefix(':')?;
        let (group, digits) = path.rsplit_once(":@")?;
        let is_ours = digits.len() == DIGITS && !group.starts_with("stage:{");
        let incarnation = u64::from_str_radix(digits, 16).ok().filter(|_| is_ours)?;
        Some((group, incarnation))
    }

    /// The pattern for SCAN that finds every group whose name begins with `prefix`, of every incarnation.
    pub(crate) fn groups_from(&self, prefix: &str) -> String {
        format!("{}:{}*:@*", escaped(&self.namespace), escaped(prefix))
    }

    /// The pattern for SCAN that finds every group of `incarnation`.
    pub(crate) fn groups_of(&self, incarnation: u64) -> String {
        format!("{}:*:@{incarnation:016x}", escaped(&self.namespace))
    }
}

/// `text` as a pattern of Redis that matches it alone.
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

/// A nonce that no other call, process or machine gets.
pub(crate) fn fresh_nonce() -> u128 {
    u128::from(random_nonzero().get()) << 64 | u128::from(random_nonzero().get())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> CacheKey {
        CacheKey::parse(text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let layout = Layout::new("app");
        let world = World::of(7);
        for text in ["image:5", "image:@0000000000000007", "[r]image:5", "stage:5"] {
            let group = layout.group(&world, text);
            assert_eq!(layout.parse(&group), Some((text, 7)), "{group}");
        }
        assert_eq!(layout.place(&world, &key("image:5:a:b")).field, "a:b");
        assert_eq!(layout.place(&world, &key("image:5")).field, "");
    }

    #[test]
    fn what_is_no_group_of_ours_is_left_alone() {
        let layout = Layout::new("app");
        let group = layout.group(&World::of(7), "image:5");
        let tricky = key("image:5:@0000000000000007");
        for other in [
            layout.counter(&tricky),
            layout.claim(&tricky),
            layout.settings(),
            layout.check(),
            layout.staging(&group, 1),
            "app:image:5".to_owned(),
            "app:image:5:@7".to_owned(),
            "app2:image:5:@0000000000000007".to_owned(),
        ] {
            assert_eq!(layout.parse(&other), None, "{other}");
        }
    }

    #[test]
    fn a_pattern_matches_its_text_alone() {
        assert_eq!(escaped("[r]image:a*"), "\\[r\\]image:a\\*");
        assert_eq!(Layout::new("a.b").groups_from("[r]"), "a.b:\\[r\\]*:@*");
    }

    #[test]
    fn nonces_do_not_repeat() {
        let nonces: std::collections::HashSet<_> = (0..1000).map(|_| fresh_nonce()).collect();
        assert_eq!(nonces.len(), 1000);
    }
}
