//! `/api/images/{id}/analyses` and `/api/analyses`: analyses of an image's pixels.
//!
//! The database has the analyses that were asked for; their results are computed from the image's pixels at the first read,
//! and cached until the pixels change.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use cache_facade::images::{self, ImageChange};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::images::visible;
use crate::app::App;
use crate::database::{self, Analysis};
use crate::error::ApiError;
use crate::extract::{Body, Id, User};
use crate::pictures::AnalysisKind;
use crate::retry::retried;

#[derive(Debug, Deserialize)]
pub(super) struct NewAnalysis {
    kind: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    kind: AnalysisKind,
    /// Results are computed when they are asked for, so that there are none that are not done.
    status: &'static str,
    results: Value,
}

pub(super) async fn list(
    State(app): State<App>,
    User(user): User,
    Id(image): Id,
) -> Result<Json<Value>, ApiError> {
    visible(&app, &user, image).await?.alive()?;
    let analyses = app.database().read(move |db| database::analyses_of(db, image)).await?;
    Ok(Json(json!({ "items": analyses })))
}

pub(super) async fn create(
    State(app): State<App>,
    User(user): User,
    Id(image): Id,
    Body(NewAnalysis { kind }): Body<NewAnalysis>,
) -> Result<(StatusCode, Json<Analysis>), ApiError> {
    visible(&app, &user, image).await?.alive()?;
    let kind = AnalysisKind::from_name(&kind).ok_or_else(unknown_kind)?;
    let new = Analysis { id: Uuid::now_v7(), kind };
    let database = app.database().clone();
    app.change(ImageChange::AnalysisChanged { analysis: new.id }, async move |announced| {
        database
            .write(announced, move |db| {
                database::image_for(db, &user, image)?.alive()?;
                database::add_analysis(db, image, &new, &user)?;
                Ok((StatusCode::CREATED, Json(new)))
            })
            .await
    })
    .await
}

/// Authorises a request, and names the results in the cache.
pub(super) async fn permit(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let found = app.database().find(move |db| database::find_analysis(db, &user, id)).await?;
    let (_, image) = database::permitted(found, "analysis")?;
    image.alive()?;
    request.extensions_mut().insert(images::analysis_results(id));
    Ok(next.run(request).await)
}

/// Computes the results from the original as it is now.
pub(super) async fn results(State(app): State<App>, Id(id): Id) -> Result<Json<Answer>, ApiError> {
    retried(id, async || {
        let (kind, image) = app.database().read(move |db| database::stored_analysis(db, id)).await?;
        let path = app.originals().path(image.alive()?.file);
        let results = app.workshop().analyse(path, kind).await?.results();
        Ok(Json(Answer { kind, status: "done", results }))
    })
    .await
}

fn unknown_kind() -> ApiError {
    let kinds = AnalysisKind::ALL.map(AnalysisKind::name).join(", ");
    ApiError::invalid(format!("kind must be one of: {kinds}"))
}
