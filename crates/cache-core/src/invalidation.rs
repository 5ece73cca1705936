//! [`Invalidation`]: what an invalidation removes, and [`Invalidates`]: whatever can say so.

use std::fmt::{self, Display};

use crate::error::{Error, ErrorKind, Result};
use crate::key::{CacheGroup, CacheKey};
use crate::pattern::CachePattern;

/// One thing to be removed.
///
/// Its [`Display`] form (`key image:5:metadata`, `group image:5`, `pattern image:*`, `everything`) can be read back with
/// [`str::parse`]; journals keep it so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// One key.
    Key(CacheKey),
    /// A group: its two segments and everything below.
    Group(CacheGroup),
    /// Whatever matches the pattern.
    Pattern(CachePattern),
    /// The whole store, every scope included.
    Everything,
}

/// The epoch an invalidation bumps: one group's, or the one that covers all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochScope<'a> {
    /// Everything that is removed lies in this group.
    Group(&'a str),
    /// What is removed may lie in any group.
    All,
}

impl Invalidation {
    /// Whether `key` (a key's full text) is removed.
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Key(exact) => exact.as_str() == key,
            Self::Group(group) => group.contains(key),
            Self::Pattern(pattern) => pattern.matches(key),
            Self::Everything => true,
        }
    }

    /// Which epoch this bumps.
    pub fn epoch_scope(&self) -> EpochScope<'_> {
        match self {
            Self::Key(key) => EpochScope::Group(key.group()),
            Self::Group(group) => EpochScope::Group(group.as_str()),
            Self::Pattern(pattern) => pattern.group().map_or(EpochScope::All, EpochScope::Group),
            Self::Everything => EpochScope::All,
        }
    }

    /// The same invalidation inside the name space of `scope`; `Everything` becomes the whole scope.
    ///
    /// # Errors
    /// As for [`CacheKey::in_scope`].
    pub fn in_scope(&self, scope: &str) -> Result<Self> {
        Ok(match self {
            Self::Key(key) => Self::Key(key.in_scope(scope)?),
            Self::Group(group) => Self::Group(group.in_scope(scope)?),
            Self::Pattern(pattern) => Self::Pattern(pattern.in_scope(scope)?),
            Self::Everything => Self::Pattern(CachePattern::scope(scope)?),
        })
    }
}

impl Display for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key {key}"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Pattern(pattern) => write!(f, "pattern {pattern}"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

impl std::str::FromStr for Invalidation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(' ') {
            Some(("key", key)) => CacheKey::parse(key).map(Self::Key),
            Some(("group", group)) => CacheGroup::parse(group).map(Self::Group),
            Some(("pattern", pattern)) => CachePattern::parse(pattern).map(Self::Pattern),
            None if text == "everything" => Ok(Self::Everything),
            _ => Err(Error::new(ErrorKind::InvalidPattern, format!("{text:?} is not an invalidation"))),
        }
    }
}

/// Whatever makes cached values stale: a change of the application, a key, a group, a pattern, or several of these.
///
/// Implement it for the application's own changes:
///
/// ```
/// use cache_core::{CacheGroup, Invalidates, Invalidation};
///
/// enum BlogChange {
///     PostEdited { post: u64, author: u64 },
/// }
///
/// impl Invalidates for BlogChange {
///     fn invalidations(&self) -> Vec<Invalidation> {
///         match self {
///             Self::PostEdited { post, author } => vec![
///                 CacheGroup::new("post", post).into(),
///                 CacheGroup::new("posts_by", author).into(),
///             ],
///         }
///     }
/// }
/// ```
pub trait Invalidates {
    /// What becomes stale.
    fn invalidations(&self) -> Vec<Invalidation>;
}

impl Invalidates for Invalidation {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![self.clone()]
    }
}

impl Invalidates for CacheKey {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![Invalidation::Key(self.clone())]
    }
}

impl Invalidates for CacheGroup {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![Invalidation::Group(self.clone())]
    }
}

impl Invalidates for CachePattern {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![Invalidation::Pattern(self.clone())]
    }
}

impl<T: Invalidates> Invalidates for [T] {
    fn invalidations(&self) -> Vec<Invalidation> {
        self.iter().flat_map(Invalidates::invalidations).collect()
    }
}

impl<T: Invalidates, const N: usize> Invalidates for [T; N] {
    fn invalidations(&self) -> Vec<Invalidation> {
        self.as_slice().invalidations()
    }
}

impl<T: Invalidates> Invalidates for Vec<T> {
    fn invalidations(&self) -> Vec<Invalidation> {
        self.as_slice().invalidations()
    }
}

impl<T: Invalidates + ?Sized> Invalidates for &T {
    fn invalidations(&self) -> Vec<Invalidation> {
        (**self).invalidations()
    }
}

impl From<CacheKey> for Invalidation {
    fn from(key: CacheKey) -> Self {
        Self::Key(key)
    }
}

impl From<CacheGroup> for Invalidation {
    fn from(group: CacheGroup) -> Self {
        Self::Group(group)
    }
}

impl From<CachePattern> for Invalidation {
    fn from(pattern: CachePattern) -> Self {
        Self::Pattern(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Invalidation> {
        ["key image:5:metadata", "group image:5", "pattern image:*", "pattern [r]", "everything"]
            .map(|text| text.parse().unwrap())
            .to_vec()
    }

    #[test]
    fn the_text_form_reads_back() {
        for what in samples() {
            assert_eq!(what.to_string().parse::<Invalidation>().unwrap(), what);
        }
        for bad in ["", "key", "key a", "group a:b:c", "nothing", "pattern "] {
            assert!(bad.parse::<Invalidation>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn whatever_a_group_scoped_invalidation_matches_lies_in_that_group() {
        let keys = ["image:5:metadata", "image:5", "image:50:metadata", "[r]image:5:metadata"];
        for what in samples() {
            for key in keys.iter().filter(|key| what.matches(key)) {
                match what.epoch_scope() {
                    EpochScope::Group(group) => assert!(CacheGroup::parse(group).unwrap().contains(key)),
                    EpochScope::All => {}
                }
            }
        }
    }

    #[test]
    fn everything_in_a_scope_is_that_scope_alone() {
        let scoped = Invalidation::Everything.in_scope("r").unwrap();
        assert!(scoped.matches("[r]a:b") && !scoped.matches("a:b"));
    }
}
