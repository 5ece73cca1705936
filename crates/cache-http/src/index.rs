//! [`Index`]: the request headers on which the responses of a page depend (`Vary`), and where these responses are.
//!
//! A page whose responses depend on more than its key has an index at its key, in place of a response: the names of the request
//! headers (RFC 9111 section 4.1) and a random number. A response is at a key that is made of this number, the viewer and
//! the values of these headers. Such a key is in the group of the page, and leads nowhere once the index is gone: an invalidation of
//! the page's key alone removes all its responses, too.
//!
//! The index is made before the handler runs, from the names that responses of the route had before; or it is stored in place of the
//! first response of a route. So the lookup that gives the fill token is one of the key at which a response is then stored:
//!
//! 1. The index names `accept`; a request misses its response, and takes its token.
//! 2. The handler reads the old row.
//! 3. A change of the row invalidates the page's group. The token is no longer valid.
//! 4. The response is not stored. With a lookup after the handler, when its `Vary` is known, it would be.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use cache_core::plants::{Plant, is_planted};
use cache_core::{CacheKey, random_nonzero};
use http::header::{HeaderMap, HeaderName};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use crate::digest::push_hex;
use crate::stored::{Kind, Reader, begin};

/// The longest key that is made longer: what a scope and the last segment need is left.
const LONGEST_PREFIX: usize = 900;

/// Names of request headers, sorted and each once.
pub(crate) type Names = Arc<[HeaderName]>;

/// Joins two sets of names.
pub(crate) fn union(one: &[HeaderName], other: &[HeaderName]) -> Names {
    let mut names: Vec<HeaderName> = one.iter().chain(other).cloned().collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names.into()
}

/// The names that responses of a route had in `Vary`; `None` before the first response.
#[derive(Debug, Default)]
pub(crate) struct Learned(RwLock<Option<Names>>);

impl Learned {
    /// The names so far.
    pub(crate) fn names(&self) -> Option<Names> {
        self.0.read().clone()
    }

    /// Adds names, or notes that a response had none.
    pub(crate) fn add(&self, names: &[HeaderName]) {
        let knows = |learned: &Option<Names>| {
            learned.as_ref().is_some_and(|learned| names.iter().all(|name| learned.contains(name)))
        };
        if !knows(&self.0.read()) {
            let mut learned = self.0.write();
            *learned = Some(union(learned.as_deref().unwrap_or_default(), names));
        }
    }
}

/// The index of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    number: [u8; 16],
    pub(crate) names: Names,
}

impl Index {
    /// Makes an index with a new number.
    pub(crate) fn new(names: Names) -> Self {
        let number = u128::from(random_nonzero().get()) << 64 | u128::from(random_nonzero().get());
        Self { number: number.to_le_bytes(), names }
    }

    /// Makes the record.
    pub(crate) fn encode(&self) -> Bytes {
        let Self { number, names } = self;
        let mut record = begin(Kind::Index, 64);
        record.put_slice(number);
        for name in names.iter() {
            // A comma is no part of a name.
            record.put_slice(name.as_str().as_bytes());
            record.put_u8(b',');
        }
        record.freeze()
    }

    /// Reads the rest of a record.
    pub(crate) fn decode(mut reader: Reader<'_>) -> Option<Self> {
        let number = reader.array()?;
        let names = reader.take(reader.left())?;
        let names = names
            .split_inclusive(|byte| *byte == b',')
            .map(|name| HeaderName::from_bytes(name.strip_suffix(b",")?).ok());
        let names = names.collect::<Option<Vec<_>>>()?;
        Some(Self { number, names: union(&names, &[]) })
    }

    /// The key of the response to a request, in the group of `page`; `None` where no key is short enough.
    pub(crate) fn key(&self, page: &CacheKey, viewer: Option<&str>, request: &HeaderMap) -> Option<CacheKey> {
        let mut hash = Sha256::new_with_prefix(self.number);
        // Each text with its length, so that no two lists of them are hashed alike.
        let mut add = |text: &[u8]| {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(text);
        };
        if !is_planted(Plant::ViewerLeftOut) {
            add(if viewer.is_some() { b"viewer" } else { b"" });
            add(viewer.unwrap_or_default().as_bytes());
        }
        for name in self.names.iter() {
            let values = request.get_all(name);
            add(name.as_str().as_bytes());
            add(&values.iter().count().to_le_bytes());
            values.iter().for_each(|value| add(value.as_bytes()));
        }
        let digest = hash.finalize();
        let page = Some(page.as_str()).filter(|text| text.len() <= LONGEST_PREFIX).unwrap_or(page.group());
        let mut text = String::with_capacity(page.len() + 33);
        text.push_str(page);
        text.push(':');
        push_hex(&mut text, &digest);
        CacheKey::parse(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, ACCEPT_LANGUAGE, HeaderValue};

    use super::*;
    use crate::stored::Record;

    fn page() -> CacheKey {
        CacheKey::parse("page:1").unwrap()
    }

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn an_index_is_read_as_it_was_stored() {
        for names in [union(&[], &[]), union(&[ACCEPT_LANGUAGE, ACCEPT], &[ACCEPT])] {
            let index = Index::new(names);
            let Some(Record::Index(found)) = Record::decode(&index.encode()) else { panic!("no index") };
            assert_eq!(found, index);
        }
        assert_ne!(Index::new(union(&[], &[])), Index::new(union(&[], &[])), "each has a number of its own");
    }

    #[test]
    fn viewers_and_values_have_keys_of_their_own_in_the_group_of_the_page() {
        let index = Index::new(union(&[ACCEPT, ACCEPT_LANGUAGE], &[]));
        let key = |viewer, lines| index.key(&page(), viewer, &headers(lines)).unwrap();
        let keys = [
            key(None, &[]),
            key(Some(""), &[]),
            key(Some("a"), &[]),
            key(Some("viewera"), &[]),
            key(None, &[(ACCEPT, "")]),
            key(None, &[(ACCEPT, "a"), (ACCEPT, "b")]),
            key(None, &[(ACCEPT, "ab")]),
            key(None, &[(ACCEPT_LANGUAGE, "ab")]),
            key(None, &[(ACCEPT, "a"), (ACCEPT_LANGUAGE, "b")]),
        ];
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
        assert!(keys.iter().all(|key| key.group() == "page:1"));
        assert_eq!(key(None, &[]), key(None, &[(http::header::COOKIE, "x")]), "a header that is not named");
        let another = Index::new(index.names.clone());
        assert_ne!(another.key(&page(), None, &headers(&[])), index.key(&page(), None, &headers(&[])));
    }

    #[test]
    fn the_key_of_a_long_page_is_not_longer() {
        let long = CacheKey::builder("page", 1).part("x".repeat(200)).part("y".repeat(200));
        let long = long.part("z".repeat(200)).part("u".repeat(200)).part("v".repeat(150)).build().unwrap();
        let index = Index::new(union(&[], &[]));
        let key = index.key(&long, None, &headers(&[])).unwrap();
        assert!(key.as_str().len() < 64 && key.group() == long.group());
    }

    #[test]
    fn names_are_learned_and_stay() {
        let learned = Learned::default();
        assert_eq!(learned.names(), None);
        learned.add(&[]);
        assert_eq!(learned.names().as_deref(), Some(&[][..]));
        learned.add(&[ACCEPT_LANGUAGE]);
        learned.add(&[ACCEPT]);
        learned.add(&[]);
        assert_eq!(learned.names().as_deref(), Some(&[ACCEPT, ACCEPT_LANGUAGE][..]));
    }
}
