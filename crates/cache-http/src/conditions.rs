//! [`Conditions`]: `If-None-Match` and `If-Modified-Since` of a request (RFC 9110 section 13).

use std::time::SystemTime;

use http::StatusCode;
use http::header::{ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};

/// The conditions under which a client wants no body.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    none_match: Vec<HeaderValue>,
    modified_since: Option<HeaderValue>,
}

impl Conditions {
    /// Copies the conditions of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            none_match: headers.get_all(IF_NONE_MATCH).iter().cloned().collect(),
            modified_since: headers.get(IF_MODIFIED_SINCE).cloned(),
        }
    }

    /// Removes the conditions from a request whose response is to be stored: it must be a whole one.
    pub(crate) fn remove(headers: &mut HeaderMap) {
        headers.remove(IF_NONE_MATCH);
        headers.remove(IF_MODIFIED_SINCE);
    }

    /// Whether a client that sent these conditions has the response with `headers` already.
    ///
    /// `If-None-Match` compares weakly, and goes before `If-Modified-Since` (RFC 9110 sections 13.1.2, 13.1.3 and 13.2.2).
    /// Conditions hold for successful responses alone (section 13.2.1).
    pub(crate) fn are_met_by(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if !status.is_success() {
            return false;
        }
        if !self.none_match.is_empty() {
            let etag = headers.get(ETAG).map(|etag| opaque(etag.as_bytes()));
            return self.none_match.iter().any(|line| lists(line.as_bytes(), etag));
        }
        let Some(since) = self.modified_since.as_ref().and_then(date) else { return false };
        headers.get(LAST_MODIFIED).and_then(date).is_some_and(|modified| modified <= since)
    }
}

/// Whether a line of `If-None-Match` is `*`, or lists `etag`, an opaque tag with its quotes.
fn lists(line: &[u8], etag: Option<&[u8]>) -> bool {
    let mut rest = line.trim_ascii();
    if rest == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    // Tags may hold commas, so that the list cannot be split at them.
    while let Some(tag) = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"") {
        let Some(end) = tag.iter().position(|byte| *byte == b'"') else { return false };
        let (tag, after) = tag.split_at(end);
        if etag.strip_prefix(b"\"").and_then(|etag| etag.strip_suffix(b"\"")) == Some(tag) {
            return true;
        }
        let is_separator = |byte: &&u8| byte.is_ascii_whitespace() || **byte == b',';
        let separators = after.iter().skip(1).take_while(is_separator).count();
        rest = after.get(1 + separators..).unwrap_or_default();
    }
    false
}

/// The tag without the mark of a weak one.
fn opaque(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn met(condition: (&'static str, &str), field: (&'static str, &str), status: u16) -> bool {
        let headers = |(name, value): (&'static str, &str)| {
            HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
        };
        let status = StatusCode::from_u16(status).unwrap();
        Conditions::of(&headers(condition)).are_met_by(status, &headers(field))
    }

    // RFC 9110 section 8.8.3.2: two entity tags are weakly equivalent if their opaque tags match, weak or not.
    #[test]
    fn tags_are_compared_weakly_in_lists_and_by_star() {
        let matches = |list: &str, etag: &str| met(("if-none-match", list), ("etag", etag), 200);
        for list in [r#""a""#, r#"W/"a""#, r#""b", "a""#, r#""x,y" ,W/"a""#, "*", r#","a""#.trim_matches(',')]
        {
            assert!(matches(list, r#""a""#) && matches(list, r#"W/"a""#), "{list}");
        }
        assert!(matches(r#""a,b""#, r#""a,b""#));
        for list in [r#""A""#, "a", r#""a"#, r#""b""#, r#""b" "c""#, "W/", r#"w/"a""#, ""] {
            assert!(!matches(list, r#""a""#), "{list}");
        }
    }

    #[test]
    fn dates_are_compared_where_there_are_no_tags() {
        let field = ("last-modified", "Tue, 01 Dec 2026 20:00:00 GMT");
        let met_by = |since: &str| met(("if-modified-since", since), field, 200);
        assert!(met_by("Tue, 01 Dec 2026 20:00:00 GMT") && met_by("Wed, 02 Dec 2026 20:00:00 GMT"));
        assert!(!met_by("Mon, 30 Nov 2026 20:00:00 GMT") && !met_by("yesterday"));
        assert!(!met(("if-modified-since", "Wed, 02 Dec 2026 20:00:00 GMT"), ("x", "y"), 200));
    }

    #[test]
    fn conditions_hold_for_successful_responses_alone() {
        assert!(!met(("if-none-match", "*"), ("etag", r#""a""#), 404));
        assert!(met(("if-none-match", "*"), ("x", "y"), 200), "some representation exists");
    }

    proptest! {
        #[test]
        fn no_list_of_tags_is_too_strange(line: Vec<u8>, etag: Vec<u8>) {
            lists(&line, Some(&etag));
            prop_assert!(!lists(b"", Some(&etag)));
        }

        #[test]
        fn a_tag_is_found_among_others(tags in prop::collection::vec("[a-z,]{0,6}", 1..6), at: prop::sample::Index) {
            let list = tags.iter().map(|tag| format!("\"{tag}\"")).collect::<Vec<_>>().join(", ");
            let tag = format!("\"{}\"", at.get(&tags));
            prop_assert!(lists(list.as_bytes(), Some(tag.as_bytes())));
            prop_assert!(!lists(list.as_bytes(), Some(b"\"A\"")));
        }
    }
}
