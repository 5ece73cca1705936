//! Readers, changes and clients that go away, on several threads: no response is older than the last change before its request.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cache_facade::{Cache, CacheGroup};
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, ServiceExt, service_fn};

const READERS: u64 = 8;
const READS: u64 = 300;

type TestBody = UnsyncBoxBody<Bytes, Infallible>;

/// A body that says its version three times, at once or bit by bit.
fn body(version: u64, is_streamed: bool) -> TestBody {
    let text = format!("{version}|");
    if !is_streamed {
        return Full::from(text.repeat(3)).boxed_unsync();
    }
    let parts = stream::iter([text.clone(), text.clone(), text]).then(async |text| {
        tokio::task::yield_now().await;
        Ok(Frame::data(Bytes::from(text)))
    });
    StreamBody::new(parts.boxed()).boxed_unsync()
}

// Law: a page that is invalidated while its handler runs is not stored as fresh; a client that goes away leaves no half value.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_response_is_older_than_the_last_change_before_its_request() {
    let (version, calls, cache) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Cache::memory());
    // The version of the last change that has returned: that of one that runs may be read already, or not yet.
    let changed = Arc::new(AtomicU64::new(0));
    let (read, counted) = (Arc::clone(&version), Arc::clone(&calls));
    let handler = service_fn(move |_: Request<Empty<Bytes>>| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        let version = read.load(Ordering::SeqCst);
        async move {
            for _ in 0..call % 7 {
                tokio::task::yield_now().await;
            }
            // Some vary, so that the route has pages with an index and others without.
            let response = Response::builder().status(if call % 31 == 30 { 500 } else { 200 });
            let response = if call % 11 == 10 { response.header("set-cookie", "a=b") } else { response };
            let response = if call > 500 { response.header("vary", "accept") } else { response };
            Ok::<_, Infallible>(response.body(body(version, call % 3 == 0)).unwrap())
        }
    });
    let layer = cache_http::layer(&cache).family("page").unwrap().by_path_and_query().max_body(64);
    let service = layer.layer(ConcurrencyLimitLayer::new(3).layer(handler));

    let readers = (0..READERS).map(|reader| {
        let (service, version, cache) = (service.clone(), Arc::clone(&version), cache.clone());
        let changed = Arc::clone(&changed);
        tokio::spawn(async move {
            for read in 0..READS {
                let number = reader * READS + read;
                if number.is_multiple_of(20) {
                    let version = Arc::clone(&version);
                    let change = cache.change(CacheGroup::new("page", "/a"), async move || {
                        Ok::<_, Infallible>(version.fetch_add(1, Ordering::SeqCst) + 1)
                    });
                    changed.fetch_max(change.await.unwrap().into_value(), Ordering::SeqCst);
                }
                let least = changed.load(Ordering::SeqCst);
                let request = Request::builder().uri("/a").body(Empty::new()).unwrap();
                let answer = service.clone().oneshot(request);
                if number.is_multiple_of(9) {
                    // This client goes away: before the response, or in the middle of its body.
                    let mut answer = Box::pin(answer);
                    tokio::select! {
                        response = &mut answer => drop(response.unwrap().into_body().frame().await),
                        () = tokio::task::yield_now() => {}
                    }
                    continue;
                }
                let body =
                    answer.await.unwrap().into_body().collect().await.expect("a whole body").to_bytes();
                let text = std::str::from_utf8(&body).unwrap();
                let versions: Vec<u64> =
                    text.split_terminator('|').map(|version| version.parse().unwrap()).collect();
                assert_eq!(versions.len(), 3, "half a response: {text}");
                assert!(
                    versions.iter().all(|found| found == versions.first().unwrap() && *found >= least),
                    "{text} < {least}"
                );
            }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.unwrap();
    }
    assert!(calls.load(Ordering::SeqCst) < READERS * READS, "some are answered from the cache");
}
