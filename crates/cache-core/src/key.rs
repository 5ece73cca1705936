//! [`CacheKey`]: a validated key of `:`-separated segments, and [`CacheGroup`], the unit invalidated together.

pub(crate) mod escape;
mod family;
mod part;

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

pub use self::family::FamilyName;
pub use self::part::{KeyPart, KeyParts};

/// The longest key in bytes, its scope included.
pub const LONGEST_KEY: usize = 1024;

/// The longest name of a scope in bytes.
pub const LONGEST_SCOPE: usize = 64;

/// A validated key: at most 1 KiB of `:`-separated, escaped segments, the first two of which are its group.
///
/// ```
/// # use cache_core as cache_facade;
/// use cache_facade::CacheKey;
///
/// let key = CacheKey::builder("report", 42).part("2026-01").part("euro:net").build()?;
/// assert_eq!(key.as_str(), "report:42:2026-01:euro%3Anet");
/// assert_eq!(key.group(), "report:42");
/// # Ok::<(), cache_facade::Error>(())
/// ```
///
/// Cloning costs a reference count. A key made by a scoped handle is in a name space of its own: its
/// [`as_str`](Self::as_str) begins with `[scope]`, which is not a segment and with which no unscoped key can begin.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheKey {
    text: Arc<str>,
    scope_end: u16,
    family_end: u16,
    group_end: u16,
}

impl CacheKey {
    /// Starts a key whose group is `family:id`. An `Option` is an id too.
    ///
    /// Choose the group so that one change makes one group stale, for instance all pages of one user's posts. Every
    /// change would invalidate the whole of one giant group.
    #[expect(clippy::needless_pass_by_value, reason = "as for the calls of a family: `builder(\"user\", 7)`")]
    pub fn builder(family: impl KeyPart, id: impl KeyParts) -> KeyBuilder {
        KeyBuilder::new(family, &id)
    }

    /// Parses the text of a key, for instance from a command line.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] for anything the builders could not have made.
    pub fn parse(text: &str) -> Result<Self> {
        let scope_end = scope_end(text)?;
        let path = text.get(scope_end..).unwrap_or_default();
        if let Some(bad) = path.split(':').find(|segment| !escape::is_canonical(segment)) {
            return Err(invalid(format!(
                "key {text:?}: the segment {bad:?} is not escaped as a key's are; build keys with CacheKey::builder"
            )));
        }
        Self::from_canonical(text, scope_end)
    }

    /// The whole key, escaped, scope included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key without its scope.
    pub fn path(&self) -> &str {
        self.slice(self.scope_end, self.text.len())
    }

    /// The first segment, by which statistics and default TTLs are kept.
    pub fn family(&self) -> &str {
        self.slice(self.scope_end, usize::from(self.family_end))
    }

    /// The scope (if any) and the first two segments: the unit that is invalidated together.
    pub fn group(&self) -> &str {
        self.slice(0, usize::from(self.group_end))
    }

    /// The segments after the group; empty when the key is the group alone.
    pub fn rest(&self) -> &str {
        let start = (usize::from(self.group_end) + 1).min(self.text.len());
        self.text.get(start..).unwrap_or_default()
    }

    /// The group of this key.
    pub fn to_group(&self) -> CacheGroup {
        CacheGroup { text: self.group().into(), scope_end: self.scope_end }
    }

    /// Moves this key into the name space of `scope`, which replaces any scope it had.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] when `scope` is empty, over 64 bytes or holds a character that keys escape, or the
    /// key becomes longer than 1 KiB.
    pub fn in_scope(&self, scope: &str) -> Result<Self> {
        check_scope(scope)?;
        Self::from_canonical(&format!("[{scope}]{}", self.path()), scope.len() + 2)
    }

    fn from_canonical(text: &str, scope_end: usize) -> Result<Self> {
        if text.len() > LONGEST_KEY {
            return Err(invalid(format!(
                "a key of {} bytes is over the limit of {LONGEST_KEY}; use fewer or shorter parts",
                text.len()
            )));
        }
        let position =
            |from: usize| text.get(from..).and_then(|rest| rest.find(':')).map(|found| from + found);
        let Some(family_end) = position(scope_end) else {
            return Err(invalid(format!("key {text:?} has one segment; a key needs a family and an id")));
        };
        let group_end = position(family_end + 1).unwrap_or(text.len());
        let offset = |value: usize| u16::try_from(value).expect("offsets are below the key's limit of 1 KiB");
        Ok(Self {
            text: text.into(),
            scope_end: offset(scope_end),
            family_end: offset(family_end),
            group_end: offset(group_end),
        })
    }

