//! Which requests and responses are stored.

use cache_facade::{BackendKind, Cache, CacheKey};
use http::header::HeaderName;
use http::{Method, Request, StatusCode};

use crate::support::{Site, get, pages, response};

async fn is_stored(site: &Site, path: &str) -> bool {
    site.get(path).await;
    site.get(path).await.is_hit()
}

// Law: any status but 200, 203, 301, 404 and 410 is not stored.
#[tokio::test]
async fn responses_of_five_statuses_are_stored() {
    for status in (200..=599_u16).filter(|status| *status != 304) {
        let site = Site::with(&pages(&Cache::memory()), status, &[]);
        let expected = [200, 203, 301, 404, 410].contains(&status);
        assert_eq!(is_stored(&site, "/a").await, expected, "{status}");
        assert_eq!(site.get("/a").await.status, status);
    }
}

// Law: configurable.
#[tokio::test]
async fn the_statuses_can_be_chosen_but_a_part_is_never_stored() {
    let statuses =
        [StatusCode::FOUND, StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT];
    let layer = pages(&Cache::memory()).statuses(statuses);
    for (status, expected) in [(302, true), (204, true), (206, false), (304, false), (200, false)] {
        let site = Site::with(&layer, status, &[]);
        assert_eq!(is_stored(&site, &format!("/{status}")).await, expected, "{status}");
    }
    let partial = Site::with(&pages(&Cache::memory()), 200, &[("content-range", "bytes 0-5/10")]);
    assert!(!is_stored(&partial, "/a").await);
}

// Law: a method other than GET is not stored (HEAD is answered from a stored GET).
#[tokio::test]
async fn other_methods_are_passed_on_and_leave_what_is_stored_alone() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[]);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let request = || Request::builder().method(method.clone()).uri("/a");
        let calls = site.calls();
        assert_eq!(site.send(request()).await.cache_status(), "fwd=method");
        site.send(request()).await;
        assert_eq!(site.calls(), calls + 2);
    }
    assert!(is_stored(&site, "/a").await);
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get_and_is_not_stored_itself() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[("x-field", "value")]);
    let head = || site.send(Request::builder().method(Method::HEAD).uri("/a"));
    for call in 0..2 {
        assert_eq!(head().await.cache_status(), "fwd=miss");
        assert_eq!(site.calls(), call + 1);
    }
    let stored = site.get("/a").await;
    let reply = head().await;
    assert!(reply.is_hit() && reply.body.is_empty());
    for field in ["x-field", "etag", "content-length"] {
        assert_eq!(reply.header(field), stored.header(field));
    }
    assert_eq!(reply.header("content-length"), "6");
    let etag = reply.header("etag").to_owned();
    let head = Request::builder().method(Method::HEAD).uri("/a").header("if-none-match", etag);
    assert_eq!(site.send(head).await.status, 304);
}

// Law: a request with `Range` is never stored.
#[tokio::test]
async fn requests_for_something_else_than_the_page_are_passed_on() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[]);
    site.get("/a").await;
    for (name, value) in [
        ("range", "bytes=0-1"),
        ("if-range", "\"a\""),
        ("if-match", "\"a\""),
        ("if-unmodified-since", "Tue, 01 Dec 2026 20:00:00 GMT"),
        ("upgrade", "websocket"),
    ] {
        let calls = site.calls();
        let reply = site.send(get("/a").header(name, value)).await;
        assert_eq!((reply.cache_status(), site.calls()), ("fwd=bypass; detail=special", calls + 1), "{name}");
    }
    assert!(site.get("/a").await.is_hit());
}

// RFC 9111 section 5.2.1: the directives of a request.
#[tokio::test]
async fn a_request_may_forbid_storing_or_want_a_stored_response() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[]);
    let asks = |directive: &str| site.send(get("/a").header("cache-control", directive));
    assert_eq!(asks("no-store").await.cache_status(), "fwd=request; detail=no-store");
    let none = asks("only-if-cached").await;
    assert_eq!(
        (none.status, none.cache_status(), site.calls()),
        (StatusCode::GATEWAY_TIMEOUT, "detail=only-if-cached", 1)
    );
    assert_eq!(site.get("/a").await.text(), "call 1", "the first one was not stored");
    assert!(asks("only-if-cached").await.is_hit());
    assert_eq!(asks("no-store").await.text(), "call 2");
    // What is stored was made stale by no change: it is as good as one that was validated.
    assert!(asks("no-cache").await.is_hit() && asks("max-age=0").await.is_hit());
}

