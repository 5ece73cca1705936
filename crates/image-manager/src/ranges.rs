//! HTTP's conditions and byte ranges (RFC 9110, sections 13 and 14), as far as one strong entity tag needs them.
//!
//! Representations have no date of modification, so conditions on dates are ignored, as the standard asks.

use std::ops::Range;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use uuid::Uuid;

use crate::error::ApiError;

/// The bytes of a representation that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that it does not have: 416.
    Nothing,
}

/// Returns the entity tag of an original: the file's id, as files never change.
pub(crate) fn file_tag(file: Uuid) -> String {
    format!("\"{file}\"")
}

/// Returns the status that a request's conditions ask for in place of the representation with `etag` (quoted), if any: 412
/// or, for a client that already has it, 304. `If-Match` comes before `If-None-Match`.
pub(crate) fn precondition(headers: &HeaderMap, etag: &str) -> Option<StatusCode> {
    if lists(headers, IF_MATCH, |tag| tag == etag.as_bytes()) == Some(false) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let is_known = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes();
    (lists(headers, IF_NONE_MATCH, is_known) == Some(true)).then_some(StatusCode::NOT_MODIFIED)
}

/// Checks the conditions of a request that changes an image, whose entity tag is its file's.
///
/// # Errors
/// 412 where one is not met.
pub(crate) fn check_conditions(headers: &HeaderMap, file: Uuid) -> Result<(), ApiError> {
    match precondition(headers, &file_tag(file)) {
        None => Ok(()),
        Some(_) => Err(ApiError::precondition_failed()),
    }
}

/// Returns whether a list of entity tags is `*` or holds one that `matches`; none if the header is absent.
fn lists(headers: &HeaderMap, name: HeaderName, matches: impl Fn(&[u8]) -> bool) -> Option<bool> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii()).collect();
    if lines.is_empty() {
        return None;
    }
    // A tag may hold a comma, but none of ours does; and no part of a foreign tag begins and ends with a quote.
    let mut tags = lines.iter().flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    Some(lines == [b"*"] || tags.any(matches))
}

/// Returns the bytes that `Range` asks for, of `length` in all.
///
/// Only GET has ranges. A header that is malformed, asks for several ranges, or is bound by `If-Range` to another version
/// counts as absent, as the standard allows or asks for.
pub(crate) fn wanted(method: &Method, headers: &HeaderMap, etag: &str, length: u64) -> Wanted {
    let same_version = headers.get_all(IF_RANGE).iter().all(|tag| tag.as_bytes() == etag.as_bytes());
    let mut ranges = headers.get_all(RANGE).iter();
    let (range, is_single) = (ranges.next(), ranges.next().is_none());
    let range = range.filter(|_| *method == Method::GET && is_single && same_version);
    match range.and_then(|range| parse(range.to_str().ok()?, length)) {
        None => Wanted::Whole,
        Some(range) if range.is_empty() => Wanted::Nothing,
        Some(range) => Wanted::Part(range),
    }
}

/// Parses one range within `0..length`, empty if it lies outside; none if it is not of the form `bytes=a-b`, `bytes=a-` or
/// `bytes=-n`.
fn parse(range: &str, length: u64) -> Option<Range<u64>> {
    let (unit, ranges) = range.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // A list may have empty elements.
    let mut ranges =
        ranges.split(',').map(|range| range.trim_matches([' ', '\t'])).filter(|range| !range.is_empty());
    let (first, last) = ranges.next()?.split_once('-')?;
    if ranges.next().is_some() {
        return None;
    }
    match (first, last) {
        ("", suffix) => Some(length - number(suffix)?.min(length)..length),
        (first, "") => Some(number(first)?.min(length)..length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(length)..last.saturating_add(1).min(length))
        }
    }
}