    fn slice(&self, from: u16, to: usize) -> &str {
        self.text
            .get(usize::from(from)..to)
            .expect("the offsets were found at character boundaries of this text")
    }
}

/// Implements `Debug`, `Display`, `FromStr` and `Serialize` for a type that is its `text`.
macro_rules! text_form {
    ($($type:ident),*) => {$(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.text)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                Self::parse(text)
            }
        }
    )*};
}

pub(crate) use text_form;

text_form!(CacheKey, CacheGroup);

// Agrees with `Eq` and `Ord`, because the offsets follow from the text.
impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for CacheKey {
    fn borrow(&self) -> &str {
        &self.text
    }
}

/// A group: the first two segments of a key, and every key that begins with them.
///
/// ```
/// # use cache_core as cache_facade;
/// use cache_facade::CacheGroup;
///
/// assert_eq!(CacheGroup::new("posts_by", 7).as_str(), "posts_by:7");
/// // An absent id has a group of its own.
/// assert_eq!(CacheGroup::new("listing", None::<&str>).as_str(), "listing:%-");
/// ```
///
/// All keys of a family are a pattern: [`CachePattern::family`](crate::CachePattern::family).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheGroup {
    text: Arc<str>,
    pub(crate) scope_end: u16,
}

impl CacheGroup {
    /// Makes the group `family:id`, escaped as keys are. An `Option` is an id too; of an id with several parts the first
    /// names the group.
    #[expect(clippy::needless_pass_by_value, reason = "as for the calls of a family: `new(\"user\", 7)`")]
    pub fn new(family: impl KeyPart, id: impl KeyParts) -> Self {
        let mut text = KeyBuilder::new(family, &id).text;
        if let Some((end, _)) = text.match_indices(':').nth(1) {
            text.truncate(end);
        }
        Self { text: text.into(), scope_end: 0 }
    }

    /// Parses the text of a group.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] for anything but two escaped segments, with or without `[scope]` before them.
    pub fn parse(text: &str) -> Result<Self> {
        let key = CacheKey::parse(text)?;
        if key.group() != text {
            return Err(invalid(format!(
                "{text:?} is a key, not a group; a group is its first two segments"
            )));
        }
        Ok(key.to_group())
    }

    /// The text of the group: `family:id`, after `[scope]` if it has one.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Moves this group into the name space of `scope`, which replaces any scope it had.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] for a scope that no key could have.
    pub fn in_scope(&self, scope: &str) -> Result<Self> {
        check_scope(scope)?;
        let path = self.text.get(usize::from(self.scope_end)..).unwrap_or_default();
        let scope_end = u16::try_from(scope.len() + 2).expect("a scope has at most 64 bytes");
        Ok(Self { text: format!("[{scope}]{path}").into(), scope_end })
    }

    /// Returns whether `key` (the full text of a key) belongs to this group.
    pub fn contains(&self, key: &str) -> bool {
        key.strip_prefix(&*self.text).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }
}

/// Builds a [`CacheKey`] part by part; made by [`CacheKey::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct KeyBuilder {
    pub(crate) text: String,
}

impl KeyBuilder {
    /// Starts a key with its first segment.
    #[doc(hidden)]
    pub fn family(family: impl KeyPart) -> Self {
        let mut text = String::with_capacity(64);
        escape::push_part(&mut text, &family);
        Self { text }
    }

    /// Starts a key with its family and the parts of an id. An implementation of `KeyParts` that has no part counts as absent.
    fn new<K>(family: impl KeyPart, id: &impl KeyParts<K>) -> Self {
        let family = Self::family(family);
        let family_end = family.text.len();
        let key = id.append_to(family);
        if key.text.len() == family_end { key.optional_part(None::<&str>) } else { key }
    }

    /// Appends a segment, escaped.
    ///
    /// An `Option` does not compile: see [`optional_part`](Self::optional_part).
    pub fn part(mut self, part: impl KeyPart) -> Self {
        self.text.push(':');
        escape::push_part(&mut self.text, &part);
        self
    }

