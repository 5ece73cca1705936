//! The routes, one file a resource.

mod analyses;
mod cache;
mod content;
mod health;
mod images;
mod listing;
mod page;
mod projects;
mod thumbnails;

use axum::Router;
use axum::routing::{delete, get, post, put};

use crate::app::App;

/// Returns the routes whose body may be as long as a picture.
pub(crate) fn uploads() -> Router<App> {
    Router::new()
        .route("/api/projects/{id}/images", get(listing::list).post(images::upload))
        .route("/api/images/{id}/file", put(images::replace))
}

/// Returns all other routes.
pub(crate) fn others() -> Router<App> {
    Router::new()
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .route("/api/projects", get(projects::list).post(projects::create))
        .route("/api/projects/{id}", get(projects::view).delete(projects::remove))
        .route("/api/projects/{id}/members", put(projects::set_members))
        .route("/api/images/{id}", get(images::view).delete(images::remove))
        .route("/api/images/{id}/content", get(content::download))
        .route("/api/images/{id}/metadata", put(images::set_metadata))
        .route("/api/images/{id}/restore", post(images::restore))
        .route("/api/images/{id}/thumbnail", get(thumbnails::view))
        .route("/api/images/{id}/analyses", get(analyses::list).post(analyses::create))
        .route("/api/analyses/{id}/results", get(analyses::results))
        .route("/api/cache", delete(cache::clear))
        .route("/api/cache/stats", get(cache::stats))
        .route("/api/cache/entry", get(cache::entry))
        .route("/api/cache/health", get(health::health))
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
}
