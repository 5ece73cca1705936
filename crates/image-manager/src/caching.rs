//! Every use of the cache by the application: a layer that answers requests from it, and changes that are announced to it
//! before they are committed.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::MethodRouter;
use cache_facade::{BackendKind, CacheKey, Commit, Invalidates};

use crate::app::App;
use crate::database::WriteError;
use crate::error::ApiError;

/// Answers requests from the cache, at the key that the authorisation outside has left in their extensions; the others are
/// passed on.
///
/// What is at a key is the same for all users, of whom the key tells nothing. A handler must read the committed state: its
/// response goes to all that wait for it.
pub(crate) fn cached(app: &App, route: MethodRouter<App>) -> MethodRouter<App> {
    let layer = cache_http::layer(app.cache())
        .key(|request| request.extensions.get::<CacheKey>().cloned())
        .public()
        .statuses([StatusCode::OK])
        // The handlers have the whole body in memory.
        .max_body(usize::MAX);
    route.route_layer(layer).route_layer(from_fn(timed))
}

/// Adds `Server-Timing` with the backend that has answered and the time that this took.
async fn timed(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let mut response = next.run(request).await;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    let backend = response.extensions().get().copied().unwrap_or(BackendKind::Null);
    // The name of a custom backend may not be a valid header value.
    if let Ok(value) = HeaderValue::try_from(format!("cache;desc=\"{backend}\";dur={milliseconds:.3}")) {
        response.headers_mut().insert(HeaderName::from_static("server-timing"), value);
    }
    response
}

/// Proof that the cache knows the values that a write is about to make stale: [`App::change`] creates it, the database
/// requires it.
#[derive(Debug)]
pub(crate) struct Announced(());

impl App {
    /// Commits a change of the database, and returns once no value that it makes stale can be read any more.
    ///
    /// # Errors
    /// The error of `commit`. 503 when the cache could not note the change, which is not committed then. Internal when the
    /// cache could not invalidate after the commit: its next start, or the same change again, does.
    ///
    /// # Cancellation
    /// Once polled, the change runs to its end.
    pub(crate) async fn change<T, F, Fut>(&self, what: impl Invalidates, commit: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(Announced) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, WriteError>> + Send + 'static,
    {
        let commit = async move || match commit(Announced(())).await {
            Ok(value) => Commit::Done(value),
            Err(WriteError::RolledBack(error)) => Commit::RolledBack(error),
            Err(WriteError::Unknown(error)) => Commit::InDoubt(error),
        };
        Ok(self.cache().change(what, commit).await?.into_value())
    }
}

#[cfg(test)]
impl Announced {
    /// Creates a proof for tests of the database alone.
    pub(crate) fn for_tests() -> Self {
        Self(())
    }
}