    /// Appends the segment of a part that may be absent. `None` gets a segment of its own that no part has, not even
    /// the empty text; `Some(part)` gets the segment of [`part`](Self::part).
    ///
    /// ```
    /// # use cache_core as cache_facade;
    /// use cache_facade::CacheKey;
    ///
    /// let key = |language: Option<&str>| CacheKey::builder("page", 7).optional_part(language).build();
    /// assert_eq!(key(None)?.as_str(), "page:7:%-");
    /// assert_eq!(key(Some(""))?.as_str(), "page:7:%_");
    /// assert_eq!(key(Some("%-"))?.as_str(), "page:7:%25-");
    /// assert_eq!(key(Some("en"))?, CacheKey::builder("page", 7).part("en").build()?);
    /// # Ok::<(), cache_facade::Error>(())
    /// ```
    pub fn optional_part(mut self, part: Option<impl KeyPart>) -> Self {
        if let Some(part) = part {
            return self.part(part);
        }
        self.text.push(':');
        self.text.push_str(escape::ABSENT);
        self
    }

    /// Finishes the key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] when it is longer than 1 KiB.
    pub fn build(self) -> Result<CacheKey> {
        CacheKey::from_canonical(&self.text, 0)
    }

    /// Finishes a key whose family has 64 bytes at most. Where it would be too long for any scope, its group stays, and the
    /// rest becomes a hash.
    #[doc(hidden)]
    pub fn build_shortened(self) -> CacheKey {
        let mut text = self.text;
        if text.len() > LONGEST_KEY - LONGEST_SCOPE - "[]".len() {
            let group = text.match_indices(':').nth(1).map_or(text.len(), |(at, _)| at + 1);
            escape::hash_rest(&mut text, group);
        }
        CacheKey::from_canonical(&text, 0).expect("a group has less than 700 bytes, a hash 34")
    }
}

/// Returns where the scope of `text` ends, after its `]`; 0 without a scope.
pub(crate) fn scope_end(text: &str) -> Result<usize> {
    let Some(rest) = text.strip_prefix('[') else { return Ok(0) };
    let Some(length) = rest.find(']') else {
        return Err(invalid(format!("{text:?} opens a scope with '[' and does not close it with ']'")));
    };
    check_scope(rest.get(..length).unwrap_or_default())?;
    Ok(length + 2)
}

/// Checks that `scope` can name a name space.
pub(crate) fn check_scope(scope: &str) -> Result<()> {
    check_name("scope", scope)
}

