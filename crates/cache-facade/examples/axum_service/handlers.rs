//! Handlers over users and posts, with an error type of their own: two read through the cache, two write through it.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, http::StatusCode, routing::get};
use cache_facade::{Cache, ChangeError, Family, LoadError};

use crate::database::{Database, DbError};

#[derive(Clone)]
pub(crate) struct App {
    db: Database,
    cache: Cache,
    names: Family<u32, String>,
    posts: Family<(u32, u32), Vec<String>>,
}

pub(crate) fn app(db: Database, cache: Cache) -> cache_facade::Result<Router> {
    let (names, posts) = (cache.family("user")?, cache.family("posts_by")?);
    let routes = Router::new().route("/users/{id}", get(view_user).put(rename));
    let routes = routes.route("/users/{id}/posts", get(first_page).post(publish));
    Ok(routes.with_state(App { db, cache, names, posts }))
}

async fn view_user(State(app): State<App>, Path(id): Path<u32>) -> Result<String, AppError> {
    // Permissions are checked here, before the cache: entries are the same for all callers.
    Ok(app.names.get_or_load(id, async move || app.db.name(id).await).await?)
}

async fn first_page(State(app): State<App>, Path(id): Path<u32>) -> Result<Json<Vec<String>>, AppError> {
    Ok(Json(app.posts.get_or_load((id, 0), async move || app.db.posts(id).await).await?))
}

async fn rename(State(app): State<App>, Path(id): Path<u32>, name: String) -> Result<(), AppError> {
    // From here on the change completes also if the client goes away.
    app.cache.change(app.names.at(id), async move || app.db.rename(id, name).await).await?;
    Ok(())
}

async fn publish(State(app): State<App>, Path(id): Path<u32>, post: String) -> Result<(), AppError> {
    app.cache.change(app.posts.at(id), async move || app.db.publish(id, post).await).await?;
    Ok(())
}

pub(crate) struct AppError(StatusCode, String);

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<&DbError> for AppError {
    fn from(error: &DbError) -> Self {
        let status = match error {
            DbError::NoSuchUser(_) => StatusCode::NOT_FOUND,
            DbError::Sql(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<LoadError<DbError>> for AppError {
    fn from(error: LoadError<DbError>) -> Self {
        error.loader_error().map_or(Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()), Self::from)
    }
}

impl From<ChangeError<DbError>> for AppError {
    fn from(error: ChangeError<DbError>) -> Self {
        error.commit_error().map_or(Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()), Self::from)
    }
}
