//! [`JsonText`]: an answer in JSON that is finished, so that the cache can hold it as it is sent.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use crate::error::ApiError;

/// The text of an answer in JSON, as [`to_json`] returned it.
#[derive(Debug, Clone)]
pub(crate) struct JsonText(pub(crate) Bytes);

/// Writes a value as the text of an answer.
///
/// # Errors
/// Internal, where the value has no form in JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Result<Bytes, ApiError> {
    let text = serde_json::to_vec(value).map_err(|error| ApiError::internal("writing JSON", error))?;
    Ok(text.into())
}

impl IntoResponse for JsonText {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], self.0).into_response()
    }
}