fn check_name(of: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > LONGEST_SCOPE || name.chars().any(escape::needs_escape) {
        return Err(invalid(format!(
            "the {of} {name:?} is not usable; take 1 to {LONGEST_SCOPE} bytes without : % * ? [ ] {{ }} \\ or space"
        )));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidKey, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(family: &str, id: &str, parts: &[String]) -> Result<CacheKey> {
        parts.iter().fold(CacheKey::builder(family, id), KeyBuilder::part).build()
    }

    fn key_of_options(parts: &[Option<String>]) -> CacheKey {
        let start = CacheKey::builder("family", "id");
        parts.iter().fold(start, |key, part| key.optional_part(part.as_ref())).build().unwrap()
    }

    #[test]
    fn a_key_knows_its_family_group_and_rest() {
        let key = CacheKey::builder("thumbnail", 7).part("640x480").build().unwrap();
        assert_eq!((key.family(), key.group(), key.rest()), ("thumbnail", "thumbnail:7", "640x480"));
        let bare = CacheKey::builder("thumbnail", 7).build().unwrap();
        assert_eq!((bare.group(), bare.rest()), ("thumbnail:7", ""));
    }

    #[test]
    fn an_empty_last_part_differs_from_none() {
        let bare = CacheKey::builder("a", "b").build().unwrap();
        let empty = CacheKey::builder("a", "b").part("").build().unwrap();
        assert_ne!(bare, empty);
        assert_eq!(empty.as_str(), "a:b:%_");
        assert_ne!(CacheKey::builder("a", "b").part("None").build().unwrap(), empty);
    }

    #[test]
    fn an_absent_optional_part_never_gives_the_key_of_a_present_one() {
        let key =
            |part: Option<&str>| CacheKey::builder("a", "b").optional_part(part).part("c").build().unwrap();
        let absent = key(None);
        assert_eq!(absent.as_str(), "a:b:%-:c");
        for present in ["", "%-", "%_", "-", "None", "null", " "] {
            assert_ne!(key(Some(present)), absent);
            assert_eq!(
                key(Some(present)),
                CacheKey::builder("a", "b").part(present).part("c").build().unwrap()
            );
        }
        assert_ne!(CacheKey::builder("a", "b").part("c").build().unwrap(), absent);
        assert_eq!(CacheKey::parse(absent.as_str()).unwrap(), absent);
        let prefix = CacheKey::builder("a", "b").optional_part(None::<u64>).prefix().unwrap();
        assert!(prefix.matches(absent.as_str()) && !prefix.matches("a:b:%_:c"));
    }

    #[test]
    fn a_scope_is_not_a_segment_and_no_unscoped_key_is_in_it() {
        let key = CacheKey::builder("image", 5).part("metadata").build().unwrap();
        let scoped = key.in_scope("reports").unwrap();
        assert_eq!(scoped.as_str(), "[reports]image:5:metadata");
        assert_eq!((scoped.family(), scoped.group()), ("image", "[reports]image:5"));
        assert_eq!(scoped.path(), "image:5:metadata");
        assert_eq!(CacheKey::parse(scoped.as_str()).unwrap(), scoped);
        assert_ne!(CacheKey::builder("[reports]image", 5).part("metadata").build().unwrap(), scoped);
        for bad in ["", "a b", "a:b", "[x]", &"x".repeat(65)] {
            assert!(key.in_scope(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parsing_refuses_keys_that_builders_cannot_make() {
        for bad in ["", "a", "a:", ":a", "a::b", "a b:c", "a:%3a", "a:b*", "[x:a:b", "[]a:b", "a:[x]b"] {
            let error = CacheKey::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidKey, "{bad:?}");
        }
    }

    #[test]
    fn a_key_of_1024_bytes_is_accepted_and_one_of_1025_is_refused() {
        let fits = ["x".repeat(200), "x".repeat(200), "x".repeat(200), "x".repeat(200), "x".repeat(200)];
        let length = "family:id".len() + fits.len() * 201;
        let with = |last: usize| key("family", "id", &[&fits[..], &["y".repeat(last)]].concat());
        assert_eq!(with(LONGEST_KEY - length - 1).unwrap().as_str().len(), LONGEST_KEY);
        assert_eq!(with(LONGEST_KEY - length).unwrap_err().kind(), ErrorKind::InvalidKey);
    }

    #[test]
    fn keys_groups_and_patterns_serialise_as_their_text() {
        let key = CacheKey::builder("user", 7).part("a b").build().unwrap();
        let texts =
            serde_json::to_string(&(&key, key.to_group(), crate::CachePattern::parse("user:*").unwrap()));
        assert_eq!(texts.unwrap(), r#"["user:7:a%20b","user:7","user:*"]"#);
    }

    #[test]
    fn a_group_contains_its_own_key_and_no_neighbour() {
        let group = CacheGroup::new("project_images", 42);
        assert!(group.contains("project_images:42") && group.contains("project_images:42:skip:0"));
        assert!(!group.contains("project_images:420:skip:0"));
        assert!(!group.in_scope("r").unwrap().contains("project_images:42"));
    }

    #[test]
    fn groups_of_long_ids_differ() {
        let (a, b) = ("x".repeat(300), format!("{}y", "x".repeat(299)));
        assert_ne!(CacheGroup::new("image", &a), CacheGroup::new("image", &b));
        let key = CacheKey::builder("image", &a).part("metadata").build().unwrap();
        assert_eq!(key.to_group(), CacheGroup::new("image", &a));
    }

    proptest! {
        #[test]
        fn different_lists_of_parts_give_different_keys(
            a in prop::collection::vec("[a:%*_~. \u{e9}]{0,4}", 2..5),
            b in prop::collection::vec("[a:%*_~. \u{e9}]{0,4}", 2..5),
        ) {
            let make = |parts: &[String]| key(&parts[0], &parts[1], &parts[2..]).unwrap();
            prop_assert_eq!(make(&a) == make(&b), a == b);
        }

        #[test]
        fn different_lists_of_optional_parts_give_different_keys(
            a in prop::collection::vec(prop::option::of("[%_~-]{0,3}"), 0..4),
            b in prop::collection::vec(prop::option::of("[%_~-]{0,3}"), 0..4),
        ) {
            let (one, other) = (key_of_options(&a), key_of_options(&b));
            prop_assert_eq!(one == other, a == b);
            prop_assert_eq!(CacheKey::parse(one.as_str()).unwrap(), one);
        }

        #[test]
        fn a_built_key_parses_to_itself(family in any::<String>(), id in any::<String>(),
                                        parts in prop::collection::vec(any::<String>(), 0..3)) {
            if let Ok(key) = key(&family, &id, &parts) {
                prop_assert_eq!(CacheKey::parse(key.as_str()).unwrap(), key.clone());
                prop_assert!(key.to_group().contains(key.as_str()));
            }
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = CacheKey::parse(&text);
        }
    }
}
