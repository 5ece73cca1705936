//! [`FamilyName`]: makes the keys of one family from ids.

use std::sync::Arc;

use super::{CacheGroup, CacheKey, KeyBuilder, KeyParts, check_name};
use crate::error::Result;
use crate::pattern::CachePattern;

/// The name of a family: the first segment of its keys. Keys and groups made with it cannot be invalid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FamilyName(Arc<str>);

impl FamilyName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) when it is empty, over 64 bytes or holds a character that keys escape.
    pub fn new(name: &str) -> Result<Self> {
        check_name("family", name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes the key of `id`. Where it would be too long for any scope, its group stays, and the rest becomes a hash.
    pub fn key<K>(&self, id: &impl KeyParts<K>) -> CacheKey {
        KeyBuilder::new(&*self.0, id).build_shortened()
    }

    /// The pattern of all keys of this family.
    pub fn pattern(&self) -> CachePattern {
        CachePattern::family(&*self.0)
    }

    /// The group of an id: all keys of which `first` is the first part.
    pub fn group<First>(&self, first: &impl KeyParts<First>) -> CacheGroup {
        self.key(first).to_group()
    }
}

#[cfg(test)]
mod tests {
    use super::super::LONGEST_SCOPE;
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_family_makes_the_keys_of_the_builder() {
        let user = FamilyName::new("user").unwrap();
        let id = (7_u64, "a:b".to_owned(), None::<bool>, Some(true), 'x', -1_i8);
        let key = CacheKey::builder("user", 7).part("a:b").optional_part(None::<bool>).part(true);
        assert_eq!(user.key(&id), key.part('x').part(-1).build().unwrap());
        assert_eq!(user.key::<(u64, String)>(&(7, "b")), user.key(&(7_u64, "b".to_owned())));
        assert_eq!(user.key(&7_u64).as_str(), "user:7");
        assert!(user.group(&7).contains(user.key(&id).as_str()));
        for bad in ["", "a b", "a:b", "[x]", "a*", &"x".repeat(65)] {
            assert_eq!(FamilyName::new(bad).unwrap_err().kind(), ErrorKind::InvalidKey, "{bad:?}");
        }
    }

    #[test]
    fn absent_empty_and_the_word_none_are_three_ids() {
        let page = FamilyName::new("page").unwrap();
        let texts = [None, Some(""), Some("None"), Some("%-"), Some("%_")];
        let keys: std::collections::HashSet<_> =
            texts.iter().map(|text| page.key::<(u32, Option<String>)>(&(1, *text))).collect();
        assert_eq!(keys.len(), texts.len());
    }

    #[test]
    fn no_id_makes_a_key_that_is_too_long_or_that_another_id_has() {
        struct NoPart;
        impl KeyParts for NoPart {
            type First = Self;

            fn append_to(&self, key: KeyBuilder) -> KeyBuilder {
                key
            }
        }
        let family = FamilyName::new(&"f".repeat(LONGEST_SCOPE)).unwrap();
        let long = ":".repeat(200);
        let key = |last: &str| family.key::<(String, String, String)>(&(&*long, &*long, last));
        let (one, other) = (key("1"), key("2"));
        assert_ne!(one, other);
        for key in [&one, &other, &family.key(&NoPart)] {
            key.in_scope(&"s".repeat(LONGEST_SCOPE)).unwrap();
            assert_eq!(&CacheKey::parse(key.as_str()).unwrap(), key);
        }
        assert!(family.group::<String>(&&*long).contains(one.as_str()));
        // The text that was hashed, as a part of its own.
        let rest = format!("{}:1", "%3A".repeat(200));
        assert_ne!(family.key::<(String, String)>(&(&*long, &*rest)).rest(), one.rest());
    }
}
