//! [`ApiError`]: the answer to a request that fails, `{"error": {"code", "message"}}`.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use cache_facade::ChangeError;
use cache_facade::log::limited;
use serde_json::json;

/// The reason why a request failed, as the client reads it.
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
    /// Creates an error of any status; the functions below name the usual ones.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// 400: the request itself is malformed; `message` says what it should have been.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 401: the request names no user.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "the header X-User must name the user")
    }

    /// 403: the user may not do this.
    pub fn forbidden(message: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404: there is no such resource, or no longer.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    /// 409: the resource is not in the state that the request needs.
    pub fn conflict(message: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 412: the resource is not the version that the request is meant for.
    pub fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            "the file is not the version that If-Match or If-None-Match asks for",
        )
    }

    /// 413: more than a stated limit; `message` names it.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 415: the picture is damaged or of an unsupported format, or the request of another media type.
    pub fn unsupported_picture(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// 422: the request is well formed, but a value is invalid.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    /// 500: an internal error. `doing` and `cause` go to the log, not to the client.
    pub fn internal(doing: &str, cause: impl Display) -> Self {
        log_failure(doing, &cause);
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; the log says what",
        )
    }

    /// 503: nothing was changed, and trying again may help. `doing` and `cause` go to the log, not to the client.
    pub fn unavailable(doing: &str, cause: impl Display) -> Self {
        log_failure(doing, &cause);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "nothing was changed; try again")
    }

    /// 500 for a failed file operation, 507 when the disk is full; logged as by [`internal`](Self::internal).
    pub fn file(doing: &str, cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::disk_full(doing, cause),
            _ => Self::internal(doing, cause),
        }
    }

    /// 507: the disk is full.
    fn disk_full(doing: &str, cause: impl Display) -> Self {
        limited((), |suppressed| {
            tracing::error!(%cause, doing, suppressed, "the disk of DATA_DIR is full; changes are answered 507");
        });
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk_full",
            "the server's disk is full; nothing was changed",
        )
    }

    /// 410: the image exists, its file does not.
    ///
    /// Files are removed once they are replaced, so [`retried`](crate::retry::retried) tries again before it returns this.
    pub(crate) fn original_missing() -> Self {
        Self::new(
            StatusCode::GONE,
            "original_missing",
            "the file of this image is missing on the server; send it again (PUT .../file), or delete the image",
        )
    }

    /// 409: the image was replaced while the request was handled; reading it again finds the new state.
    ///
    /// [`retried`](crate::retry::retried) tries again; a client sees this only if every attempt fails.
    pub(crate) fn changed_meanwhile() -> Self {
        Self::new(StatusCode::CONFLICT, "changed_meanwhile", "the image was changed meanwhile; try again")
    }

    /// Returns whether reading again may help.
    pub(crate) fn is_changed_meanwhile(&self) -> bool {
        *self == Self::changed_meanwhile()
    }

    /// Returns whether a file is missing.
    pub(crate) fn is_original_missing(&self) -> bool {
        *self == Self::original_missing()
    }

    /// Returns the status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

fn log_failure(doing: &str, cause: &dyn Display) {
    let cause = cause.to_string();
    limited((doing, &cause), |suppressed| tracing::error!(cause, suppressed, "{doing} failed"));
}

impl From<ChangeError<Self>> for ApiError {
    fn from(error: ChangeError<Self>) -> Self {
        match error {
            ChangeError::Failed(error) => error,
            ChangeError::NotBegun(cause) => Self::unavailable("a change", cause),
            error => Self::internal("a change", error),
        }
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
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            return Self::disk_full("a database statement", error);
        }
        Self::internal("a database statement", error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
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

    #[test]
    fn an_answer_503_says_when_to_try_again() {
        let answer = ApiError::unavailable("a change", "the journal cannot be written").into_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
    }

    #[test]
    fn a_full_disk_is_called_one() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(ApiError::file("writing", &full).status(), StatusCode::INSUFFICIENT_STORAGE);
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        let full = ApiError::from(rusqlite::Error::SqliteFailure(code, None));
        assert_eq!(full.status(), StatusCode::INSUFFICIENT_STORAGE);
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(ApiError::file("writing", &other).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
