//! Answers of the console: JSON, refusals with what to do, and the headers of all answers.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cache_facade::{Error, ErrorKind};
use serde::Serialize;

/// Nothing but the console's own files, no frame around it, and no text that becomes HTML in a script.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const FOR_ALL: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Adds the headers that every answer has. Answers that say nothing else must not be stored.
pub(super) async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in FOR_ALL {
        headers.insert(name, value);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Makes an answer of `body` as JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let json = HeaderValue::from_static("application/json");
    match serde_json::to_vec(body) {
        Ok(text) => (status, [(CONTENT_TYPE, json)], text).into_response(),
        // The types of this crate all have a form in JSON.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A request that is not done: why, and what to do.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    /// A word for programs.
    error: &'static str,
    message: String,
    advice: String,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        error: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { status, error, message: message.into(), advice: advice.into() }
    }

    /// The refusal of input that cannot be understood.
    pub(super) fn bad(error: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, message, advice)
    }

    /// The refusal of a request that the cache failed to answer.
    pub(super) fn failed(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidKey | ErrorKind::InvalidPattern => {
                Self::bad("invalid_input", error.to_string(), "correct it and try again")
            }
            _ => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "cache_unavailable",
                error.to_string(),
                "look at the doctor's checks, and try again",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        json(self.status, &self)
    }
}

/// Answers a request of a route that does not exist.
pub(super) async fn unknown_route() -> Refusal {
    let advice =
        "the routes are api/v1/overview, families, timeline, live, key, clear, clear/dry-run and doctor";
    Refusal::new(StatusCode::NOT_FOUND, "unknown_route", "the API has no such route", advice)
}

/// Answers a request with a method that its route does not have.
pub(super) async fn method_not_allowed() -> Refusal {
    let advice = "use a method that the Allow header of this answer names";
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this route has no such method",
        advice,
    )
}
