//! [`Policy`]: the options of a layer, and which responses may be stored by them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::Clock;
use cache_core::plants::{Plant, is_planted};
use cache_facade::{Cache, CacheKey, LoadOptions};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, SET_COOKIE, TRAILER, VARY,
};
use http::request::Parts;
use http::{StatusCode, response};

use crate::cache_control::ResponseControl;
use crate::headers::elements;
use crate::index::{Names, union};
use crate::verdict::Reason;

/// Gives the key of a request's page.
pub(crate) type KeyFn = Arc<dyn Fn(&mut Parts) -> Option<CacheKey> + Send + Sync>;

/// Gives the viewer of a request.
pub(crate) type ViewerFn = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// The clients that share a stored response.
#[derive(Clone)]
pub(crate) enum Audience {
    /// Those without credentials.
    Private,
    /// All of them.
    Public,
    /// Those of one viewer.
    PerViewer(ViewerFn),
}

/// The options of a layer.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) cache: Cache,
    pub(crate) key: KeyFn,
    pub(crate) audience: Audience,
    pub(crate) statuses: Arc<[StatusCode]>,
    /// The request headers that a response may name in `Vary`.
    pub(crate) vary: Names,
    pub(crate) max_body: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) options: LoadOptions<Bytes>,
    /// The time to live, where this layer sets one.
    pub(crate) ttl: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Policy {
    /// Whether responses depend on the viewer.
    pub(crate) fn is_per_viewer(&self) -> bool {
        matches!(self.audience, Audience::PerViewer(_))
    }

    /// Decides by its header whether a response may be stored, `for_viewer` or for all. Returns the request headers by which
    /// it varies.
    pub(crate) fn admit(&self, response: &response::Parts, for_viewer: bool) -> Result<Names, Reason> {
        let headers = &response.headers;
        if !self.statuses.contains(&response.status) || headers.contains_key(CONTENT_RANGE) {
            return Err(Reason::Status);
        }
        if headers.contains_key(SET_COOKIE) && !is_planted(Plant::SetCookieStored) {
            return Err(Reason::SetCookie);
        }
        let control = ResponseControl::of(headers);
        if control.no_store {
            return Err(Reason::NoStore);
        }
        if control.private && !for_viewer {
            return Err(Reason::Private);
        }
        if headers.get(CONTENT_TYPE).is_some_and(is_stream) {
            return Err(Reason::Stream);
        }
        if headers.contains_key(TRAILER) {
            return Err(Reason::Body);
        }
        if content_length(headers).is_some_and(|length| length > self.max_body as u64) {
            return Err(Reason::Size);
        }
        self.varies_by(headers)
    }

    fn varies_by(&self, headers: &HeaderMap) -> Result<Names, Reason> {
        if is_planted(Plant::VaryIgnored) {
            return Ok(Names::default());
        }
        let mut names = Vec::new();
        for element in elements(headers, &VARY) {
            names.push(HeaderName::from_bytes(element).map_err(|_| Reason::Vary)?);
        }
        // An encoding that not every client accepts, and that the response does not say it depends on.
        let is_encoded = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if headers.get_all(CONTENT_ENCODING).iter().any(is_encoded) {
            names.push(ACCEPT_ENCODING);
        }
        if names.iter().all(|name| self.vary.contains(name)) {
            Ok(union(&names, &[]))
        } else {
            // `*` is the name of no header that may be allowed.
            Err(Reason::Vary)
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cache: _,
            key: _,
            audience,
            statuses,
            vary,
            max_body,
            body_timeout,
            options,
            ttl: _,
            clock: _,
        } = self;
        let audience = match audience {
            Audience::Private => "private",
            Audience::Public => "public",
            Audience::PerViewer(_) => "per viewer",
        };
        f.debug_struct("Policy")
            .field("audience", &audience)
            .field("statuses", statuses)
            .field("vary", vary)
            .field("max_body", max_body)
            .field("body_timeout", body_timeout)
            .field("options", options)
            .finish_non_exhaustive()
    }
}

/// The length of the body by its header; the largest number where the header is none.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let first = values.next()?;
    let length = first.to_str().ok().and_then(|value| value.parse().ok());
    Some(length.filter(|_| values.all(|value| value == first)).unwrap_or(u64::MAX))
}

/// Whether bodies of this media type go on for as long as the client listens.
fn is_stream(content_type: &HeaderValue) -> bool {
    const STREAMS: [&str; 8] = [
        "text/event-stream",
        "multipart/x-mixed-replace",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/json-seq",
        "application/stream+json",
        "application/grpc",
    ];
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |stream: &&str| {
        // `application/grpc+proto` is one, too.
        let (start, rest) = essence.split_at(essence.len().min(stream.len()));
        start.eq_ignore_ascii_case(stream.as_bytes()) && (rest.is_empty() || rest.starts_with(b"+"))
    };
    STREAMS.iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_known_by_their_media_type() {
        let is = |value: &'static str| is_stream(&HeaderValue::from_static(value));
        assert!(
            is("text/event-stream")
                && is("Text/Event-Stream ; charset=utf-8")
                && is("application/grpc+proto")
        );
        assert!(!is("text/event-streams") && !is("text/html") && !is("") && !is("application/json"));
    }

    #[test]
    fn a_length_that_is_none_is_too_long() {
        let length = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            content_length(&headers)
        };
        assert_eq!((length(&[]), length(&["5"]), length(&["5", "5"])), (None, Some(5), Some(5)));
        for bad in [&["x"][..], &["5", "6"], &["-1"], &[""]] {
            assert_eq!(length(bad), Some(u64::MAX), "{bad:?}");
        }
    }
}
