//! Health, probes and metrics. None of them needs a user.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use cache_facade::stats::Health;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::User;
use crate::metrics;
use crate::settings::Diagnostics;

/// Whether the caller may read answers that name hosts and paths, by `DIAGNOSTICS`.
pub(super) struct MayDiagnose(bool);

impl FromRequestParts<App> for MayDiagnose {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let settings = app.settings();
        if settings.diagnostics == Diagnostics::All {
            return Ok(Self(true));
        }
        let user = User::from_request_parts(parts, app).await;
        Ok(Self(user.is_ok_and(|User(user)| settings.admin_users.contains(&user))))
    }
}

/// Returns the cache's health, always with 200: the process is alive, and requests are answered without the cache too.
pub(super) async fn health(State(app): State<App>, MayDiagnose(may_diagnose): MayDiagnose) -> Json<Health> {
    let mut health = app.cache().health().await;
    if !may_diagnose {
        let causes = [&mut health.cause].into_iter().chain(health.near.as_mut().map(|near| &mut near.cause));
        for cause in causes.flatten() {
            "the log says why".clone_into(cause);
        }
    }
    Json(health)
}

/// Answers 200 while this instance can take requests: its database and data directory work, and it is not about to stop.
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let not_ready = |why| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why);
    if app.is_stopping() {
        return Err(not_ready("this instance is about to stop"));
    }
    let read = app.database().read(|db| Ok(db.query_row("SELECT 1", [], |_| Ok(()))?)).await;
    read.map_err(|_| not_ready("the database cannot be read; the log says why"))?;
    let originals = app.originals().clone();
    let usable = tokio::task::spawn_blocking(move || originals.check()).await;
    if !usable.is_ok_and(|checked| checked.is_ok()) {
        return Err(not_ready("the data directory cannot be written to"));
    }
    Ok(Json(json!({ "status": "ready" })))
}

pub(super) async fn metrics(
    State(app): State<App>,
    MayDiagnose(may_diagnose): MayDiagnose,
) -> Result<impl IntoResponse, ApiError> {
    if !may_diagnose {
        return Err(ApiError::forbidden("only ADMIN_USERS may read the metrics (DIAGNOSTICS)"));
    }
    app.cache().show_stats().await;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render()))
}
