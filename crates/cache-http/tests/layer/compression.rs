//! tower-http's compression, inside the layer and outside.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cache_facade::Cache;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;

use crate::support::{Reply, pages};

const TEXT: &str =
    "a text that is long enough to be compressed, again and again, again and again, again and again";

/// A handler that counts its calls.
fn handler(
    calls: &Arc<AtomicUsize>,
) -> impl Service<
    Request<Empty<Bytes>>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    let calls = Arc::clone(calls);
    service_fn(move |_| {
        calls.fetch_add(1, Ordering::SeqCst);
        async { Ok(Response::builder().header("content-type", "text/plain").body(Full::from(TEXT)).unwrap()) }
    })
}

async fn send<S, B>(service: &S, headers: &[(&str, &str)]) -> Reply
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let request = headers
        .iter()
        .fold(Request::builder().uri("/a"), |request, (name, value)| request.header(*name, *value));
    let Ok(response) = service.clone().oneshot(request.body(Empty::new()).unwrap()).await;
    Reply::read(response).await
}

const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip")];

// Law: the layer stands outside the compression: the compressed responses are stored, one for each encoding.
#[tokio::test]
async fn compressed_responses_are_stored_where_the_compression_is_inside() {
    let calls = Arc::default();
    let service = pages(&Cache::memory()).layer(CompressionLayer::new().layer(handler(&calls)));
    for _ in 0..2 {
        send(&service, GZIP).await;
        send(&service, &[]).await;
    }
    let before = calls.load(Ordering::SeqCst);
    let (gzip, plain) = (send(&service, GZIP).await, send(&service, &[]).await);
    assert!(gzip.is_hit() && plain.is_hit());
    assert_eq!(calls.load(Ordering::SeqCst), before);
    assert_eq!((gzip.header("content-encoding"), gzip.header("vary")), ("gzip", "accept-encoding"));
    assert!(
        gzip.body.starts_with(&[0x1f, 0x8b]) && gzip.header("content-length") == gzip.body.len().to_string()
    );
    assert_eq!((plain.header("content-encoding"), plain.text()), ("", TEXT));
    let condition = ("if-none-match", gzip.header("etag"));
    assert_eq!(send(&service, &[GZIP[0], condition]).await.status, 304);
    assert_eq!(send(&service, &[condition]).await.status, 200, "the tag of another encoding");
}

// Law: or inside: one plain response is stored, and compressed for each client.
#[tokio::test]
async fn one_plain_response_is_stored_where_the_compression_is_outside() {
    let calls = Arc::default();
    let service = CompressionLayer::new().layer(pages(&Cache::memory()).layer(handler(&calls)));
    for round in 0..2 {
        let gzip = send(&service, GZIP).await;
        assert_eq!(gzip.header("content-encoding"), "gzip");
        assert!(gzip.body.starts_with(&[0x1f, 0x8b]) && gzip.header("content-length").is_empty());
        assert_eq!(gzip.is_hit(), round == 1);
        let plain = send(&service, &[]).await;
        assert_eq!((plain.text(), plain.header("content-length")), (TEXT, &*TEXT.len().to_string()));
        // A weak tag is one for all encodings.
        assert_eq!(gzip.header("etag"), plain.header("etag"));
        let condition = ("if-none-match", gzip.header("etag"));
        let unchanged = send(&service, &[GZIP[0], condition]).await;
        assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
