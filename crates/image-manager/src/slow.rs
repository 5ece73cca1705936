//! A time-out for clients that send a request's body too slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;

use crate::app::App;
use crate::error::ApiError;

/// Bytes a second that a client must send on average, beside the time-out that it may spend at once.
const SLOWEST_RATE: u32 = 1024;

/// Answers 408 when a request's body stands still, or drips, for longer than `CLIENT_TIMEOUT_SECONDS`.
///
/// Only time that the handler waits for the client counts.
pub(crate) async fn limit_body_time(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_late = Arc::new(AtomicBool::new(false));
    let (parts, body) = request.into_parts();
    let body = in_time(body.into_data_stream(), app.settings().client_timeout, Arc::clone(&is_late));
    let response = next.run(Request::from_parts(parts, Body::from_stream(body))).await;
    if !is_late.load(Ordering::Relaxed) {
        return response;
    }
    let late =
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body of the request came too slowly");
    ([(CONNECTION, "close")], late).into_response()
}

/// Returns the chunks of `body` until the caller has waited for them for `budget` altogether; each chunk adds to what is
/// left of it.
fn in_time(
    body: impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + 'static,
    budget: Duration,
    is_late: Arc<AtomicBool>,
) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static {
    stream::unfold(Some((body, budget)), move |state| {
        let is_late = Arc::clone(&is_late);
        async move {
            let (mut body, left) = state?;
            let asked = Instant::now();
            match timeout(left, body.next()).await {
                Ok(Some(Ok(chunk))) => {
                    let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                    let earned = Duration::from_secs(1) * bytes / SLOWEST_RATE;
                    let left = left.saturating_sub(asked.elapsed()).saturating_add(earned).min(budget);
                    Some((Ok(chunk), Some((body, left))))
                }
                Ok(Some(Err(error))) => Some((Err(error), None)),
                Ok(None) => None,
                Err(_) => {
                    is_late.store(true, Ordering::Relaxed);
                    Some((Err(axum::Error::new("the client is too slow")), None))
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(chunks: Vec<(u64, usize)>) -> (usize, bool) {
        let chunks = stream::iter(chunks).then(async |(millis, bytes)| {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(Bytes::from(vec![0; bytes]))
        });
        let is_late = Arc::new(AtomicBool::new(false));
        let body = in_time(Box::pin(chunks), Duration::from_millis(200), Arc::clone(&is_late));
        let read: Vec<_> = body.collect().await;
        let bytes = read.iter().filter_map(|chunk| chunk.as_ref().ok()).map(Bytes::len).sum();
        (bytes, is_late.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_body_that_stands_still_or_drips_is_cut_off_and_a_steady_one_is_not() {
        assert_eq!(read(vec![(0, 10), (2_000, 10)]).await, (10, true));
        let (bytes, is_late) = read(vec![(20, 1); 100]).await;
        assert!(is_late && bytes < 20, "{bytes}");
        assert_eq!(read(vec![(20, 1024); 20]).await, (20 * 1024, false));
    }
}
