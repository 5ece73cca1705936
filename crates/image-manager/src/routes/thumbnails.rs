//! `GET /api/images/{id}/thumbnail`: the picture in a small size.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cache_facade::images;
use serde::Deserialize;

use super::images::visible;
use crate::app::App;
use crate::database;
use crate::error::ApiError;
use crate::extract::{Id, Query, User};
use crate::pictures::{Size, THUMBNAIL_SIDE_MAX, thumbnail_type};
use crate::retry::retried;

const SIDE_MIN: u32 = 16;
const SIDE_MAX: u32 = THUMBNAIL_SIDE_MAX;
const SIDE_DEFAULT: u32 = 200;

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    width: Option<String>,
    height: Option<String>,
}

/// The thumbnail that a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    bounds: Size,
    size: Size,
}

/// Authorises a request, and names the thumbnail in the cache.
///
/// Its key has the resulting size, so that all bounds with one result share an entry.
pub(super) async fn permit(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    Query(Parameters { width, height }): Query<Parameters>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let bounds = Size::new(side(width.as_deref())?, side(height.as_deref())?);
    let image = visible(&app, &user, id).await?.alive()?;
    let size = Size::new(image.width, image.height).fitted(bounds);
    let extensions = request.extensions_mut();
    extensions.insert(images::thumbnail(id, size.width, size.height));
    extensions.insert(Wanted { bounds, size });
    Ok(next.run(request).await)
}

pub(super) async fn view(
    State(app): State<App>,
    Id(id): Id,
    Extension(wanted): Extension<Wanted>,
) -> Result<impl IntoResponse, ApiError> {
    let (file, size) = retried(id, async || {
        let image = app.database().read(move |db| database::stored_image(db, id)).await?.alive()?;
        let size = Size::new(image.width, image.height).fitted(wanted.bounds);
        let path = app.originals().path(image.file);
        Ok((app.workshop().thumbnail(path, size).await?, size))
    })
    .await?;
    // That of a picture of another shape, which has taken the place of the one that was named, is not stored.
    let no_store = (size != wanted.size).then_some([(CACHE_CONTROL, "no-store")]);
    Ok((no_store, [(CONTENT_TYPE, thumbnail_type(&file))], file))
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
