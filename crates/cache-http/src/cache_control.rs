//! `Cache-Control` of requests and responses (RFC 9111 section 5.2), as far as this layer knows its directives.

use http::header::{CACHE_CONTROL, HeaderMap, PRAGMA};

use crate::headers::elements;

/// The directives of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestControl {
    pub(crate) no_store: bool,
    /// `no-cache`, or `max-age=0`.
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
}

/// The directives of a response. One that is limited to some fields, as in `private="set-cookie"`, counts as if it were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResponseControl {
    pub(crate) no_store: bool,
    pub(crate) private: bool,
    /// A stale response must not be served (RFC 9111 section 4.2.4).
    pub(crate) never_stale: bool,
}

impl RequestControl {
    /// Reads the directives, of which `Pragma: no-cache` is one where there are no others.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        if headers.contains_key(CACHE_CONTROL) {
            for (name, argument) in directives(headers) {
                found.no_store |= is(name, "no-store");
                found.only_if_cached |= is(name, "only-if-cached");
                found.no_cache |= is(name, "no-cache") || is(name, "max-age") && is_zero(argument);
            }
        } else if headers.contains_key(PRAGMA) {
            found.no_cache = elements(headers, &PRAGMA).any(|name| is(name, "no-cache"));
        }
        found
    }
}

impl ResponseControl {
    /// Reads the directives.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        const NEVER_STALE: [&str; 4] = ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage"];
        let mut found = Self::default();
        for (name, _) in directives(headers) {
            found.no_store |= is(name, "no-store");
            found.private |= is(name, "private");
            found.never_stale |= NEVER_STALE.iter().any(|directive| is(name, directive));
        }
        found
    }
}

/// The directives with their arguments.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    elements(headers, &CACHE_CONTROL).map(|element| {
        let end = element.iter().position(|byte| *byte == b'=').unwrap_or(element.len());
        let (name, argument) = element.split_at(end);
        (name.trim_ascii(), argument.strip_prefix(b"=").unwrap_or_default())
    })
}

fn is(name: &[u8], directive: &str) -> bool {
    name.eq_ignore_ascii_case(directive.as_bytes())
}

/// Whether an argument, with or without quotes, is a zero.
fn is_zero(argument: &[u8]) -> bool {
    let digits = argument.trim_ascii();
    let digits = digits.strip_prefix(b"\"").and_then(|digits| digits.strip_suffix(b"\"")).unwrap_or(digits);
    !digits.is_empty() && digits.iter().all(|digit| *digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::tests::headers;

    fn control(value: &[u8]) -> ResponseControl {
        ResponseControl::of(&headers(&[("cache-control", value)]))
    }

    #[test]
    fn directives_are_found_in_any_case_line_and_company() {
        assert!(control(b"max-age=60, No-Store").no_store);
        assert!(control(b"PRIVATE").private && control(b"private=\"x, y\"").private);
        assert!(control(b" ,, no-cache = \"set-cookie\"").never_stale);
        assert!(control(b"x=\"\xff\",private").private, "beside bytes that are not UTF-8");
        let two = headers(&[("cache-control", b"public"), ("cache-control", b"no-store")]);
        assert!(ResponseControl::of(&two).no_store);
        assert_eq!(control(b"public, max-age=60, no-storex, xprivate"), ResponseControl::default());
    }

    #[test]
    fn a_stale_response_is_forbidden_by_four_directives() {
        for value in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"] {
            assert!(control(value.as_bytes()).never_stale, "{value}");
        }
        assert!(!control(b"max-age=60").never_stale);
    }

    #[test]
    fn a_request_asks_for_a_fresh_answer_in_three_ways() {
        let asks = |lines: &[(&str, &[u8])]| RequestControl::of(&headers(lines)).no_cache;
        assert!(asks(&[("cache-control", b"no-cache")]) && asks(&[("pragma", b"No-Cache")]));
        for value in ["max-age=0", "max-age=\"0\"", "Max-Age = 00"] {
            assert!(asks(&[("cache-control", value.as_bytes())]), "{value}");
        }
        assert!(!asks(&[("pragma", b"no-cache"), ("cache-control", b"max-age=60")]));
        assert!(!asks(&[("cache-control", b"max-age=10")]) && !asks(&[("cache-control", b"max-age")]));
    }
}
