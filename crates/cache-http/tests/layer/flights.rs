//! Single flight: one call of the handler for all that miss a page, which none of them can end for the others.

use std::sync::Arc;
use std::time::Duration;

use cache_facade::Cache;
use futures_util::future::join_all;
use tokio::sync::{Barrier, Semaphore};

use crate::support::{Site, get, let_others_run, pages, response};

/// A handler that responds once the test has given it a permit.
fn gated(
    cache: &Cache,
    status: u16,
    fields: &'static [(&'static str, &'static str)],
) -> (Site, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let site = Site::slow(&pages(cache), move |_, call| {
        let opened = Arc::clone(&opened);
        Box::pin(async move {
            opened.acquire().await.unwrap().forget();
            response(status, fields, format!("call {call}"))
        })
    });
    (site, gate)
}

/// Starts requests, which wait for the handler.
async fn waiting(site: &Site, number: usize) -> Vec<tokio::task::JoinHandle<crate::support::Reply>> {
    let requests = (0..number).map(|_| {
        let site = site.clone();
        tokio::spawn(async move { site.get("/a").await })
    });
    let requests = requests.collect();
    let_others_run().await;
    requests
}

// Law: single flight by the cache's tokens; Law: `Cache-Status` says collapsed.
#[tokio::test]
async fn one_call_answers_all_that_wait_for_the_page() {
    let (site, gate) = gated(&Cache::memory(), 200, &[]);
    let requests = waiting(&site, 10).await;
    gate.add_permits(1);
    let replies = join_all(requests).await;
    let statuses: Vec<&str> = replies.iter().map(|reply| reply.as_ref().unwrap().cache_status()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == "fwd=miss; stored").count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == "fwd=miss; collapsed").count(), 9);
    assert!(replies.iter().all(|reply| reply.as_ref().unwrap().text() == "call 0"));
    assert_eq!(site.calls(), 1);
}

