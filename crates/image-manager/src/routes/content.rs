//! `GET /api/images/{id}/content`: the original, streamed, whole or in part.

use std::fmt::Write as _;
use std::io::SeekFrom;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::images::visible;
use crate::app::App;
use crate::database::StoredImage;
use crate::error::ApiError;
use crate::extract::{Id, User};
use crate::ranges::{Wanted, file_tag, precondition, wanted};
use crate::retry::retried;

/// Bytes read at once: fewer system calls than the default of four kilobytes.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) async fn download(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (image, mut file) = retried(id, async || open(&app, &user, id).await).await?;
    let etag = file_tag(image.file);
    let common = [(ETAG, etag.clone()), (ACCEPT_RANGES, "bytes".to_owned())];
    if let Some(status) = precondition(&headers, &etag) {
        return Ok((common, answer_without(status)).into_response());
    }
    let length = image.size_bytes;
    let (status, range) = match wanted(&method, &headers, &etag, length) {
        Wanted::Whole => (StatusCode::OK, 0..length),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let refused =
                ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", "the file is shorter");
            return Ok(([(CONTENT_RANGE, format!("bytes */{length}"))], refused).into_response());
        }
    };
    let seek = file.seek(SeekFrom::Start(range.start)).await;
    seek.map_err(|error| ApiError::internal("seeking in an original", error))?;
    let body =
        Body::from_stream(ReaderStream::with_capacity(file.take(range.end - range.start), CHUNK_BYTES));
    let described = [
        (CONTENT_TYPE, image.format.content_type().to_owned()),
        (CONTENT_LENGTH, (range.end - range.start).to_string()),
        (CONTENT_DISPOSITION, disposition(&image.filename)),
    ];
    let mut response = (status, common, described, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let part = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        let part = part.try_into().expect("digits and ASCII punctuation make a header");
        response.headers_mut().insert(CONTENT_RANGE, part);
    }
    Ok(response)
}

/// Returns the answer in place of a representation: 304, or 412 with a reason.
pub(super) fn answer_without(status: StatusCode) -> Response {
    match status {
        StatusCode::PRECONDITION_FAILED => ApiError::precondition_failed().into_response(),
        other => other.into_response(),
    }
}

async fn open(app: &App, user: &str, id: Uuid) -> Result<(StoredImage, File), ApiError> {
    let image = visible(app, user, id).await?.alive()?;
    let file = app.originals().read(image.file).await?;
    Ok((image, file))
}

/// Returns a header by which a browser shows the file in place and saves it under its name (RFC 6266, encoded by RFC 8187).
fn disposition(filename: &str) -> String {
    let mut encoded = String::from("inline; filename*=UTF-8''");
    for byte in filename.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes whatever is written");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_filename_makes_a_header() {
        assert_eq!(disposition("cat.png"), "inline; filename*=UTF-8''cat.png");
        assert_eq!(disposition("ö \"';\r\n.png"), "inline; filename*=UTF-8''%C3%B6%20%22%27%3B%0D%0A.png");
    }
}
