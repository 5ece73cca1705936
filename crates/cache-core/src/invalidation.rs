//! [`Invalidation`]: the entries that an invalidation removes, and [`Invalidates`], the trait of changes.

use std::fmt::{self, Display};

use crate::error::{Error, ErrorKind, Result};
use crate::key::{CacheGroup, CacheKey};
use crate::pattern::CachePattern;

/// A key, a group, the keys of a pattern, or everything, to be removed.
///
/// The [`Display`] form (`key user:5:profile`, `group user:5`, `pattern user:*`, `everything`) can be read back with
/// [`str::parse`]; journals keep this form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// One key.
    Key(CacheKey),
    /// A group: every key that begins with its two segments.
    Group(CacheGroup),
    /// Every key that matches the pattern.
    Pattern(CachePattern),
    /// The whole store, every scope included.
    Everything,
}

/// The epoch that an invalidation advances: that of one group, or the one that covers all keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochScope<'a> {
    /// Every removed key belongs to this group.
    Group(&'a str),
    /// Removed keys may belong to any group.
    All,
}

impl Invalidation {
    /// Returns whether `key` (the full text of a key) is removed.
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Key(exact) => exact.as_str() == key,
            Self::Group(group) => group.contains(key),
            Self::Pattern(pattern) => pattern.matches(key),
            Self::Everything => true,
        }
    }

    /// The text with which every key that is removed begins: the range to search.
    pub fn literal_prefix(&self) -> &str {
        match self {
            Self::Key(key) => key.as_str(),
            Self::Group(group) => group.as_str(),
            Self::Pattern(pattern) => pattern.literal_prefix(),
            Self::Everything => "",
        }
    }

    /// The epoch that this advances.
    pub fn epoch_scope(&self) -> EpochScope<'_> {
        match self {
            Self::Key(key) => EpochScope::Group(key.group()),
            Self::Group(group) => EpochScope::Group(group.as_str()),
            Self::Pattern(pattern) => pattern.group().map_or(EpochScope::All, EpochScope::Group),
            Self::Everything => EpochScope::All,
        }
    }

    /// Moves this invalidation into the name space of `scope`; `Everything` becomes that whole scope.
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

/// A change that makes cached values stale: one of the application, a key, a group, a pattern, or several of these.
///
/// Implement it for the application's own changes. `#[derive(Invalidates)]` does so with the feature `macros` of cache-facade;
/// without the feature this trait is all that the name stands for.
///
/// ```
/// # use cache_core as cache_facade;
/// use cache_facade::{CacheGroup, Invalidates, Invalidation};
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which values it makes stale",
    label = "expected a key, a group, a pattern, several of them, or a change of the application",
    note = "the group of an id is `family.at(id)`, a single key `family.key(id)`, and a whole family `family.all()`",
    note = "for a change of the application write `impl Invalidates for {Self}`"
)]
pub trait Invalidates {
    /// The entries that become stale.
    fn invalidations(&self) -> Vec<Invalidation>;
}

impl Invalidates for Invalidation {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![self.clone()]
    }
}

macro_rules! one {
    ($($type:ident => $variant:ident),*) => {$(
        impl From<$type> for Invalidation {
            fn from(what: $type) -> Self {
                Self::$variant(what)
            }
        }

        impl Invalidates for $type {
            fn invalidations(&self) -> Vec<Invalidation> {
                vec![self.clone().into()]
            }
        }
    )*};
}

one!(CacheKey => Key, CacheGroup => Group, CachePattern => Pattern);

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
    fn every_key_that_a_group_scoped_invalidation_matches_belongs_to_that_group() {
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
    fn everything_in_a_scope_is_only_that_scope() {
        let scoped = Invalidation::Everything.in_scope("r").unwrap();
        assert!(scoped.matches("[r]a:b") && !scoped.matches("a:b"));
    }
}
