//! `/api/cache`: statistics, single entries, and clearing.

use axum::Json;
use axum::extract::State;
use cache_facade::{
    CacheKey, CachePattern,
    stats::{CacheStats, Explanation},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Admin, Query, User};

#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    key: String,
}

/// A misspelt `pattern` must not clear everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clear {
    pattern: Option<String>,
}

pub(super) async fn stats(State(app): State<App>, User(_): User) -> Result<Json<CacheStats>, ApiError> {
    app.cache()
        .stats()
        .await
        .map(Json)
        .map_err(|error| ApiError::internal("reading the cache's figures", error))
}

pub(super) async fn entry(
    State(app): State<App>,
    // A key may name a resource that is forbidden to other users.
    _: Admin,
    Query(Entry { key }): Query<Entry>,
) -> Result<Json<Explanation>, ApiError> {
    let key = CacheKey::parse(&key).map_err(|error| ApiError::bad_request(error.to_string()))?;
    app.cache().explain(&key).await.map(Json).map_err(|error| ApiError::internal("explaining a key", error))
}

pub(super) async fn clear(
    State(app): State<App>,
    _: Admin,
    Query(Clear { pattern }): Query<Clear>,
) -> Result<Json<Value>, ApiError> {
    let cleared = match pattern {
        None => app.cache().clear().await,
        Some(pattern) => {
            let pattern =
                CachePattern::parse(&pattern).map_err(|error| ApiError::bad_request(error.to_string()))?;
            app.cache().clear_pattern(pattern).await
        }
    };
    let cleared = cleared.map_err(|error| ApiError::internal("clearing the cache", error))?;
    Ok(Json(json!({ "cleared": cleared.removed() })))
}
