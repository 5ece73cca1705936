//! [`ApiError`]: what a request is refused with, `{"error": {"code", "message"}}` to the client.

use std::borrow::Cow;
use std::fmt::{self, Display};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cache_facade::log::limited;
use serde_json::json;

/// Why a request failed, as its client is told.
///
/// The message never holds anything internal: [`ApiError::internal`] logs the cause and tells the client only that there
/// was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
}

impl ApiError {
    /// An error of any status; the named ones below say which to use when.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// 400: the request itself is malformed; `message` says what it should have been.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 401: nobody says who is asking.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "the header X-User must name the user")
    }

    /// 403: the user may not do this.
    pub fn forbidden(message: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404: there is no such thing, or no longer.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    /// 409: the thing is not in the state that the request needs.
    pub fn conflict(message: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 413: more than a stated limit; `message` names it.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 415: not a picture of a format that is kept here, or a damaged one.
    pub fn unsupported_picture(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// 422: well formed, but its values make no sense.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    /// 500: our fault. `doing` and `cause` go to the log, not to the client.
    pub fn internal(doing: &str, cause: impl Display) -> Self {
        let cause = cause.to_string();
        limited((doing, &cause), |suppressed| tracing::error!(cause, suppressed, "{doing} failed"));
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; the log says what",
        )
    }

    /// Something the request relied upon was replaced meanwhile; whoever reads anew finds the new state.
    ///
    /// [`retried`](crate::retry::retried) does so; a client sees this only if every attempt found the same.
    pub(crate) fn changed_meanwhile() -> Self {
        Self::new(StatusCode::CONFLICT, "changed_meanwhile", "the image was changed meanwhile; try again")
    }

    /// Whether reading anew may help.
    pub(crate) fn is_changed_meanwhile(&self) -> bool {
        *self == Self::changed_meanwhile()
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.status.as_u16(), self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) {
            limited((), |suppressed| {
                tracing::warn!(suppressed, "the database stayed locked by another instance");
            });
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the database is busy; try again");
        }
        Self::internal("a database statement", error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        (self.status, Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_tells_its_client_no_cause() {
        let error = ApiError::internal("reading a file", "/secret/path is missing");
        assert!(!error.to_string().contains("secret"));
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
