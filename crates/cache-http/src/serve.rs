//! Responses from stored ones, and responses without a body.

use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
};
use http::{Response, StatusCode};

use crate::body::ResponseBody;
use crate::policy::Policy;
use crate::request::Page;
use crate::service::with_status;
use crate::stored::StoredResponse;
use crate::verdict::Verdict;
use cache_facade::{BackendKind, Source};

/// How a lookup was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup {
    pub(crate) source: Source,
    pub(crate) backend: BackendKind,
}

/// Fields that describe the body, which a response 304 does not have (RFC 9110 section 15.4.5).
const OF_THE_BODY: [HeaderName; 4] = [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE];

/// Makes the response to a request from a stored one.
pub(crate) fn served<B>(
    policy: &Policy,
    page: &Page,
    stored: StoredResponse,
    lookup: Lookup,
) -> Response<ResponseBody<B>> {
    let StoredResponse { status, mut headers, body, stored_at, never_stale: _ } = stored;
    let age = stored_at.map(|stored_at| policy.clock.now().saturating_since(stored_at).as_secs());
    let left = policy.ttl.zip(age).map(|(ttl, age)| signed(ttl.as_secs()).saturating_sub(signed(age)));
    let verdict = match lookup.source {
        Source::Hit => Verdict::Hit(left),
        Source::Stale => Verdict::Stale(left),
        Source::Loaded => Verdict::Stored,
        Source::Waited => Verdict::Collapsed,
        _ => Verdict::Miss,
    };
    if let Some(age) = age {
        headers.insert(AGE, age.into());
    }
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    let body = if page.is_head { ResponseBody::empty() } else { ResponseBody::stored(body) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(lookup.backend);
    with_status(not_modified(page, response), verdict)
}

/// Returns `response`, or one with status 304 where the client has it already.
pub(crate) fn not_modified<B>(
    page: &Page,
    mut response: Response<ResponseBody<B>>,
) -> Response<ResponseBody<B>> {
    if page.conditions.are_met_by(response.status(), response.headers()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        for name in OF_THE_BODY {
            response.headers_mut().remove(name);
        }
        *response.body_mut() = ResponseBody::empty();
    }
    response
}

/// The response to a request for a stored one where there is none (RFC 9111 section 5.2.1.7).
pub(crate) fn unavailable<B>() -> Response<ResponseBody<B>> {
    with_status(without_body(StatusCode::GATEWAY_TIMEOUT), Verdict::OnlyIfCached)
}

/// The response to a request whose handler panicked in another task.
pub(crate) fn unanswered<B>() -> Response<ResponseBody<B>> {
    with_status(without_body(StatusCode::INTERNAL_SERVER_ERROR), Verdict::Miss)
}

fn without_body<B>(status: StatusCode) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
