//! `/api/images`: one image, its metadata, and its changes.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cache_facade::images::{self, ImageChange};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::projects;
use crate::app::App;
use crate::database::{self, Image, StoredImage};
use crate::error::ApiError;
use crate::extract::{Body, Id, Query, User};
use crate::metadata::Metadata;
use crate::ranges::check_conditions;
use crate::uploads;

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    #[serde(default)]
    include_deleted: bool,
}

/// Authorises a request, and names the image in the cache, which has none that are deleted.
pub(super) async fn permit(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    Query(Parameters { include_deleted }): Query<Parameters>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let image = visible(&app, &user, id).await?;
    if !(image.deleted && include_deleted) {
        image.alive()?;
        request.extensions_mut().insert(images::image_metadata(id));
    }
    Ok(next.run(request).await)
}

pub(super) async fn view(
    State(app): State<App>,
    Id(id): Id,
    Query(Parameters { include_deleted }): Query<Parameters>,
) -> Result<impl IntoResponse, ApiError> {
    let image = app.database().read(move |db| database::image(db, id)).await?;
    let is_deleted = image.deleted_at.is_some();
    if is_deleted && !include_deleted {
        return Err(ApiError::not_found("image"));
    }
    // One that was deleted since it was named is not stored.
    Ok((is_deleted.then_some([(CACHE_CONTROL, "no-store")]), Json(image)))
}

pub(super) async fn upload(
    State(app): State<App>,
    User(user): User,
    Id(project): Id,
    request: Request,
) -> Result<(StatusCode, Json<Image>), ApiError> {
    // Before the body is read: nothing is received from users outside the project.
    projects::check_member(&app, &user, project).await?;
    let upload = uploads::receive(&app, request).await?;
    let image = uploads::add(&app, user, project, upload).await?;
    Ok((StatusCode::CREATED, Json(image)))
}

pub(super) async fn replace(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    request: Request,
) -> Result<Json<Image>, ApiError> {
    let stored = visible(&app, &user, id).await?.alive()?;
    let conditions = request.headers().clone();
    let upload = uploads::receive_replacement(&app, request).await?;
    uploads::replace(&app, &user, stored.project, id, upload, conditions).await.map(Json)
}

pub(super) async fn set_metadata(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    headers: HeaderMap,
    Body(sent): Body<Box<RawValue>>,
) -> Result<Json<Image>, ApiError> {
    let metadata = Metadata::new(&sent)?;
    let project = visible(&app, &user, id).await?.alive()?.project;
    let database = app.database().clone();
    app.change(ImageChange::ImageUpdated { project, image: id }, async move |announced| {
        database
            .write(announced, move |db| {
                check_conditions(&headers, database::image_for(db, &user, id)?.alive()?.file)?;
                database::set_metadata(db, id, &metadata)
            })
            .await
    })
    .await
    .map(Json)
}

pub(super) async fn remove(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let project = visible(&app, &user, id).await?.alive()?.project;
    let database = app.database().clone();
    app.change(ImageChange::ImageDeleted { project, image: id }, async move |announced| {
        database
            .write(announced, move |db| {
                check_conditions(&headers, database::image_for(db, &user, id)?.alive()?.file)?;
                database::delete_image(db, id)
            })
            .await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn restore(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
) -> Result<Json<Image>, ApiError> {
    let project = visible(&app, &user, id).await?.project;
    let database = app.database().clone();
    app.change(ImageChange::ImageRestored { project, image: id }, async move |announced| {
        database
            .write(announced, move |db| {
                if !database::image_for(db, &user, id)?.deleted {
                    return Err(ApiError::conflict("the image is not deleted"));
                }
                database::restore_image(db, id)
            })
            .await
    })
    .await
    .map(Json)
}

/// Reads the image, deleted or not, from the database: authorisation comes before the cache.
pub(super) async fn visible(app: &App, user: &str, image: Uuid) -> Result<StoredImage, ApiError> {
    let user = user.to_owned();
    let found = app.database().find(move |db| database::find_image(db, &user, image)).await?;
    database::permitted(found, "image")
}
