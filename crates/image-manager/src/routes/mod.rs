//! The routes, one file a resource.

mod analyses;
mod cache;
mod console;
mod content;
mod health;
mod images;
mod listing;
mod page;
mod projects;
mod thumbnails;

pub(crate) use console::console;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};

use crate::app::App;
use crate::caching::cached;

/// Returns the routes whose body may be as long as a picture.
pub(crate) fn uploads(app: &App) -> Router<App> {
    // Authorisation is outside the cache, which answers before what is inside.
    let listing =
        cached(app, get(listing::list)).route_layer(from_fn_with_state(app.clone(), listing::permit));
    Router::new()
        .route("/api/projects/{id}/images", listing.post(images::upload))
        .route("/api/images/{id}/file", put(images::replace))
}

/// Returns all other routes.
pub(crate) fn others(app: &App) -> Router<App> {
    let image = cached(app, get(images::view)).route_layer(from_fn_with_state(app.clone(), images::permit));
    let thumbnail =
        cached(app, get(thumbnails::view)).route_layer(from_fn_with_state(app.clone(), thumbnails::permit));
    let results =
        cached(app, get(analyses::results)).route_layer(from_fn_with_state(app.clone(), analyses::permit));
    Router::new()
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .route("/api/projects", get(projects::list).post(projects::create))
        .route("/api/projects/{id}", get(projects::view).delete(projects::remove))
        .route("/api/projects/{id}/members", put(projects::set_members))
        .route("/api/images/{id}", image.delete(images::remove))
        .route("/api/images/{id}/content", get(content::download))
        .route("/api/images/{id}/metadata", put(images::set_metadata))
        .route("/api/images/{id}/restore", post(images::restore))
        .route("/api/images/{id}/thumbnail", thumbnail)
        .route("/api/images/{id}/analyses", get(analyses::list).post(analyses::create))
        .route("/api/analyses/{id}/results", results)
        .route("/api/cache", delete(cache::clear))
        .route("/api/cache/stats", get(cache::stats))
        .route("/api/cache/entry", get(cache::entry))
        .route("/api/cache/health", get(health::health))
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
}
