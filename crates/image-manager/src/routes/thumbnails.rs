//! `GET /api/images/{id}/thumbnail`: the picture in a small size.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use twox_hash::XxHash3_128;
use uuid::Uuid;

use super::content::answer_without;
use super::images::visible;
use crate::answered::{Answered, answered};
use crate::app::App;
use crate::database::{self, StoredImage};
use crate::error::ApiError;
use crate::extract::{Id, Query, User};
use crate::pictures::{Size, THUMBNAIL_SIDE_MAX, thumbnail_type};
use crate::ranges::precondition;
use crate::retry::retried;

const SIDE_MIN: u32 = 16;
const SIDE_MAX: u32 = THUMBNAIL_SIDE_MAX;
const SIDE_DEFAULT: u32 = 200;

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    width: Option<String>,
    height: Option<String>,
}

pub(super) async fn view(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    Query(Parameters { width, height }): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let bounds = Size::new(side(width.as_deref())?, side(height.as_deref())?);
    let file = retried(id, async || cached(&app, &user, id, bounds).await).await?;
    // Of the bytes themselves: an older version that is still on its way out of the cache has a tag of its own.
    let etag = format!("\"{:032x}\"", XxHash3_128::oneshot(&file.value));
    if let Some(status) = precondition(&headers, &etag) {
        return Ok((file.headers, [(ETAG, etag)], answer_without(status)).into_response());
    }
    let described = [(ETAG, etag), (CONTENT_TYPE, thumbnail_type(&file.value).to_owned())];
    Ok((file.headers, described, file.value).into_response())
}

/// Returns the file of the thumbnail that fits into `bounds`.
///
/// Its key has the resulting size, so that all bounds with one result share an entry. The size is computed from the
/// database's row before the lookup: if the picture is replaced meanwhile, nothing is stored, and the caller starts over.
async fn cached(app: &App, user: &str, id: Uuid, bounds: Size) -> Result<Answered<Bytes>, ApiError> {
    let image = visible(app, user, id).await?.alive()?;
    let size = Size::new(image.width, image.height).fitted(bounds);
    let app_of_load = app.clone();
    let load = async move || load(&app_of_load, image, size).await;
    answered(app.families().thumbnails.get_or_load((id, size), load).details()).await
}

/// Makes the thumbnail from the original as it is now.
async fn load(app: &App, expected: StoredImage, size: Size) -> Result<Bytes, ApiError> {
    let image = app.database().read(move |db| database::stored_image(db, expected.id)).await?.alive()?;
    if image.file != expected.file {
        return Err(ApiError::changed_meanwhile());
    }
    let path = app.originals().path(image.file);
    app.workshop().thumbnail(path, size).await.map(Bytes::from)
}

/// Parses a side in pixels; one that is too small or too large becomes the nearest that is allowed.
fn side(text: Option<&str>) -> Result<u32, ApiError> {
    let Some(text) = text else { return Ok(SIDE_DEFAULT) };
    let is_positive = text.bytes().all(|byte| byte.is_ascii_digit()) && text.bytes().any(|byte| byte != b'0');
    if !is_positive {
        return Err(ApiError::bad_request("width and height must be positive numbers"));
    }
    Ok(text.parse().unwrap_or(SIDE_MAX).clamp(SIDE_MIN, SIDE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_clamped() {
        for (text, expected) in
            [("1", 16), ("15", 16), ("0640", 640), ("2049", 2048), (&"9".repeat(50), 2048)]
        {
            assert_eq!(side(Some(text)), Ok(expected), "{text}");
        }
        assert_eq!(side(None), Ok(200));
    }

    #[test]
    fn a_side_that_is_no_positive_number_is_refused() {
        for text in ["", "0", "00", "-5", "1.5", "+7", "abc", " 5", "0x10"] {
            assert_eq!(side(Some(text)).unwrap_err().status().as_u16(), 400, "{text:?}");
        }
    }
}
