//! Bodies: streamed while they are kept, or passed through.

use std::io::Error;
use std::time::Duration;

use bytes::Bytes;
use cache_facade::Cache;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use crate::support::{Reply, Site, TestBody, get, let_others_run, pages, response};

type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, Error>>;

/// A body whose frames are sent by the test.
fn sent() -> (Frames, TestBody) {
    let (frames, received) = mpsc::unbounded_channel();
    let stream = stream::unfold(received, async |mut received| Some((received.recv().await?, received)));
    (frames, StreamBody::new(stream.boxed()).boxed_unsync())
}

#[expect(clippy::unnecessary_wraps, reason = "an item of a stream of frames")]
fn data(text: &'static str) -> Result<Frame<Bytes>, Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// A body of these frames, which come one by one.
fn framed(frames: Vec<Result<Frame<Bytes>, Error>>) -> TestBody {
    let stream = stream::iter(frames).then(async |frame| {
        tokio::task::yield_now().await;
        frame
    });
    StreamBody::new(stream.boxed()).boxed_unsync()
}

/// A handler that gives out bodies one after the other, with the means to send their frames.
fn streams(
    layer: &cache_http::CacheLayer,
    fields: &'static [(&'static str, &'static str)],
) -> (Site, mpsc::UnboundedReceiver<Frames>) {
    let (give, given) = mpsc::unbounded_channel();
    let site = Site::new(layer, move |_, _| {
        let (frames, body) = sent();
        give.send(frames).unwrap();
        response(200, fields, "").map(|_| body)
    });
    (site, given)
}

async fn next_data<B: Body<Data = Bytes> + Unpin>(response: &mut Response<B>) -> Bytes
where
    B::Error: std::fmt::Debug,
{
    response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap()
}

// Law: streamed to the first caller while it is kept.
#[tokio::test]
async fn the_first_caller_gets_each_part_as_it_comes_and_then_it_is_stored() {
    let (site, mut given) = streams(&pages(&Cache::memory()), &[]);
    let opening = site.open(get("/a"));
    let (mut response, frames) = tokio::join!(opening, given.recv());
    let frames = frames.unwrap();
    for text in ["one ", "two ", "three"] {
        assert!(response.body_mut().frame().now_or_never().is_none(), "nothing is there yet");
        frames.send(data(text)).unwrap();
        assert_eq!(next_data(&mut response).await, text);
    }
    drop(frames);
    assert!(response.body_mut().frame().await.is_none());
    let reply = site.get("/a").await;
    assert_eq!((reply.text(), site.calls()), ("one two three", 1));
    let_others_run().await;
    assert!(site.get("/a").await.is_hit());
    assert_eq!(reply.header("content-length"), "13");
}

// Law: kept up to `max_body`; over that it is passed through untouched.
#[tokio::test]
async fn a_body_over_the_limit_reaches_its_caller_whole_and_is_not_stored() {
    for (size, is_stored) in [(1000, true), (1001, false), (50_000, false)] {
        for frame in [size, 7] {
            let site = Site::new(&pages(&Cache::memory()).max_body(1000), move |_, _| {
                let chunks = vec![b'x'; size]
                    .chunks(frame)
                    .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
                    .collect();
                response(200, &[], "").map(|_| framed(chunks))
            });
            assert_eq!(site.get("/a").await.body, vec![b'x'; size]);
            assert_eq!(site.get("/a").await.body, vec![b'x'; size]);
            assert_eq!(site.calls() == 1, is_stored, "{size} bytes in frames of {frame}");
        }
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_read_at_all() {
    let site = Site::with(&pages(&Cache::memory()).max_body(3), 200, &[("content-length", "6")]);
    for call in 0..2 {
        let reply = site.get("/a").await;
        assert_eq!(reply.text(), format!("call {call}"));
    }
}

// Law: or of unknown kind such as `text/event-stream`, passed through untouched.
#[tokio::test]
async fn events_reach_their_client_as_they_come() {
    for kind in ["text/event-stream", "text/event-stream; charset=utf-8", "application/x-ndjson"] {
        let (give, mut given) = mpsc::unbounded_channel();
        let site = Site::new(&pages(&Cache::memory()), move |_, _| {
            let (frames, body) = sent();
            give.send(frames).unwrap();
            response(200, &[("content-type", kind)], "").map(|_| body)
        });
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut response = site.open(get("/a")).await;
            let frames = given.recv().await.unwrap();
            frames.send(data("data: 1\n\n")).unwrap();
            assert_eq!(next_data(&mut response).await, "data: 1\n\n");
            assert_eq!(response.headers()["content-type"], kind);
            clients.push((response, frames));
        }
        let (first, frames) = clients.remove(0);
        drop(first);
        let_others_run().await;
        assert!(frames.is_closed(), "the handler's body is dropped with the client's");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_in_time_goes_on_for_its_client_and_is_not_stored() {
    let (site, mut given) = streams(&pages(&Cache::memory()).body_timeout(Duration::from_secs(5)), &[]);
    let (mut first, frames) = tokio::join!(site.open(get("/a")), given.recv());
    let frames = frames.unwrap();
    frames.send(data("one")).unwrap();
    assert_eq!(next_data(&mut first).await, "one");
    // A second one waits for the body of the first, and calls the handler once its time is over.
    let (second, second_frames) = tokio::join!(site.open(get("/a")), given.recv());
    let second_frames = second_frames.unwrap();
    frames.send(data("two")).unwrap();
    assert_eq!(next_data(&mut first).await, "two");
    drop((frames, second_frames));
    assert_eq!(Reply::read(first).await.text(), "");
    assert_eq!(Reply::read(second).await.text(), "");
    assert_eq!(site.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_dropped_after_its_client() {
    let (site, mut given) = streams(&pages(&Cache::memory()), &[]);
    let (first, frames) = tokio::join!(site.open(get("/a")), given.recv());
    let frames = frames.unwrap();
    drop(first);
    frames.send(data("one")).unwrap();
    frames.closed().await;
}

// Trailers are passed through; a response that has them is not stored.
#[tokio::test]
async fn a_response_with_trailers_is_passed_through_with_them() {
    let trailers = || HeaderMap::from_iter([(http::header::WARNING, "1".parse().unwrap())]);
    let site = Site::new(&pages(&Cache::memory()), move |request, _| {
        let frames = vec![data("body"), Ok(Frame::trailers(trailers()))];
        let body = match request.uri.path() {
            "/slow" => framed(frames),
            _ => StreamBody::new(stream::iter(frames)).boxed_unsync(),
        };
        response(200, &[], "").map(|_| body)
    });
    for path in ["/slow", "/quick"] {
        for _ in 0..2 {
            let body = site.open(get(path)).await.into_body().collect().await.unwrap();
            assert_eq!(body.trailers(), Some(&trailers()));
            assert_eq!(body.to_bytes(), "body");
        }
    }
    assert_eq!(site.calls(), 4);
}

// A body that breaks off is no whole response: it ends with an error for its client too, and is not stored.
#[tokio::test]
async fn a_body_that_fails_fails_for_its_client_and_is_not_stored() {
    for path in ["/slow", "/quick"] {
        let site = Site::new(&pages(&Cache::memory()), |request, call| {
            let mut frames = vec![data("half")];
            if call == 0 {
                frames.push(Err(Error::other("broken")));
            }
            let body = match request.uri.path() {
                "/slow" => framed(frames),
                _ => StreamBody::new(stream::iter(frames)).boxed_unsync(),
            };
            response(200, &[], "").map(|_| body)
        });
        let mut response = site.open(get(path)).await;
        assert_eq!(next_data(&mut response).await, "half");
        let error = response.body_mut().frame().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "broken");
        assert!(response.body_mut().frame().await.is_none());
        let_others_run().await;
        assert_eq!(site.get(path).await.text(), "half");
        let_others_run().await;
        assert!(site.get(path).await.is_hit());
    }
}

// A body that panics ends with an error: a client must not take what came for all.
#[tokio::test]
async fn a_body_that_panics_fails_for_its_client() {
    let site = Site::new(&pages(&Cache::memory()), |_, call| {
        let stream = stream::iter([call; 3]).enumerate().then(async |(part, call)| {
            tokio::task::yield_now().await;
            assert!(call > 0 || part < 2, "a bug in the handler");
            data("part ")
        });
        response(200, &[], "").map(|_| StreamBody::new(stream.boxed()).boxed_unsync())
    });
    let body = site.open(get("/a")).await.into_body().collect().await;
    assert!(body.is_err());
    assert_eq!(site.get("/a").await.text(), "part part part ");
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_not_stored() {
    for length in ["5", "100", "nonsense"] {
        let site = Site::new(&pages(&Cache::memory()), move |request, _| {
            let body = match request.uri.path() {
                "/slow" => framed(vec![data("body")]),
                _ => StreamBody::new(stream::iter([data("body")])).boxed_unsync(),
            };
            response(200, &[("content-length", length)], "").map(|_| body)
        });
        for path in ["/slow", "/quick"] {
            let calls = site.calls();
            for _ in 0..2 {
                assert_eq!(site.get(path).await.text(), "body");
            }
            assert_eq!(site.calls(), calls + 2, "{length}");
        }
    }
}

#[tokio::test]
async fn the_length_of_a_streamed_body_stays_known() {
    struct Sized(TestBody);
    impl Body for Sized {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Error>>> {
            std::pin::Pin::new(&mut self.0).poll_frame(context)
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(8)
        }
    }
    let site = Site::new(&pages(&Cache::memory()), |_, _| {
        response(200, &[], "").map(|_| Sized(framed(vec![data("half"), data("half")])).boxed_unsync())
    });
    let mut response = site.open(get("/a")).await;
    assert_eq!(response.body().size_hint().exact(), Some(8));
    next_data(&mut response).await;
    assert_eq!(response.body().size_hint().exact(), Some(4));
}

// A handler that gives empty frames for ever does not hold the task.
#[tokio::test]
async fn a_body_of_endless_empty_frames_is_passed_through() {
    let site = Site::new(&pages(&Cache::memory()).max_body(10), |_, _| {
        let stream = stream::repeat(()).map(|()| data("")).boxed();
        response(200, &[], "").map(|_| StreamBody::new(stream).boxed_unsync())
    });
    let mut response = site.open(get("/a")).await;
    assert!(next_data(&mut response).await.is_empty());
}
