//! From a request's body to a checked file, and from there into the database. Nothing is kept of a refused upload.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use cache_facade::images::ImageChange;
use futures_util::{Stream, StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::app::App;
use crate::database::{self, Image, NewFile, NewImage};
use crate::disposition::Disposition;
use crate::error::ApiError;
use crate::metadata::{METADATA_MAX_BYTES, Metadata};
use crate::names::clean_filename;
use crate::originals::Incoming;
use crate::ranges::check_conditions;
use crate::retry::retried;

/// Most bytes of a multipart body that the parser may read, and keep, before it returns a field or a piece of one: the
/// preamble, or the headers of a field.
const UNPARSED_MAX_BYTES: usize = 256 * 1024;

/// A picture that passed all checks and lies in the data directory, to be given to an image.
#[derive(Debug)]
pub(crate) struct Upload {
    incoming: Incoming,
    file: NewFile,
    filename: Option<String>,
    metadata: Metadata,
}

/// Receives a multipart body with the field `file` and perhaps `metadata`.
///
/// # Errors
/// 400 for a malformed body, 413, 415 or 422 for what is in it.
pub(crate) async fn receive(app: &App, request: Request) -> Result<Upload, ApiError> {
    refuse_too_long(app, &request)?;
    if media_type(&request).as_deref() != Some("multipart/form-data") {
        return Err(ApiError::unsupported_picture(
            "send multipart/form-data with the picture in the field \"file\"",
        ));
    }
    let unparsed = Arc::new(AtomicUsize::new(0));
    let parsed = || unparsed.store(0, Ordering::Relaxed);
    let mut multipart = Multipart::from_request(bounded(request, Arc::clone(&unparsed)), &())
        .await
        .map_err(|error| ApiError::bad_request(error.body_text()))?;
    let (mut file, mut metadata) = (None, None);
    while let Some(field) = multipart.next_field().await.map_err(|error| unreadable(&error))? {
        let Disposition { name, filename } = Disposition::of(field.headers());
        parsed();
        let mut field = field.inspect(|_| parsed()).map_err(|error| unreadable(&error));
        match name.as_deref() {
            Some("file") if file.is_none() => {
                let filename = filename.as_deref().and_then(clean_filename);
                file = Some((received(app, field).await?, filename));
            }
            Some("metadata") if metadata.is_none() => metadata = Some(read_metadata(field).await?),
            Some("file" | "metadata") => return Err(ApiError::invalid("each field may be sent once")),
            // Other fields are allowed and ignored.
            Some(_) | None => while field.try_next().await?.is_some() {},
        }
    }
    let (incoming, filename) = file.ok_or_else(|| ApiError::invalid("the field \"file\" is missing"))?;
    checked(app, incoming, filename, metadata.unwrap_or_default()).await
}

/// Bounds the bytes that a parser of the request's body reads: `unparsed` counts them, the caller sets it to 0.
fn bounded(request: Request, unparsed: Arc<AtomicUsize>) -> Request {
    request.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |chunk| {
            let chunk = chunk?;
            let before = unparsed.fetch_add(chunk.len(), Ordering::Relaxed);
            if before + chunk.len() > UNPARSED_MAX_BYTES {
                return Err(axum::Error::new("the preamble or the headers of a field are too long"));
            }
            Ok(chunk)
        }))
    })
}

/// Receives a picture as [`receive`] does, or as the whole body when that is not multipart.
///
/// # Errors
/// As [`receive`].
pub(crate) async fn receive_replacement(app: &App, request: Request) -> Result<Upload, ApiError> {
    if media_type(&request).is_some_and(|kind| kind.starts_with("multipart/")) {
        return receive(app, request).await;
    }
    refuse_too_long(app, &request)?;
    let body = request.into_body().into_data_stream();
    let unreadable = |error| ApiError::bad_request(format!("the body could not be read: {error}"));
    let incoming = received(app, body.map_err(unreadable)).await?;
    checked(app, incoming, None, Metadata::default()).await
}

/// Checks a picture that is in memory already.
///
/// # Errors
/// As [`receive`].
pub(crate) async fn take(app: &App, filename: &str, bytes: Bytes) -> Result<Upload, ApiError> {
    let incoming = received(app, futures_util::stream::iter([Ok(bytes)])).await?;
    checked(app, incoming, clean_filename(filename), Metadata::default()).await
}

/// Makes a new image of an upload, in a project of `user`.
///
/// # Errors
/// When the project is gone or closed to the user by now; nothing is kept then.
pub(crate) async fn add(app: &App, user: String, project: Uuid, upload: Upload) -> Result<Image, ApiError> {
    let Upload { incoming, file, filename, metadata } = upload;
    let new = NewImage {
        id: Uuid::now_v7(),
        project,
        filename: filename.unwrap_or_else(|| "unnamed".to_owned()),
        metadata,
        uploaded_by: user,
    };
    let (database, originals) = (app.database().clone(), app.originals().clone());
    app.change(ImageChange::ImageUploaded { project }, async move |announced| {
        database
            .write(announced, move |db| {
                database::project_for(db, &new.uploaded_by, project)?;
                originals.keep(&incoming).map_err(|error| ApiError::file("keeping an original", &error))?;
                database::add_image(db, &new, &file)
            })
            .await
    })
    .await
}

