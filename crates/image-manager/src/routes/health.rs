//! How the process is: for people, probes and Prometheus. None of it needs a user.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use cache_facade::Health;

use crate::app::App;
use crate::error::ApiError;
use crate::metrics;

pub(super) async fn cache(State(app): State<App>) -> Json<Health> {
    Json(app.cache().health().await)
}

/// 200 whatever the cache does, as requests are answered without it; not so without the database.
pub(super) async fn healthz(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    app.database().read(|db| Ok(db.query_row("SELECT 1", [], |_| Ok(()))?)).await?;
    Ok(Json(app.cache().health().await))
}

pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    app.cache().show_stats().await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render())
}
