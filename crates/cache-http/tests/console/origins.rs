//! Which requests count as sent by the console's own page, and what the guard says.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::middleware::{Next, from_fn};
use cache_core::plants::Plant;
use cache_facade::Cache;
use tower::ServiceExt;

use crate::support::{HOST, Site, as_page, finds, load_users, request};

const BODY: &str = r#"{"key":"user:1"}"#;

#[tokio::test]
async fn a_change_of_another_origin_is_refused_and_changes_nothing() {
    let site = Site::new();
    let users = load_users(&site.cache, 1..2).await;
    let own = format!("http://{HOST}");
    let cases: &[(Option<&str>, Option<&str>, bool)] = &[
        (Some("same-origin"), Some(&own), true),
        (Some("same-origin"), None, true),
        // A browser sends no Sec-Fetch-Site over plain HTTP.
        (None, Some(&own), true),
        (None, None, false),
        (None, Some("null"), false),
        (None, Some("http://evil.example"), false),
        (None, Some("http://cache.example"), false),
        (Some("same-origin"), Some("http://evil.example"), false),
        (Some("same-origin"), Some("null"), false),
        (Some("same-site"), Some(&own), false),
        (Some("cross-site"), Some(&own), false),
        (Some("cross-site"), None, false),
        (Some("none"), None, false),
        (Some(""), Some(&own), false),
    ];
    for path in ["/api/v1/clear", "/api/v1/clear/dry-run"] {
        for (site_header, origin, is_allowed) in cases {
            let mut post = request(Method::POST, path)
                .header("content-type", "application/json")
                .header("x-operator", "ann");
            for (name, value) in [("sec-fetch-site", site_header), ("origin", origin)] {
                if let Some(value) = value {
                    post = post.header(name, *value);
                }
            }
            let answer = site.answer(post.body(BODY.into()).unwrap()).await;
            if *is_allowed {
                assert_eq!(answer.status, StatusCode::OK, "{site_header:?} {origin:?}: {}", answer.text);
                drop(load_users(&site.cache, 1..2).await);
            } else {
                answer.is_refused(403, "foreign_origin");
                assert!(users.contains(1).await, "{site_header:?} {origin:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_change_that_a_form_could_send_is_refused() {
    let site = Site::new();
    let users = load_users(&site.cache, 1..2).await;
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data"),
        Some("text/json"),
    ] {
        let mut post = as_page("/api/v1/clear").header("x-operator", "ann");
        post.headers_mut().unwrap().remove("content-type");
        if let Some(kind) = kind {
            post = post.header("content-type", kind);
        }
        site.answer(post.body(BODY.into()).unwrap()).await.is_refused(415, "not_json");
    }
    assert!(users.contains(1).await);
}

#[tokio::test]
async fn the_guard_decides_and_without_one_nothing_changes() {
    finds(Plant::GuardLeftOut, "changes_not_allowed", async {
        let site = Site::new();
        let users = load_users(&site.cache, 1..2).await;
        let stranger = || as_page("/api/v1/clear").body(Body::from(BODY)).unwrap();
        site.answer(stranger()).await.is_refused(403, "changes_not_allowed");
        let operator =
            || as_page("/api/v1/clear").header("x-operator", "ann").body(Body::from(BODY)).unwrap();
        let console = || cache_http::console(site.cache.clone());
        let panicking = console().allow_changes(|_| panic!("a bug in the guard"));
        for console in [console(), console().allow_changes(|_| false), panicking] {
            let app = Router::new().nest("/cache", console.into_router());
            for path in ["/api/v1/clear", "/api/v1/clear/dry-run"] {
                let (mut parts, body) = operator().into_parts();
                parts.uri = format!("/cache{path}").parse().unwrap();
                let answer = app.clone().oneshot(Request::from_parts(parts, body)).await.unwrap();
                assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
            }
        }
        assert!(users.contains(1).await);
        assert!(site.answer(operator()).await.status.is_success());
        assert!(!users.contains(1).await);
    })
    .await;
}

#[tokio::test]
async fn a_read_that_another_site_sends_is_refused() {
    finds(Plant::ForeignReads, "cross-site", async {
        let site = Site::of(Cache::memory());
        for path in ["overview", "families", "timeline", "live", "doctor", "key?key=a:b"] {
            for (from, is_allowed) in
                [("same-origin", true), ("none", true), ("cross-site", false), ("same-site", false)]
            {
                let get = request(Method::GET, &format!("/api/v1/{path}")).header("sec-fetch-site", from);
                let status = site.send(get.body(Body::empty()).unwrap()).await.status();
                assert_eq!(status == StatusCode::OK, is_allowed, "{path} {from}: {status}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_layer_of_the_application_guards_every_route() {
    async fn nothing(_: Request<Body>, _: Next) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }
    let console = cache_http::console(Cache::memory()).allow_changes(|_| true).into_router();
    let app = Router::new().nest("/cache", console.layer(from_fn(nothing)));
    let reads = ["", "/index.html", "/page/main.js", "/api/none"].map(|path| request(Method::GET, path));
    let api = ["overview", "families", "timeline", "live", "doctor", "key?key=a:b"];
    let api = api.map(|name| request(Method::GET, &format!("/api/v1/{name}")));
    let changes = ["/api/v1/clear", "/api/v1/clear/dry-run"].map(as_page);
    for request in reads.into_iter().chain(api).chain(changes) {
        let request = request.body(Body::from(BODY)).unwrap();
        let uri = request.uri().clone();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED, "{uri}");
    }
}
