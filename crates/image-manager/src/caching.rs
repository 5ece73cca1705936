//! Every use of the cache by the application: reads through it, and changes that it hears of before they happen.

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

/// A value that was asked of the cache, and how it came.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) value: T,
    pub(crate) headers: CacheHeaders,
}

/// The headers that tell where an answer came from: `X-Cache`, `X-Cache-Backend` and `Server-Timing`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheHeaders {
    source: Source,
    backend: BackendKind,
    took: Duration,
}

/// Proof that the cache knows what a write is about to make stale: [`App::change`] gives it, the database asks for it.
#[derive(Debug)]
pub(crate) struct Announced(());

/// A project was made, or other people are its members. Nobody's answer depends on it but for the listings.
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
    /// The value of `key`, loaded unless it is cached.
    ///
    /// `load` must read what is committed now, whoever asks: its result goes to all who wait for it. Authorisation comes
    /// before this call.
    pub(crate) async fn cached<T, F, Fut>(&self, key: CacheKey, load: F) -> Result<Answered<T>, ApiError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let started = Instant::now();
        answered(started, self.cache().get_or_load_with(&key, LoadOptions::new(), load).await)
    }

    /// As [`cached`](Self::cached), for bytes that are stored as they are.
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

    /// Commits a change of the database, and answers once nothing that it makes stale can be read any more.
    ///
    /// # Errors
    /// What `commit` refused. Should the cache not have heard of a change that is committed, internal: its next start, or
    /// doing it again, makes up for it.
    ///
    /// # Cancellation
    /// Once polled, it runs to its end: a client that goes away leaves nothing half done.
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
            Err(ChangeError::NotBegun(cause)) => Err(ApiError::internal("a change", cause)),
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
    /// The headers of an answer that never comes from the cache.
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
            // The name of a backend of one's own may be no header; then it is left out.
            if let Ok(value) = HeaderValue::try_from(value) {
                parts.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
impl Announced {
    /// For tests of the database alone.
    pub(crate) fn for_tests() -> Self {
        Self(())
    }
}
