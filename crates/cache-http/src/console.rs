//! [`Console`]: a router with a page and a JSON API that show what a cache does.

mod access;
mod answer;
mod clear;
mod doctor;
mod files;
mod history;
mod key;
mod live;
mod overview;
mod reading;
mod sampler;
mod story;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::request::Parts;
use axum::middleware::map_response;
use axum::routing::{any, get, post};
use cache_facade::Cache;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, pending};
use tokio::sync::Mutex;

use self::access::Guard;
use self::answer::{method_not_allowed, protect, unknown_route};
use self::sampler::Sampler;

/// Creates the console of `cache`. Mount it behind a guard of the application: every viewer that reaches it sees keys and figures.
///
/// A console is a page and a JSON API: hit ratios, families, a timeline, invalidations as they happen, the state of one key,
/// and the checks of the doctor. docs/http.md describes the API. The page is compiled in and loads nothing from other hosts.
///
/// ```
/// use axum::Router;
/// use axum::extract::Request;
/// use axum::http::StatusCode;
/// use axum::middleware::{Next, from_fn};
/// use axum::response::Response;
///
/// async fn operators_only(request: Request, next: Next) -> Result<Response, StatusCode> {
///     // The application's own check.
///     if request.headers().contains_key("x-operator") { Ok(next.run(request).await) } else { Err(StatusCode::UNAUTHORIZED) }
/// }
///
/// let cache = cache_facade::Cache::memory();
/// let console = cache_http::console(cache.clone()).into_router();
/// let app: Router = Router::new().nest("/cache", console.layer(from_fn(operators_only)));
/// ```
///
/// Without [`allow_changes`](Console::allow_changes) nothing can be cleared, and the page has no buttons for it.
///
/// # Cost
/// While a page is open, the statistics of the cache are read once a second, which costs the same whatever the number of
/// entries. Otherwise nothing runs.
pub fn console(cache: Cache) -> Console {
    Console { cache, guard: None, shutdown: pending().boxed() }
}

/// A console that is being set up; made by [`console`].
#[must_use]
pub struct Console {
    cache: Cache,
    guard: Option<Guard>,
    shutdown: BoxFuture<'static, ()>,
}

impl Console {
    /// Lets a viewer clear entries if `guard` says so of the parts of the request, such as an extension that the
    /// application's authentication has added. A guard that panics says no. Default: no viewer may.
    ///
    /// Each such request must also come from the console's own page: it is refused unless `Sec-Fetch-Site` or `Origin` say that
    /// it has the same origin.
    pub fn allow_changes(self, guard: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { guard: Some(Arc::new(guard)), ..self }
    }

    /// Ends the connections of open pages once `shutdown` completes: a server that stops gracefully would wait for them.
    /// Default: never.
    pub fn shutdown(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { shutdown: shutdown.boxed(), ..self }
    }

    /// Converts this into a router, to be nested at a path of the application's choice.
    pub fn into_router(self) -> Router {
        let Self { cache, guard, shutdown } = self;
        let sampler = Arc::new(Sampler::new(cache.clone()));
        let one_at_a_time = Arc::new(Mutex::default());
        let state = ConsoleState { cache, guard, sampler, shutdown: shutdown.shared(), one_at_a_time };
        Router::new()
            .route("/", get(files::index))
            .route("/index.html", get(files::page))
            .route("/page/{file}", get(files::file))
            .route("/api/v1/overview", get(overview::overview))
            .route("/api/v1/families", get(overview::families))
            .route("/api/v1/timeline", get(overview::timeline))
            .route("/api/v1/live", get(live::live))
            .route("/api/v1/key", get(key::explain))
            .route("/api/v1/clear", post(clear::clear))
            .route("/api/v1/clear/dry-run", post(clear::dry_run))
            .route("/api/v1/doctor", get(doctor::diagnose))
            .route("/api/{*rest}", any(unknown_route))
            .method_not_allowed_fallback(method_not_allowed)
            .layer(map_response(protect))
            .with_state(state)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("cache", &self.cache)
            .field("allows_changes", &self.guard.is_some())
            .finish_non_exhaustive()
    }
}

/// State that all routes share.
#[derive(Clone)]
struct ConsoleState {
    cache: Cache,
    guard: Option<Guard>,
    sampler: Arc<Sampler>,
    shutdown: Shared<BoxFuture<'static, ()>>,
    /// Taken by requests that cost more than a read of figures: dry runs and the doctor.
    one_at_a_time: Arc<Mutex<()>>,
}
