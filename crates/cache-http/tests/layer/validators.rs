//! `ETag`, `If-None-Match`, `If-Modified-Since`, `Cache-Status` and `Age`.

use std::sync::Arc;
use std::time::Duration;

use cache_facade::{Cache, ManualClock};

use crate::support::{Site, get, pages, response};

const MONDAY: &str = "Mon, 30 Nov 2026 20:00:00 GMT";
const TUESDAY: &str = "Tue, 01 Dec 2026 20:00:00 GMT";

// Law: the `ETag` is made of the stored bytes.
#[tokio::test]
async fn a_response_has_a_tag_that_changes_with_its_bytes() {
    let cache = Cache::memory();
    let site = Site::new(&pages(&cache), |request, _| {
        response(200, &[("content-type", "text/plain")], request.uri.query().unwrap_or_default().to_owned())
    });
    let mut tags = std::collections::HashSet::new();
    for query in ["a", "b", ""] {
        let tag = site.get(&format!("/a?{query}")).await.header("etag").to_owned();
        assert!(tag.starts_with("W/\"") && tag.len() == 36, "{tag}");
        assert_eq!(site.get(&format!("/a?{query}")).await.header("etag"), tag);
        tags.insert(tag);
    }
    assert_eq!(tags.len(), 3);
    // The same on every instance, and after each start.
    let again =
        Site::new(&pages(&Cache::memory()), |_, _| response(200, &[("content-type", "text/plain")], "a"));
    assert!(tags.contains(again.get("/other").await.header("etag")));
    let not_found = Site::with(&pages(&cache), 404, &[]).get("/missing").await;
    assert_eq!(not_found.header("etag"), "", "conditions hold for successful responses alone");
}

// Law: or the handler's own.
#[tokio::test]
async fn the_handlers_own_tag_stays() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[("etag", "\"own\"")]);
    for _ in 0..2 {
        assert_eq!(site.get("/a").await.header("etag"), "\"own\"");
    }
    assert_eq!(site.send(get("/a").header("if-none-match", "W/\"own\"")).await.status, 304);
}

// Law: `If-None-Match` is answered with 304 without a body; also from the first response.
#[tokio::test]
async fn a_client_that_has_the_response_gets_no_body() {
    let fields = &[
        ("etag", "\"a\""),
        ("content-type", "text/plain"),
        ("cache-control", "max-age=5"),
        ("x-field", "1"),
    ];
    let site = Site::with(&pages(&Cache::memory()), 200, fields);
    for round in 0..2 {
        let reply = site.send(get("/a").header("if-none-match", "\"b\", \"a\"")).await;
        assert_eq!((reply.status.as_u16(), reply.body.len(), reply.is_hit()), (304, 0, round == 1));
        assert_eq!((reply.header("etag"), reply.header("cache-control")), ("\"a\"", "max-age=5"));
        assert_eq!(reply.header("x-field"), "1");
        for name in ["content-type", "content-length"] {
            assert_eq!(reply.header(name), "", "it describes a body");
        }
    }
    assert_eq!(site.calls(), 1, "the condition did not keep the first response from being stored");
    let other = site.send(get("/a").header("if-none-match", "\"b\"")).await;
    assert_eq!((other.status.as_u16(), other.text()), (200, "call 0"));
}

// Law: `If-Modified-Since`, where there is no `If-None-Match` (RFC 9110 section 13.1.3).
#[tokio::test]
async fn a_client_that_has_the_response_by_its_date_gets_no_body() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[("last-modified", TUESDAY)]);
    let status = async |conditions: &[(&str, &str)]| {
        let request =
            conditions.iter().fold(get("/a"), |request, (name, value)| request.header(*name, *value));
        site.send(request).await.status.as_u16()
    };
    assert_eq!(status(&[("if-modified-since", TUESDAY)]).await, 304);
    assert_eq!(status(&[("if-modified-since", MONDAY)]).await, 200);
    assert_eq!(status(&[("if-modified-since", TUESDAY), ("if-none-match", "\"x\"")]).await, 200);
    assert_eq!(status(&[("if-modified-since", "soon")]).await, 200);
}

// Responses that are not stored are passed on untouched; the condition that the load took away is checked for them.
#[tokio::test]
async fn conditions_hold_for_responses_that_are_not_stored() {
    let fields = &[("etag", "\"a\""), ("set-cookie", "a=b")];
    let site = Site::with(&pages(&Cache::memory()), 200, fields);
    let reply = site.send(get("/a").header("if-none-match", "\"a\"")).await;
    assert_eq!((reply.status.as_u16(), reply.header("set-cookie"), reply.body.len()), (304, "a=b", 0));
    // A moment later the handler is given the condition itself.
    let seen = Site::new(&pages(&Cache::memory()), |request, _| {
        response(200, &[("set-cookie", "a=b")], format!("{}", request.headers.contains_key("if-none-match")))
    });
    let conditional = || seen.send(get("/a").header("if-none-match", "\"x\""));
    assert_eq!((conditional().await.text(), conditional().await.text()), ("false", "true"));
}

// Law: `Cache-Status` says hit, or fwd=miss with stored; `ttl` and `Age` where they have a meaning.
#[tokio::test]
async fn a_response_with_a_time_to_live_has_an_age_and_others_have_none() {
    let clock = Arc::new(ManualClock::new());
    let cache = Cache::memory_with_clock(clock.clone());
    let timed = pages(&cache).ttl(Duration::from_secs(60)).clock(clock.clone());
    let site = Site::with(&timed, 200, &[]);
    assert_eq!(site.get("/a").await.cache_status(), "fwd=miss; stored");
    clock.advance(Duration::from_secs(20));
    let reply = site.get("/a").await;
    assert_eq!((reply.cache_status(), reply.header("age")), ("hit; ttl=40", "20"));
    clock.advance(Duration::from_secs(40));
    assert_eq!(site.get("/a").await.cache_status(), "fwd=miss; stored");

    let untimed = Site::with(&pages(&cache).clock(clock.clone()), 200, &[]);
    untimed.get("/b").await;
    clock.advance(Duration::from_secs(20));
    let reply = untimed.get("/b").await;
    assert_eq!((reply.cache_status(), reply.header("age")), ("hit", ""), "it is valid until a change");
}

#[tokio::test]
async fn what_a_cache_inside_says_stays_in_front() {
    let site = Site::with(&pages(&Cache::memory()), 500, &[("cache-status", "inner; fwd=miss")]);
    let reply = site.get("/a").await;
    let members: Vec<_> = reply.headers.get_all("cache-status").iter().collect();
    assert_eq!(members, ["inner; fwd=miss", "cache-http; fwd=miss; detail=status"]);
}
