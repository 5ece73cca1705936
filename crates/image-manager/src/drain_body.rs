//! Refusing a request with a body so that its client learns why.
//!
//! Most clients send their whole body before they read an answer. A server that answers early and closes the connection,
//! as hyper does when a body was not read, makes them report a broken connection instead of the refusal, or at their next
//! request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;

/// Most of a refused body that is read, and for how long: a favour with an end.
const LONGEST_BYTES: u64 = 256 * 1024 * 1024;
const LONGEST_TIME: Duration = Duration::from_secs(10);

/// Reads on, and throws away, what the client of a refused request still sends.
pub(crate) async fn hear_out(request: Request, next: Next) -> Response {
    // A client that announced `Expect` waits for leave to send, which reading would give.
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body.into_data_stream().fuse()));
    let lent = Body::from_stream(chunks(Arc::clone(&body)));
    let response = next.run(Request::from_parts(parts, lent)).await;
    if response.status().is_client_error() {
        let rest = discard(chunks(body));
        // A client that takes longer finds the connection closed.
        let _ = tokio::time::timeout(LONGEST_TIME, rest).await;
    }
    response
}

/// What is left of a stream that has several readers, one after the other.
fn chunks<S: Stream + Unpin>(stream: Arc<Mutex<S>>) -> impl Stream<Item = S::Item> {
    stream::poll_fn(move |context| stream.lock().poll_next_unpin(context))
}

async fn discard(chunks: impl Stream<Item = Result<bytes::Bytes, axum::Error>>) {
    let mut chunks = std::pin::pin!(chunks);
    let mut heard = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        heard += chunk.len() as u64;
        if heard > LONGEST_BYTES {
            break;
        }
    }
}
