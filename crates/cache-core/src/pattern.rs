//! [`CachePattern`]: the parsed pattern that `clear_pattern` takes.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::key::{self, CacheGroup, KeyBuilder, KeyPart, LONGEST_KEY, escape, text_form};

/// A pattern over keys: a prefix of whole segments, or a glob.
///
/// Without `*` or `?` it is a **segment prefix**: `posts:42` matches `posts:42` itself and
/// `posts:42:…`, never `posts:420`. With `*` (any characters) or `?` (one character) it is a **glob**
/// over the whole key. Patterns are written in the escaped form of keys; build them from parts with
/// [`KeyBuilder::prefix`](crate::KeyBuilder::prefix).
///
/// A pattern matches within one name space: unscoped patterns never match scoped keys, and `[reports]user:5` only
/// keys of the scope `reports`. `[reports]` alone matches that whole scope.
///
/// The key of a [`FamilyName`](crate::FamilyName) that would be over 958 bytes has a hash in place of the segments after its
/// group: a pattern that goes below the group does not match it. Invalidate the group, or the family.
///
/// # Cost
/// Two or more segments (a group or below): O(matches) on every backend. A shorter prefix or a glob: O(matches) on disk
/// where it has a literal prefix, else a scan.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CachePattern {
    text: Arc<str>,
    scope_end: u16,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Scope,
    Prefix,
    Glob,
}

impl CachePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPattern`] when it is empty, over 1 KiB, or has characters that no key can have.
    pub fn parse(text: &str) -> Result<Self> {
        let scope_end = key::scope_end(text).map_err(|error| invalid(error.to_string()))?;
        let path = text.get(scope_end..).unwrap_or_default();
        if text.is_empty() {
            return Err(invalid(
                "an empty pattern matches nothing; use clear to clear everything".to_owned(),
            ));
        }
        if text.len() > LONGEST_KEY {
            return Err(invalid(format!(
                "a pattern of {} bytes is over the limit of {LONGEST_KEY}",
                text.len()
            )));
        }
        let (kind, bad) = if path.is_empty() {
            (Kind::Scope, None)
        } else if path.contains(['*', '?']) {
            let is_bad = |c: &char| escape::needs_escape(*c) && !matches!(c, ':' | '%' | '*' | '?');
            (Kind::Glob, path.chars().find(is_bad).map(String::from))
        } else {
            let bad = path.split(':').find(|segment| !escape::is_canonical(segment));
            (Kind::Prefix, bad.map(str::to_owned))
        };
        if let Some(bad) = bad {
            return Err(invalid(format!(
                "pattern {path:?}: no key has {bad:?}; escape segments as in keys, without an empty one at the end"
            )));
        }
        let scope_end = u16::try_from(scope_end).expect("offsets are below the pattern's limit of 1 KiB");
        Ok(Self { text: text.into(), scope_end, kind })
    }

    /// Makes the pattern that matches every key of `family`, as `Family::all` does where the family is at hand.
    ///
    /// ```
    /// # use cache_core as cache_facade;
    /// use cache_facade::CachePattern;
    ///
    /// assert_eq!(CachePattern::family("posts_by"), CachePattern::parse("posts_by")?);
    /// # Ok::<(), cache_facade::Error>(())
    /// ```
    pub fn family(family: impl KeyPart) -> Self {
        let text = KeyBuilder::family(family).text.into();
        Self { text, scope_end: 0, kind: Kind::Prefix }
    }

    /// Makes the pattern that matches every key of the name space `scope`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] for a scope that no key could have.
    pub fn scope(scope: &str) -> Result<Self> {
        key::check_scope(scope)?;
        Self::parse(&format!("[{scope}]"))
    }

    /// Moves this pattern into the name space of `scope`, which replaces any scope it had.
    ///
    /// # Errors
    /// As for [`scope`](Self::scope), and [`ErrorKind::InvalidPattern`] when it becomes longer than 1 KiB.
    pub fn in_scope(&self, scope: &str) -> Result<Self> {
        key::check_scope(scope)?;
        Self::parse(&format!("[{scope}]{}", self.path()))
    }

    /// The pattern as it was written, scope included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether this is a glob; otherwise it is a prefix of whole segments.
    pub fn is_glob(&self) -> bool {
        self.kind == Kind::Glob
    }

    /// Returns whether `key` (the full text of a key) matches.
    pub fn matches(&self, key: &str) -> bool {
        match self.kind {
            Kind::Scope => key.starts_with(&*self.text),
            Kind::Prefix => {
                key.strip_prefix(&*self.text).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            }
            Kind::Glob => {
                let scope = self.text.get(..usize::from(self.scope_end)).unwrap_or_default();
                let Some(path) = key.strip_prefix(scope) else { return false };
                !path.starts_with('[') && glob_matches(self.path(), path)
            }
        }
    }

    /// The text with which every matching key begins: the range to search.
    pub fn literal_prefix(&self) -> &str {
        match self.kind {
            Kind::Scope | Kind::Prefix => &self.text,
            Kind::Glob => self.text.split(['*', '?']).next().unwrap_or_default(),
        }
    }

    /// The group to which every matching key belongs, if there is one.
    pub fn group(&self) -> Option<&str> {
        let scope_end = usize::from(self.scope_end);
        let path = self.literal_prefix().get(scope_end..)?;
        let mut separators = path.match_indices(':').map(|(at, _)| at);
        let _family = separators.next()?;
        match (separators.next(), self.kind) {
            (Some(end), _) => self.text.get(..scope_end + end),
            (None, Kind::Prefix) => Some(&self.text),
            (None, Kind::Scope | Kind::Glob) => None,
        }
    }

    fn path(&self) -> &str {
        self.text.get(usize::from(self.scope_end)..).unwrap_or_default()
    }
}

