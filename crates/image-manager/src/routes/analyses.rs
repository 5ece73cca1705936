//! `/api/images/{id}/analyses` and `/api/analyses`: analyses of an image's pixels.
//!
//! The database has the analyses that were asked for; their results are computed from the image's pixels at the first read,
//! and cached until the pixels change.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use cache_facade::images::ImageChange;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::images::visible;
use crate::answered::answered;
use crate::app::App;
use crate::database::{self, Analysis};
use crate::error::ApiError;
use crate::extract::{Body, Id, User};
use crate::pictures::{AnalysisKind, Findings};
use crate::retry::retried;

#[derive(Debug, Deserialize)]
pub(super) struct NewAnalysis {
    kind: String,
}

#[derive(Debug, Serialize)]
struct Answer {
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

pub(super) async fn results(
    State(app): State<App>,
    User(user): User,
    Id(id): Id,
) -> Result<impl IntoResponse, ApiError> {
    let findings = retried(id, async || {
        let reader = user.clone();
        let found = app.database().find(move |db| database::find_analysis(db, &reader, id)).await?;
        let (kind, image) = database::permitted(found, "analysis")?;
        image.alive()?;
        let app_of_load = app.clone();
        let load = async move || compute(&app_of_load, id).await;
        let findings = answered(app.families().findings.get_or_load((id, "results"), load).details()).await?;
        Ok((kind, findings))
    });
    let (kind, findings) = findings.await?;
    let results = findings.value.results();
    Ok((findings.headers, Json(Answer { kind, status: "done", results })))
}

fn unknown_kind() -> ApiError {
    let kinds = AnalysisKind::ALL.map(AnalysisKind::name).join(", ");
    ApiError::invalid(format!("kind must be one of: {kinds}"))
}

/// Computes the results from the original as it is now.
async fn compute(app: &App, id: Uuid) -> Result<Findings, ApiError> {
    let (kind, image) = app.database().read(move |db| database::stored_analysis(db, id)).await?;
    let path = app.originals().path(image.alive()?.file);
    app.workshop().analyse(path, kind).await
}