#[tokio::test]
async fn fields_of_the_connection_and_of_the_moment_are_not_stored() {
    let fields = &[
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("date", "Tue, 01 Dec 2026 20:00:00 GMT"),
        ("age", "100"),
        ("cache-status", "inner; hit"),
        ("x-kept", "1"),
    ];
    let site = Site::with(&pages(&Cache::memory()), 200, fields);
    site.get("/a").await;
    let reply = site.get("/a").await;
    let names: Vec<&str> = reply.headers.keys().map(HeaderName::as_str).collect();
    assert!(names.contains(&"x-kept") && reply.is_hit());
    for name in ["connection", "x-hop", "keep-alive", "date", "age"] {
        assert!(!names.contains(&name), "{name}");
    }
}

#[tokio::test]
async fn each_path_and_query_has_a_page_of_its_own() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[]);
    let paths = ["/a", "/a?", "/a?b", "/a?b=1", "/a/b", "/A", "/a%2Fb", "/a:b", "/a?b:c", "/"];
    for (call, path) in paths.iter().enumerate() {
        assert_eq!(site.get(path).await.text(), format!("call {call}"), "{path}");
    }
    for (call, path) in paths.iter().enumerate() {
        assert_eq!(site.get(path).await.text(), format!("call {call}"), "{path}");
    }
    let long = format!("/{}?{}", "x".repeat(1000), "y".repeat(4000));
    assert!(is_stored(&site, &long).await);
    assert!(!site.get(&format!("{long}z")).await.is_hit());
}

#[tokio::test]
async fn a_request_without_a_key_is_passed_on() {
    let cache = Cache::memory();
    let layer = cache_http::layer(&cache).key(|request| {
        let id = request.uri.path().strip_prefix("/posts/")?.parse::<u64>().ok()?;
        CacheKey::builder("post", id).build().ok()
    });
    let site = Site::with(&layer, 200, &[]);
    assert!(is_stored(&site, "/posts/7").await);
    assert!(!is_stored(&site, "/posts/x").await);
    assert_eq!(site.get("/posts/x").await.cache_status(), "fwd=bypass; detail=no-key");
    assert!(site.get("/posts/7?x").await.is_hit(), "the query is not part of this key");
}

#[tokio::test]
async fn the_first_response_and_a_stored_one_are_alike() {
    let site = Site::new(&pages(&Cache::memory()), |_, _| {
        response(203, &[("content-type", "text/x"), ("x-two", "a"), ("x-two", "b")], "body")
    });
    let (first, stored) = (site.get("/a").await, site.get("/a").await);
    assert_eq!((first.cache_status(), stored.cache_status()), ("fwd=miss; stored", "hit"));
    assert_eq!((first.status, &first.body), (stored.status, &stored.body));
    for name in ["content-type", "etag", "content-length"] {
        assert_eq!(first.header(name), stored.header(name));
        assert!(!stored.header(name).is_empty(), "{name}");
    }
    assert_eq!(stored.headers.get_all("x-two").iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn a_response_that_is_stored_names_the_backend_in_an_extension() {
    let site = Site::with(&pages(&Cache::memory()), 200, &[]);
    let backend = async |request| site.open(request).await.extensions().get::<BackendKind>().copied();
    for _ in 0..2 {
        assert_eq!(backend(get("/a")).await, Some(BackendKind::Memory));
    }
    assert_eq!(backend(get("/a").method(Method::HEAD)).await, Some(BackendKind::Memory));
    assert_eq!(backend(get("/a").method(Method::POST)).await, None);
    let refused = Site::with(&pages(&Cache::memory()), 500, &[]);
    assert_eq!(refused.open(get("/a")).await.extensions().get::<BackendKind>(), None);
}

#[tokio::test]
async fn a_name_that_is_no_family_is_refused() {
    assert!(cache_http::layer(&Cache::memory()).family("a page").is_err());
}
