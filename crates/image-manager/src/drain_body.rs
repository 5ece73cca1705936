//! Answers a refused request only after its body was read, so that the client learns the reason.
//!
//! Most clients send their whole body before they read an answer. A server that answers early and closes the connection,
//! as hyper does when a body was not read, makes them report a broken connection instead of the refusal, or at their next
//! request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;

/// Most of a refused body that is read.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Longest time for it; a client that takes longer finds the connection closed.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Reads and discards the rest of a refused request's body before the refusal is sent.
pub(crate) async fn drain_refused(request: Request, next: Next) -> Response {
    if !is_sent_unasked(request.headers(), request.body()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body.into_data_stream().fuse()));
    let lent = Body::from_stream(chunks(Arc::clone(&body)));
    let response = next.run(Request::from_parts(parts, lent)).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        discard(chunks(body), MAX_TIME).await;
    }
    response
}

/// Reads and discards a request's body, for `time` at most.
pub(crate) async fn drain(request: Request, time: Duration) {
    if is_sent_unasked(request.headers(), request.body()) {
        discard(request.into_body().into_data_stream(), time).await;
    }
}

/// Returns whether the client sends a body without waiting for a permission. A client that announced `Expect` waits, and
/// reading would give it.
fn is_sent_unasked(headers: &HeaderMap, body: &Body) -> bool {
    !body.is_end_stream() && !headers.contains_key(EXPECT)
}

/// Returns the rest of a stream that has several readers, one after the other.
fn chunks<S: Stream + Unpin>(stream: Arc<Mutex<S>>) -> impl Stream<Item = S::Item> {
    stream::poll_fn(move |context| stream.lock().poll_next_unpin(context))
}

async fn discard(chunks: impl Stream<Item = Result<bytes::Bytes, axum::Error>>, time: Duration) {
    let mut chunks = std::pin::pin!(chunks);
    let mut discarded = 0;
    let all = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            discarded += chunk.len() as u64;
            if discarded > MAX_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(time, all).await;
}
