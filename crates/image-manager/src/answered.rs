//! Answers that are read through the cache, and headers that tell where they come from.

use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};
use cache_facade::{BackendKind, LoadError, Loaded, Source};

use crate::error::ApiError;

/// A value that was read through the cache, with the headers of its answer.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) value: T,
    pub(crate) headers: CacheHeaders,
}

/// Waits for a read through the cache.
///
/// Its loader must read the committed state, whichever user asks: its result goes to all callers that wait for it.
/// Authorisation comes before this call.
pub(crate) async fn answered<T>(
    read: impl IntoFuture<Output = Result<Loaded<T>, LoadError<ApiError>>>,
) -> Result<Answered<T>, ApiError> {
    let started = Instant::now();
    let Loaded { value, source, backend } = read.await?;
    Ok(Answered { value, headers: CacheHeaders { source, backend, took: started.elapsed() } })
}

/// Headers with the source of an answer: `X-Cache`, `X-Cache-Backend` and `Server-Timing`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheHeaders {
    source: Source,
    backend: BackendKind,
    took: Duration,
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