// Law: a client that goes away ends nobody else's answer.
#[tokio::test]
async fn a_client_that_goes_away_ends_no_other_answer() {
    let (site, gate) = gated(&Cache::memory(), 200, &[]);
    let mut requests = waiting(&site, 5).await;
    let first = requests.remove(0);
    first.abort();
    assert!(first.await.is_err());
    gate.add_permits(1);
    for reply in join_all(requests).await {
        assert_eq!(reply.unwrap().text(), "call 0");
    }
    assert!(site.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_client_that_goes_away_alone_leaves_a_whole_response() {
    let (site, gate) = gated(&Cache::memory(), 200, &[]);
    for request in waiting(&site, 1).await {
        request.abort();
    }
    gate.add_permits(1);
    let_others_run().await;
    assert_eq!(site.get("/a").await.text(), "call 0");
    assert_eq!(site.calls(), 1);
}

// What turns out not to be storable is passed to its caller untouched, and those that waited call the handler themselves.
#[tokio::test]
async fn those_that_waited_for_what_is_not_stored_call_the_handler_themselves() {
    for (status, fields) in [
        (200, &[("set-cookie", "a=b")][..]),
        (200, &[("cache-control", "private")]),
        (403, &[]),
        (500, &[]),
        (503, &[]),
    ] {
        let (site, gate) = gated(&Cache::memory(), status, fields);
        let requests = waiting(&site, 5).await;
        assert_eq!(site.calls(), 1);
        gate.add_permits(1);
        let_others_run().await;
        assert_eq!(site.calls(), 5, "{status} {fields:?}");
        gate.add_permits(4);
        let mut texts: Vec<_> =
            join_all(requests).await.into_iter().map(|reply| reply.unwrap().text().to_owned()).collect();
        texts.sort();
        assert_eq!(texts, ["call 0", "call 1", "call 2", "call 3", "call 4"]);
    }
}

// A page that is never stored is not answered one request at a time.
#[tokio::test]
async fn requests_for_a_page_that_was_not_stored_do_not_wait_for_each_other() {
    const AT_ONCE: usize = 4;
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    let site = Site::slow(&pages(&Cache::memory()), move |_, call| {
        let barrier = Arc::clone(&barrier);
        Box::pin(async move {
            if call > 0 {
                barrier.wait().await;
            }
            response(200, &[("cache-control", "no-store")], "")
        })
    });
    site.get("/a").await;
    join_all((0..AT_ONCE).map(|_| site.get("/a"))).await;
}

// The first response that could be stored ends that: a client cannot keep a page from being stored for others.
#[tokio::test]
async fn a_page_that_can_be_stored_is_stored_the_next_time() {
    let site = Site::new(&pages(&Cache::memory()), |request, call| {
        let fields: &[_] = if request.headers.contains_key("x-bad") { &[("set-cookie", "a=b")] } else { &[] };
        response(200, fields, format!("call {call}"))
    });
    site.send(get("/a").header("x-bad", "1")).await;
    assert_eq!(site.get("/a").await.cache_status(), "fwd=miss");
    assert_eq!(site.get("/a").await.cache_status(), "fwd=miss; stored");
    assert!(site.send(get("/a").header("x-bad", "1")).await.is_hit());
}

// Requests that wait for the first response of a route, which shows that there are variants, share the calls of these.
#[tokio::test]
async fn variants_are_loaded_once_each_from_the_first_response_on() {
    let (site, gate) = gated(&Cache::memory(), 200, &[("vary", "accept")]);
    let requests = waiting(&site, 5).await;
    gate.add_permits(10);
    join_all(requests).await;
    assert_eq!(site.calls(), 2, "one that is not stored, and one for the four others");
}

// A slow client holds up neither the load nor the others.
#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up() {
    let site = Site::new(&pages(&Cache::memory()), |_, _| {
        let stream = futures_util::stream::unfold(0, async |part| {
            tokio::task::yield_now().await;
            let frame = http_body::Frame::data(bytes::Bytes::from(vec![b'x'; 1000]));
            (part < 100).then_some((Ok::<_, std::io::Error>(frame), part + 1))
        });
        let body = http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(Box::pin(stream)));
        response(200, &[], "").map(|_| body)
    });
    let slow = site.open(get("/a")).await;
    let others = join_all((0..5).map(|_| site.get("/a"))).await;
    assert!(others.iter().all(|reply| reply.body.len() == 100_000));
    assert_eq!(crate::support::Reply::read(slow).await.body.len(), 100_000);
    assert_eq!(site.calls(), 1);
}

// The handler's panic goes on in its caller, as without the layer; the others call the handler themselves.
#[tokio::test]
async fn a_panic_of_the_handler_reaches_its_caller_alone() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let site = Site::slow(&pages(&Cache::memory()), move |_, call| {
        let opened = Arc::clone(&opened);
        Box::pin(async move {
            opened.acquire().await.unwrap().forget();
            assert!(call > 0, "a bug in the handler");
            response(200, &[], format!("call {call}"))
        })
    });
    let requests = waiting(&site, 3).await;
    gate.add_permits(10);
    let replies = join_all(requests).await;
    let panics: Vec<_> = replies.iter().filter_map(|reply| reply.as_ref().err()).collect();
    assert!(panics.len() == 1 && panics[0].is_panic());
    assert_eq!(site.get("/a").await.status, 200);
}

// A handler that asks for its own page is answered by itself, and does not wait for ever.
#[tokio::test]
async fn a_handler_that_requests_its_own_page_does_not_wait_for_itself() {
    let itself: Arc<std::sync::OnceLock<Site>> = Arc::default();
    let inner = Arc::clone(&itself);
    let site = Site::slow(&pages(&Cache::memory()), move |_, call| {
        let inner = Arc::clone(&inner);
        Box::pin(async move {
            if call > 0 {
                return response(200, &[], "inner");
            }
            let reply = inner.get().unwrap().get("/a").await;
            response(200, &[], format!("outer of {}", reply.text()))
        })
    });
    itself.set(site.clone()).ok();
    let reply = tokio::time::timeout(Duration::from_secs(20), site.get("/a")).await.expect("it is answered");
    assert_eq!(reply.text(), "outer of inner");
}