/// Gives an image of a project of `user` new pixels, if the old ones meet the request's `conditions`.
///
/// # Errors
/// When the image is gone, deleted or closed to the user by now; nothing is kept then.
pub(crate) async fn replace(
    app: &App,
    user: &str,
    project: Uuid,
    image: Uuid,
    upload: Upload,
    conditions: HeaderMap,
) -> Result<Image, ApiError> {
    let upload = Arc::new((upload, conditions));
    retried(image, async || {
        // Named before the transaction, as the cache must know what will be stale; checked again inside it.
        let analyses = analyses_of(app, image).await?;
        let what = ImageChange::ImageReplaced { project, image, analyses: analyses.clone() };
        let (database, originals) = (app.database().clone(), app.originals().clone());
        let (user, upload) = (user.to_owned(), Arc::clone(&upload));
        app.change(what, async move |announced| {
            let keeper = originals.clone();
            let replaced = database.write(announced, move |db| {
                let old = database::image_for(db, &user, image)?.alive()?;
                if ids(&database::analyses_of(db, image)?) != analyses {
                    return Err(ApiError::changed_meanwhile());
                }
                let (Upload { incoming, file, filename, metadata: _ }, conditions) = &*upload;
                check_conditions(conditions, old.file)?;
                keeper.keep(incoming).map_err(|error| ApiError::file("keeping an original", &error))?;
                let filename = filename.as_ref().unwrap_or(&old.filename);
                Ok((database::replace_file(db, image, filename, file)?, old.file))
            });
            let (image, old_file) = replaced.await?;
            originals.remove(vec![old_file]).await;
            Ok(image)
        })
        .await
    })
    .await
}

async fn analyses_of(app: &App, image: Uuid) -> Result<Vec<Uuid>, ApiError> {
    app.database().read(move |db| Ok(ids(&database::analyses_of(db, image)?))).await
}

fn ids(analyses: &[database::Analysis]) -> Vec<Uuid> {
    analyses.iter().map(|analysis| analysis.id).collect()
}

/// Writes a stream to a new file, as long as it stays within the limit.
async fn received(
    app: &App,
    bytes: impl Stream<Item = Result<Bytes, ApiError>>,
) -> Result<Incoming, ApiError> {
    let mut incoming = app.originals().receive().await?;
    let mut bytes = std::pin::pin!(bytes);
    while let Some(chunk) = bytes.try_next().await? {
        if incoming.size_bytes() + chunk.len() as u64 > app.settings().max_upload_bytes {
            return Err(too_long(app));
        }
        incoming.write(&chunk).await?;
    }
    Ok(incoming)
}

async fn checked(
    app: &App,
    mut incoming: Incoming,
    filename: Option<String>,
    metadata: Metadata,
) -> Result<Upload, ApiError> {
    incoming.finish().await?;
    let inspected = app.workshop().inspect(incoming.path().to_owned()).await?;
    let file = NewFile {
        file: incoming.id(),
        format: inspected.format,
        width: inspected.size.width,
        height: inspected.size.height,
        size_bytes: incoming.size_bytes(),
    };
    Ok(Upload { incoming, file, filename, metadata })
}

async fn read_metadata(
    mut field: impl Stream<Item = Result<Bytes, ApiError>> + Unpin,
) -> Result<Metadata, ApiError> {
    let mut text = Vec::new();
    while let Some(chunk) = field.try_next().await? {
        text.extend_from_slice(&chunk);
        if text.len() > METADATA_MAX_BYTES {
            return Err(ApiError::too_large(format!("metadata may take {METADATA_MAX_BYTES} bytes")));
        }
    }
    let sent = serde_json::from_slice(&text)
        .map_err(|error| ApiError::bad_request(format!("the field \"metadata\" is no JSON: {error}")))?;
    Metadata::new(sent)
}

/// Refuses by the announced length, before a byte was sent by a client that asks first (`Expect: 100-continue`).
fn refuse_too_long(app: &App, request: &Request) -> Result<(), ApiError> {
    let length =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // The rest of a multipart body is short.
    let most = app.settings().max_upload_bytes + 4 * METADATA_MAX_BYTES as u64;
    if length.is_some_and(|length| length > most) { Err(too_long(app)) } else { Ok(()) }
}

fn too_long(app: &App) -> ApiError {
    let megabytes = app.settings().max_upload_bytes / (1024 * 1024);
    ApiError::too_large(format!("a picture may have {megabytes} MB (MAX_UPLOAD_MB)"))
}

fn unreadable(error: &MultipartError) -> ApiError {
    match error.status().as_u16() {
        413 => ApiError::too_large("the body is longer than a picture may be (MAX_UPLOAD_MB)"),
        _ => ApiError::bad_request(format!("the multipart body is malformed: {}", error.body_text())),
    }
}

/// Returns the type and subtype of the body without parameters, in small letters: they are compared in any case.
fn media_type(request: &Request) -> Option<String> {
    let content_type = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = content_type.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}