/// Parses digits and nothing else; more than fit count as the largest number.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TAG: &str = "\"v1\"";

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn asked(range: &str) -> Wanted {
        wanted(&Method::GET, &headers(&[(RANGE, range)]), TAG, 10)
    }

    #[test]
    fn a_range_is_cut_to_the_file() {
        assert_eq!(asked("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(asked("bytes=2-5"), Wanted::Part(2..6));
        assert_eq!(asked("bytes=2-"), Wanted::Part(2..10));
        assert_eq!(asked("bytes=-3"), Wanted::Part(7..10));
        assert_eq!(asked("bytes=-30"), Wanted::Part(0..10));
        assert_eq!(asked("bytes=9-99999999999999999999999"), Wanted::Part(9..10));
    }

    #[test]
    fn the_unit_is_compared_in_any_case_and_empty_elements_do_not_count() {
        for range in ["Bytes=2-5", "BYTES=2-5", "bytes= 2-5", "bytes=,2-5", "bytes=2-5 , ,", "bytes=\t2-5"] {
            assert_eq!(asked(range), Wanted::Part(2..6), "{range}");
        }
    }

    #[test]
    fn a_range_outside_the_file_has_nothing() {
        for range in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(asked(range), Wanted::Nothing, "{range}");
        }
        assert_eq!(wanted(&Method::GET, &headers(&[(RANGE, "bytes=0-")]), TAG, 0), Wanted::Nothing);
    }

    #[test]
    fn a_range_that_is_malformed_or_several_is_passed_over() {
        for range in [
            "bytes=5-2",
            "bytes=a-b",
            "bytes=-",
            "lines=1-2",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=",
            "bytes=,",
            "bytes 1-2",
            "",
            "bytes=1",
        ] {
            assert_eq!(asked(range), Wanted::Whole, "{range}");
        }
        let twice = headers(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=3-4")]);
        assert_eq!(wanted(&Method::GET, &twice, TAG, 10), Wanted::Whole);
        assert_eq!(wanted(&Method::GET, &HeaderMap::new(), TAG, 10), Wanted::Whole);
    }

    #[test]
    fn only_get_has_ranges() {
        for range in ["bytes=0-1", "bytes=99-"] {
            assert_eq!(wanted(&Method::HEAD, &headers(&[(RANGE, range)]), TAG, 10), Wanted::Whole);
        }
    }

    #[test]
    fn a_range_of_another_version_is_passed_over() {
        let asked = |range, tag| wanted(&Method::GET, &headers(&[(RANGE, range), (IF_RANGE, tag)]), TAG, 10);
        assert_eq!(asked("bytes=0-4", TAG), Wanted::Part(0..5));
        // A weak tag does not promise the same bytes, and without a date of modification no date is the same.
        for tag in ["\"v0\"", "W/\"v1\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(asked("bytes=0-4", tag), Wanted::Whole, "{tag}");
            assert_eq!(asked("bytes=99-", tag), Wanted::Whole, "{tag}");
        }
    }

    #[test]
    fn a_client_that_has_the_representation_is_told_so() {
        let asked = |tags: &str| precondition(&headers(&[(IF_NONE_MATCH, tags)]), TAG);
        for tags in ["\"v1\"", "W/\"v1\"", "\"v0\", \"v1\"", "\"v0\",,W/\"v1\" ,", "*", "\"\u{fc}\", \"v1\""]
        {
            assert_eq!(asked(tags), Some(StatusCode::NOT_MODIFIED), "{tags}");
        }
        for tags in ["\"v0\"", "v1", "", "w/\"v1\"", "\"v0\", *", "\"v1,\""] {
            assert_eq!(asked(tags), None, "{tags}");
        }
        let lines = headers(&[(IF_NONE_MATCH, "\"v0\""), (IF_NONE_MATCH, "\"v1\"")]);
        assert_eq!(precondition(&lines, TAG), Some(StatusCode::NOT_MODIFIED));
        assert_eq!(precondition(&HeaderMap::new(), TAG), None);
    }

    #[test]
    fn what_must_match_is_compared_strongly_and_comes_first() {
        let asked = |tags: &str| precondition(&headers(&[(IF_MATCH, tags)]), TAG);
        for tags in ["\"v1\"", "\"v0\", \"v1\"", "*"] {
            assert_eq!(asked(tags), None, "{tags}");
        }
        for tags in ["\"v0\"", "W/\"v1\"", "v1", ""] {
            assert_eq!(asked(tags), Some(StatusCode::PRECONDITION_FAILED), "{tags}");
        }
        let both = headers(&[(IF_MATCH, "\"v0\""), (IF_NONE_MATCH, TAG)]);
        assert_eq!(precondition(&both, TAG), Some(StatusCode::PRECONDITION_FAILED));
        let both = headers(&[(IF_MATCH, TAG), (IF_NONE_MATCH, TAG)]);
        assert_eq!(precondition(&both, TAG), Some(StatusCode::NOT_MODIFIED));
    }
}
