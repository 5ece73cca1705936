//! `/cache`: the console of the cache, for `ADMIN_USERS`.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use crate::app::App;
use crate::extract::Admin;

/// Returns the console, which answers no other user.
pub(crate) fn console(app: &App) -> Router<App> {
    let console = cache_http::console(app.cache().clone())
        // All that reach it may clear the cache, as by `DELETE /api/cache`.
        .allow_changes(|_| true)
        .shutdown(app.stopping())
        .into_router()
        .layer(from_fn_with_state(app.clone(), admins_only));
    Router::new().nest("/cache", console.with_state(()))
}

async fn admins_only(_: Admin, request: Request, next: Next) -> Response {
    next.run(request).await
}
