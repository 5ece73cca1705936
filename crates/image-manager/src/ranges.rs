//! HTTP's conditions and byte ranges (RFC 9110, sections 13 and 14), as far as one strong entity tag needs them.

use std::ops::Range;

use axum::http::HeaderMap;
use axum::http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

/// Which bytes of a representation a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that it does not have: 416.
    Nothing,
}

/// Whether the client already has the representation with `etag` (quoted): 304.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The bytes that `Range` asks for, of `length` in all.
///
/// A header that is malformed, asks for several ranges, or is bound by `If-Range` to another version counts as absent,
/// as the standard allows or asks for.
pub(crate) fn wanted(headers: &HeaderMap, etag: &str, length: u64) -> Wanted {
    let same_version = headers.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == etag.as_bytes());
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    match range.filter(|_| same_version).and_then(|range| parse(range, length)) {
        None => Wanted::Whole,
        Some(range) if range.is_empty() => Wanted::Nothing,
        Some(range) => Wanted::Part(range),
    }
}

/// One range within `0..length`, empty if it lies outside; none if it is not of the form `bytes=a-b`, `bytes=a-` or
/// `bytes=-n`.
fn parse(range: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.trim().split_once('-')?;
    match (first, last) {
        ("", suffix) => Some(length - number(suffix)?.min(length)..length),
        (first, "") => Some(number(first)?.min(length)..length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(length)..last.saturating_add(1).min(length))
        }
    }
}

/// Digits and nothing else; more than fit count as the largest number.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TAG: &str = "\"v1\"";

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_range_is_cut_to_the_file() {
        let asked = |range| wanted(&headers(&[(RANGE, range)]), TAG, 10);
        assert_eq!(asked("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(asked("bytes=2-5"), Wanted::Part(2..6));
        assert_eq!(asked("bytes=2-"), Wanted::Part(2..10));
        assert_eq!(asked("bytes=-3"), Wanted::Part(7..10));
        assert_eq!(asked("bytes=-30"), Wanted::Part(0..10));
        assert_eq!(asked("bytes=9-99999999999999999999999"), Wanted::Part(9..10));
    }

    #[test]
    fn a_range_outside_the_file_has_nothing() {
        for range in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(wanted(&headers(&[(RANGE, range)]), TAG, 10), Wanted::Nothing, "{range}");
        }
        assert_eq!(wanted(&headers(&[(RANGE, "bytes=0-")]), TAG, 0), Wanted::Nothing);
    }

    #[test]
    fn a_range_that_is_malformed_or_several_is_passed_over() {
        for range in
            ["bytes=5-2", "bytes=a-b", "bytes=-", "lines=1-2", "bytes=0-1,3-4", "bytes=+1-2", "", "bytes=1"]
        {
            assert_eq!(wanted(&headers(&[(RANGE, range)]), TAG, 10), Wanted::Whole, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), TAG, 10), Wanted::Whole);
    }

    #[test]
    fn a_range_of_another_version_is_passed_over() {
        let asked = |tag| wanted(&headers(&[(RANGE, "bytes=0-4"), (IF_RANGE, tag)]), TAG, 10);
        assert_eq!(asked(TAG), Wanted::Part(0..5));
        assert_eq!(asked("\"v0\""), Wanted::Whole);
        assert_eq!(asked("W/\"v1\""), Wanted::Whole);
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), Wanted::Whole);
    }

    #[test]
    fn a_client_knows_what_it_names() {
        let knows = |tags| is_known(&headers(&[(IF_NONE_MATCH, tags)]), TAG);
        assert!(knows("\"v1\"") && knows("W/\"v1\"") && knows("\"v0\", \"v1\"") && knows("*"));
        assert!(!knows("\"v0\"") && !knows("v1") && !knows(""));
        assert!(!is_known(&HeaderMap::new(), TAG));
    }
}
