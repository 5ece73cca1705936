//! [`App`]: the state that all requests share, and the routes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{CACHE_CONTROL, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use cache_facade::Cache;
use cache_facade::log::limited;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::classify::ServerErrorsFailureClass;
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;

use crate::database::{Database, OpenError};
use crate::drain_body::drain_refused;
use crate::error::ApiError;
use crate::hosts::check_host;
use crate::originals::{Originals, make_directory};
use crate::pictures::Workshop;
use crate::settings::Settings;
use crate::slow::limit_body_time;
use crate::{metrics, routes};

/// Longest body of a request that carries no file.
const JSON_MAX_BYTES: usize = 256 * 1024;

/// Everything a request needs; a cheap handle.
#[derive(Debug, Clone)]
pub struct App {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    settings: Settings,
    database: Database,
    originals: Originals,
    workshop: Workshop,
    cache: Cache,
    is_stopping: watch::Sender<bool>,
}

/// Why the application could not be opened.
#[derive(Debug)]
pub enum StartError {
    /// The data directory cannot be made or written to.
    DataDirectory(io::Error, std::path::PathBuf),
    /// The database cannot be opened.
    Database(OpenError),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DataDirectory(error, path) => write!(
                f,
                "{} cannot be used: {error}; DATA_DIR must be a directory this user can write to",
                path.display()
            ),
            Self::Database(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DataDirectory(error, _) => Some(error),
            Self::Database(error) => Some(error),
        }
    }
}

impl App {
    /// Opens the data directory, made if need be. Blocks for the time of a few file operations.
    ///
    /// # Errors
    /// [`StartError`] says which directory or file cannot be used.
    pub fn open(settings: Settings, cache: Cache) -> Result<Self, StartError> {
        let directory = &settings.data_directory;
        let unusable = |error| StartError::DataDirectory(error, directory.clone());
        make_directory(directory).map_err(unusable)?;
        let originals = Originals::open(directory).map_err(unusable)?;
        let database = Database::open(&directory.join(DATABASE_FILE)).map_err(StartError::Database)?;
        let decode_memory_bytes = settings.decode_memory_bytes;
        let parts = Parts {
            settings,
            database,
            originals,
            workshop: Workshop::new(decode_memory_bytes),
            cache,
            is_stopping: watch::Sender::new(false),
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// The whole HTTP interface.
    pub fn router(&self) -> Router {
        let pictures = usize::try_from(self.settings().max_upload_bytes).unwrap_or(usize::MAX);
        let uploads =
            routes::uploads(self).layer(DefaultBodyLimit::max(pictures.saturating_add(JSON_MAX_BYTES)));
        let others = routes::others(self).layer(DefaultBodyLimit::max(JSON_MAX_BYTES));
        let console = if self.settings().console { routes::console(self) } else { Router::new() };
        uploads
            .merge(others)
            .merge(console)
            .fallback(async || ApiError::not_found("route"))
            .method_not_allowed_fallback(async || {
                ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "see the header Allow")
            })
            // The local user needs no secret, so that any web page could otherwise make its visitor's browser write here.
            .layer(CsrfLayer::new().with_rejection_response(|_: ProtectionError| {
                ApiError::forbidden("a web page of another site may not do this").into_response()
            }))
            .layer(from_fn_with_state(self.clone(), check_host))
            .layer(CatchPanicLayer::custom(|_| answer_to_a_panic()))
            .layer(from_fn(drain_refused))
            .layer(from_fn_with_state(self.clone(), limit_body_time))
            .layer(from_fn(metrics::measure))
            .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, value("private, no-cache")))
            .layer(SetResponseHeaderLayer::if_not_present(VARY, value("X-User")))
            .layer(SetResponseHeaderLayer::if_not_present(X_CONTENT_TYPE_OPTIONS, value("nosniff")))
            .layer(TraceLayer::new_for_http().on_failure(log_failure))
            .with_state(self.clone())
    }

    /// Removes files that crashes left in the data directory; may run beside requests.
    pub async fn tidy(&self) {
        if let Err(error) = self.originals().sweep(self.database()).await {
            tracing::warn!(%error, "the data directory could not be tidied");
        }
    }

    /// Makes `/readyz` say that this instance is about to stop, and ends the connections of open consoles.
    pub(crate) fn begin_to_stop(&self) {
        self.parts.is_stopping.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.parts.is_stopping.borrow()
    }

    /// Waits until this instance is about to stop.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let mut is_stopping = self.parts.is_stopping.subscribe();
        // An error says that the application is gone.
        async move { drop(is_stopping.wait_for(|is_stopping| *is_stopping).await) }
    }

    /// Returns the cache; close it once no request runs any more.
    pub fn cache(&self) -> &Cache {
        &self.parts.cache
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    pub(crate) fn database(&self) -> &Database {
        &self.parts.database
    }

    pub(crate) fn originals(&self) -> &Originals {
        &self.parts.originals
    }

    pub(crate) fn workshop(&self) -> &Workshop {
        &self.parts.workshop
    }
}

/// The database's name below the data directory.
pub(crate) const DATABASE_FILE: &str = "image-manager.sqlite3";

fn value(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

/// Logs an answer that broke off in the middle. An answer of 5xx is logged where its cause is known.
fn log_failure(failure: ServerErrorsFailureClass, _: Duration, _: &tracing::Span) {
    if let ServerErrorsFailureClass::Error(error) = failure {
        limited((), |suppressed| tracing::error!(error, suppressed, "an answer broke off"));
    }
}

fn answer_to_a_panic() -> Response {
    ApiError::internal("handling a request", "a panic").into_response()
}
