//! Every use of the cache by the application: reads through it, and changes that are announced to it before they are
//! committed.

use std::future::Future;
use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};
use bytes::Bytes;
use cache_facade::{
    BackendKind, CacheKey, ChangeError, Commit, Invalidates, Invalidation, LoadError, LoadOptions, Loaded,
    Source, images,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::app::App;
use crate::database::WriteError;
use crate::error::ApiError;

/// A value that was read through the cache, with the headers of its answer.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) value: T,
    pub(crate) headers: CacheHeaders,
}

/// Headers with the source of an answer: `X-Cache`, `X-Cache-Backend` and `Server-Timing`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheHeaders {
    source: Source,
    backend: BackendKind,
    took: Duration,
}

/// Proof that the cache knows the values that a write is about to make stale: [`App::change`] creates it, the database
/// requires it.
#[derive(Debug)]
pub(crate) struct Announced(());

/// A new project, or a change of a project's members. Of the cached answers only its listings depend on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProjectChange {
    pub(crate) project: Uuid,
}

impl Invalidates for ProjectChange {
    fn invalidations(&self) -> Vec<Invalidation> {
        vec![images::project_images_group(self.project).into()]
    }
}

impl App {
    /// Returns the value of `key`, loaded unless it is cached.
    ///
    /// `load` must read the committed state, whichever user asks: its result goes to all callers that wait for it.
    /// Authorisation comes before this call.
    pub(crate) async fn cached<T, F, Fut>(&self, key: CacheKey, load: F) -> Result<Answered<T>, ApiError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let started = Instant::now();
        answered(started, self.cache().get_or_load_with(&key, LoadOptions::new(), load).await)
    }

    /// Returns the bytes of `key` as [`cached`](Self::cached) does; they are stored without encoding.
    pub(crate) async fn cached_bytes<F, Fut>(
        &self,
        key: CacheKey,
        load: F,
    ) -> Result<Answered<Bytes>, ApiError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Bytes, ApiError>> + Send + 'static,
    {
        let started = Instant::now();
        answered(started, self.cache().get_or_load_bytes(&key, LoadOptions::new(), load).await)
    }

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
        match self.cache().change(what, commit).await {
            Ok(changed) => Ok(changed.into_value()),
            Err(ChangeError::NotBegun(cause)) => Err(ApiError::unavailable("a change", cause)),
            Err(ChangeError::Failed(error)) => Err(error),
            Err(ChangeError::Panicked(message)) => Err(ApiError::internal("a change", message)),
            Err(ChangeError::NotInvalidated { value: _, cause }) => {
                Err(ApiError::internal("telling the cache of a change that is committed", cause))
            }
        }
    }
}

fn answered<T>(
    started: Instant,
    loaded: Result<Loaded<T>, LoadError<ApiError>>,
) -> Result<Answered<T>, ApiError> {
    match loaded {
        Ok(Loaded { value, source, backend }) => {
            Ok(Answered { value, headers: CacheHeaders { source, backend, took: started.elapsed() } })
        }
        Err(LoadError::Failed(error)) => Err(ApiError::clone(&error)),
        Err(LoadError::Panicked(message)) => Err(ApiError::internal("a load", message)),
        Err(LoadError::Recursive) => Err(ApiError::internal("a load", "it asked for itself")),
    }
}

impl CacheHeaders {
    /// Returns the headers of an answer that never comes from the cache.
    pub(crate) fn bypass() -> Self {
        Self { source: Source::Bypassed, backend: BackendKind::Null, took: Duration::ZERO }
    }
}

impl IntoResponseParts for CacheHeaders {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        let Self { source, backend, took } = self;
        let milliseconds = took.as_secs_f64() * 1000.0;
        let timing = format!("cache;desc=\"{source} {backend}\";dur={milliseconds:.3}");
        for (name, value) in [
            ("x-cache", source.as_str().to_owned()),
            ("x-cache-backend", backend.to_string()),
            ("server-timing", timing),
        ] {
            // The name of a custom backend may not be a valid header value.
            if let Ok(value) = HeaderValue::try_from(value) {
                parts.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
impl Announced {
    /// Creates a proof for tests of the database alone.
    pub(crate) fn for_tests() -> Self {
        Self(())
    }
}