/// Matches a glob by going back to the last `*` only: O(pattern × key) at worst, no recursion.
fn glob_matches(glob: &str, key: &str) -> bool {
    let (mut glob, mut key) = (glob.chars(), key.chars());
    let mut last_star = None;
    loop {
        let at = key.clone();
        match (glob.next(), key.next()) {
            (Some('*'), _) => {
                last_star = Some((glob.clone(), at.clone()));
                key = at;
            }
            (Some('?'), Some(_)) => {}
            (Some(literal), Some(character)) if literal == character => {}
            (None, None) => return true,
            _ => {
                let Some((after_star, taken)) = &mut last_star else { return false };
                // The star takes one character more, if there is one.
                if taken.next().is_none() {
                    return false;
                }
                (glob, key) = (after_star.clone(), taken.clone());
            }
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidPattern, message)
}

impl KeyBuilder {
    /// Makes the pattern that clears the key being built and everything below it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPattern`] when it is longer than 1 KiB.
    pub fn prefix(self) -> Result<CachePattern> {
        CachePattern::parse(&self.text)
    }
}

text_form!(CachePattern);

impl From<&CacheGroup> for CachePattern {
    fn from(group: &CacheGroup) -> Self {
        Self { text: group.as_str().into(), scope_end: group.scope_end, kind: Kind::Prefix }
    }
}

impl From<&CachePattern> for CachePattern {
    fn from(pattern: &CachePattern) -> Self {
        pattern.clone()
    }
}

impl TryFrom<&str> for CachePattern {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<&String> for CachePattern {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::CacheKey;

    fn pattern(text: &str) -> CachePattern {
        CachePattern::parse(text).unwrap()
    }

    #[test]
    fn a_prefix_matches_whole_segments() {
        let p = pattern("project_images:42");
        assert!(p.matches("project_images:42") && p.matches("project_images:42:skip:0"));
        assert!(!p.matches("project_images:420") && !p.matches("project_images:4"));
        assert!(pattern("project_images").matches("project_images:1:skip:0"));
        assert!(!pattern("project").matches("project_images:1:skip:0"));
    }

    #[test]
    fn the_pattern_of_a_family_matches_its_keys_whatever_its_name() {
        for (name, other) in [("posts", "posts_by"), ("a*", "ab"), ("[r]a", "a"), ("", "a"), (":", "a")] {
            let pattern = CachePattern::family(name);
            let key = |family: &str| CacheKey::builder(family, 7).part("x").build().unwrap();
            assert!(pattern.matches(key(name).as_str()), "{name:?}");
            assert!(!pattern.matches(key(other).as_str()) && !pattern.is_glob(), "{name:?}");
            assert_eq!(CachePattern::parse(pattern.as_str()).unwrap(), pattern);
        }
    }

    #[test]
    fn a_glob_matches_the_whole_key() {
        let p = pattern("thumbnail:*:640x*");
        assert!(p.matches("thumbnail:7:640x480") && p.matches("thumbnail:a:b:640x"));
        assert!(!p.matches("thumbnail:7:320x240") && !p.matches("xthumbnail:7:640x480"));
        assert!(pattern("a:?:c").matches("a:é:c"));
        assert!(!pattern("a:?:c").matches("a:éé:c"));
        assert!(pattern("*a*b*c").matches("aXbXcXc"));
    }

    #[test]
    fn a_pattern_stays_inside_its_scope() {
        assert!(!pattern("*").matches("[reports]a:b"));
        let scoped = pattern("*").in_scope("reports").unwrap();
        assert!(scoped.matches("[reports]a:b") && !scoped.matches("a:b") && !scoped.matches("[report]a:b"));
        let whole = CachePattern::scope("reports").unwrap();
        assert!(whole.matches("[reports]a:b") && !whole.matches("a:b"));
        assert_eq!(whole, pattern("[reports]"));
    }

    #[test]
    fn the_group_of_a_pattern_is_known_where_all_matches_share_one() {
        assert_eq!(pattern("image:5").group(), Some("image:5"));
        assert_eq!(pattern("image:5:metadata").group(), Some("image:5"));
        assert_eq!(pattern("image:5:*").group(), Some("image:5"));
        assert_eq!(pattern("[r]image:5:*").group(), Some("[r]image:5"));
        for wide in ["image", "image:5*", "image:*", "*", "[r]", "[r]image"] {
            assert_eq!(pattern(wide).group(), None, "{wide}");
        }
    }

    #[test]
    fn a_pattern_that_no_key_can_match_is_an_error() {
        for bad in ["", "a:", ":", "a b", "a:[x]*", "a\\*", "a:%zz", "[r", "[]a:b", "{a}*", &"x*".repeat(600)]
        {
            assert_eq!(CachePattern::parse(bad).unwrap_err().kind(), ErrorKind::InvalidPattern, "{bad:?}");
        }
    }

    #[test]
    fn a_hostile_glob_is_matched_in_bounded_time() {
        let glob = pattern(&format!("{}b", "*a".repeat(500)));
        assert!(!glob.matches(&"a".repeat(1024)));
    }

    proptest! {
        #[test]
        fn a_glob_agrees_with_a_regular_definition(glob in "[ab*?]{1,8}", key in "[ab]{0,10}") {
            fn spec(glob: &[u8], key: &[u8]) -> bool {
                match (glob.split_first(), key.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), None) => spec(rest, key),
                    (Some((b'*', rest)), Some((_, tail))) => spec(rest, key) || spec(glob, tail),
                    (Some((b'?', rest)), Some((_, tail))) => spec(rest, tail),
                    (Some((g, rest)), Some((k, tail))) => g == k && spec(rest, tail),
                    _ => false,
                }
            }
            prop_assert_eq!(glob_matches(&glob, &key), spec(glob.as_bytes(), key.as_bytes()));
        }

        #[test]
        fn every_match_begins_with_the_literal_prefix_and_lies_in_the_group(
            text in "[ab:*?]{1,8}", key in "[ab]{1,2}:[ab]{1,2}(:[ab]{1,2}){0,2}",
        ) {
            if let Ok(pattern) = CachePattern::parse(&text) && pattern.matches(&key) {
                prop_assert!(key.starts_with(pattern.literal_prefix()));
                if let Some(group) = pattern.group() {
                    prop_assert!(CacheGroup::parse(group).unwrap().contains(&key));
                }
            }
        }
    }
}
