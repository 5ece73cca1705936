//! `/api/images`: one image, its metadata, and its changes.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use cache_facade::images::ImageChange;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::projects;
use crate::answered::{Answered, CacheHeaders, answered};
use crate::app::App;
use crate::database::{self, Image, StoredImage};
use crate::error::ApiError;
use crate::extract::{Body, Id, Query, User};
use crate::json_text::{JsonText, to_json};
use crate::metadata::Metadata;
use crate::ranges::check_conditions;
use crate::retry::retried;
use crate::uploads;

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    #[serde(default)]
    include_deleted: bool,
}

pub(super) async fn view(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    Query(Parameters { include_deleted }): Query<Parameters>,
) -> Result<(CacheHeaders, JsonText), ApiError> {
    let answer = retried(id, async || answer(&app, &user, id, include_deleted).await).await?;
    Ok((answer.headers, JsonText(answer.value)))
}

/// Returns the JSON of an image. The cache holds only images that are not deleted, as its text does not tell without being
/// parsed.
async fn answer(app: &App, user: &str, id: Uuid, include_deleted: bool) -> Result<Answered<Bytes>, ApiError> {
    let stored = visible(app, user, id).await?;
    let database = app.database().clone();
    if stored.deleted && include_deleted {
        let value = database.read(move |db| to_json(&database::image(db, id)?)).await?;
        return Ok(Answered { value, headers: CacheHeaders::bypass() });
    }
    stored.alive()?;
    let load = async move || {
        let read = database.read(move |db| {
            let image = database::image(db, id)?;
            if image.deleted_at.is_some() { Err(ApiError::changed_meanwhile()) } else { to_json(&image) }
        });
        read.await
    };
    answered(app.families().metadata.get_or_load((id, "metadata"), load).details()).await
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
