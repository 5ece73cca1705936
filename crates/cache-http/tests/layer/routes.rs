//! The layer on routes of axum.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use cache_facade::{Bytes, Cache, Family};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use crate::support::{Reply, group, pages};

type Calls = Arc<AtomicUsize>;

async fn page(State(calls): State<Calls>) -> String {
    format!("call {}", calls.fetch_add(1, Ordering::SeqCst))
}

async fn send(app: &Router, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = headers
        .iter()
        .fold(Request::builder().uri(path), |request, (name, value)| request.header(*name, *value));
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    Reply::read(response).await
}

// Law: opt-in by route.
#[tokio::test]
async fn a_route_without_the_layer_is_not_cached() {
    let cached = get(page).layer(pages(&Cache::memory()));
    let app = Router::new().route("/cached", cached).route("/plain", get(page)).with_state(Calls::default());
    for _ in 0..2 {
        send(&app, "/cached", &[]).await;
        assert_eq!(send(&app, "/plain", &[]).await.header("cache-status"), "");
    }
    assert!(send(&app, "/cached", &[]).await.is_hit());
}

// Law: what a service has learned lasts as long as the router that has its state.
#[tokio::test]
async fn the_names_in_vary_are_learned_once_by_a_router_with_its_state() {
    let page = get(async || ([("vary", "accept")], "page")).layer(pages(&Cache::memory()));
    let app = Router::new().route("/a", page).with_state(());
    assert!(send(&app, "/a", &[]).await.header("cache-status").ends_with("detail=new-vary"));
    assert!(send(&app, "/a", &[]).await.header("cache-status").ends_with("stored"));
    assert!(send(&app, "/a", &[]).await.is_hit());
}

#[tokio::test]
async fn keys_are_made_of_the_parameters_of_the_route() {
    let cache = Cache::memory();
    let listings: Family<(u64, Option<String>), Bytes> = cache.family("listing").unwrap();
    let key = listings.clone();
    let layer = cache_http::layer(&cache).key_with_params(move |request, params| {
        assert_eq!(params.get("missing"), None);
        Some(key.key((params.parse::<u64>("id")?, request.uri.query())))
    });
    let route = get(async |Path(id): Path<String>, State(calls): State<Calls>| {
        format!("{id} {}", calls.fetch_add(1, Ordering::SeqCst))
    });
    let app = Router::new().route("/projects/{id}/images", route.layer(layer)).with_state(Calls::default());
    for _ in 0..2 {
        assert_eq!(send(&app, "/projects/1/images", &[]).await.text(), "1 0");
        assert_eq!(send(&app, "/projects/2/images", &[]).await.text(), "2 1");
        assert_eq!(send(&app, "/projects/1/images?x", &[]).await.text(), "1 2");
    }
    assert!(cache.invalidate(&listings.at(1)).await.is_ok());
    assert_eq!(send(&app, "/projects/1/images", &[]).await.text(), "1 3");
    assert_eq!(send(&app, "/projects/2/images", &[]).await.text(), "2 1");
    for call in [4, 5] {
        assert_eq!(
            send(&app, "/projects/one/images", &[]).await.text(),
            format!("one {call}"),
            "it has no key"
        );
    }
}

// Two nested routers, whose inner paths are the same.
#[tokio::test]
async fn pages_of_nested_routers_are_told_apart() {
    let layer = pages(&Cache::memory());
    let inner = || Router::new().route("/about", get(page).layer(layer.clone()));
    let app = Router::new().nest("/one", inner()).nest("/two", inner()).with_state(Calls::default());
    for _ in 0..2 {
        assert_eq!(send(&app, "/one/about", &[]).await.text(), "call 0");
        assert_eq!(send(&app, "/two/about", &[]).await.text(), "call 1");
    }
}

// A layer in between that writes another URI, for instance by the host.
#[tokio::test]
async fn pages_of_a_uri_that_was_rewritten_are_told_apart() {
    let rewrite = from_fn(async |mut request: Request, next: Next| {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        *request.uri_mut() = format!("/{host}{}", request.uri().path()).parse().unwrap();
        next.run(request).await
    });
    let cache = Cache::memory();
    let app = Router::new().route("/about", get(page).layer(pages(&cache))).layer(rewrite);
    let app = app.with_state(Calls::default());
    for _ in 0..2 {
        assert_eq!(send(&app, "/about", &[("host", "one")]).await.text(), "call 0");
        assert_eq!(send(&app, "/about", &[("host", "two")]).await.text(), "call 1");
    }
    assert!(cache.invalidate(&group("/about")).await.is_ok());
    assert_eq!(send(&app, "/about", &[("host", "one")]).await.text(), "call 2");
}

#[tokio::test]
async fn a_layer_on_a_whole_router_caches_its_routes() {
    let app = Router::new().route("/a", get(page).post(page)).route("/b", get(page));
    let app = app.layer(pages(&Cache::memory())).with_state(Calls::default());
    for _ in 0..2 {
        assert_eq!(send(&app, "/a", &[]).await.text(), "call 0");
        assert_eq!(send(&app, "/b", &[]).await.text(), "call 1");
    }
    let not_found = send(&app, "/c", &[]).await;
    assert_eq!(not_found.status, StatusCode::NOT_FOUND);
    let post = Request::builder().method("POST").uri("/a").body(Body::from("x")).unwrap();
    let reply = Reply::read(app.clone().oneshot(post).await.unwrap()).await;
    assert_eq!((reply.text(), reply.cache_status()), ("call 2", "fwd=method"));
}

/// Lets requests with the right token pass, and says whose they are.
async fn authorise(mut request: Request, next: Next) -> Response {
    let name = match request.headers().get("authorization").map(HeaderValue::as_bytes) {
        Some(b"token-of-ada") => "ada",
        Some(b"token-of-bob") => "bob",
        _ => return StatusCode::UNAUTHORIZED.into_response(),
    };
    request.extensions_mut().insert(Viewer(name));
    next.run(request).await
}

#[derive(Clone)]
struct Viewer(&'static str);

async fn own_page(Extension(Viewer(name)): Extension<Viewer>) -> String {
    format!("page of {name}")
}

const ADA: &[(&str, &str)] = &[("authorization", "token-of-ada")];
const BOB: &[(&str, &str)] = &[("authorization", "token-of-bob")];

// Law: authorisation runs before the layer. In axum the layer that is added later is outside, and runs first.
#[tokio::test]
async fn authorisation_outside_the_layer_guards_what_is_stored() {
    let layer = pages(&Cache::memory()).per_viewer(|request| Some(request.extensions.get::<Viewer>()?.0));
    let app = Router::new().route("/own", get(own_page).layer(layer)).layer(from_fn(authorise));
    for _ in 0..2 {
        assert_eq!(send(&app, "/own", &[]).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(send(&app, "/own", ADA).await.text(), "page of ada");
        assert_eq!(send(&app, "/own", BOB).await.text(), "page of bob");
    }
    assert!(send(&app, "/own", ADA).await.is_hit());
}

// Law: a test shows what the wrong order does: on a public route a stored response is served to a client that was refused.
#[tokio::test]
async fn authorisation_inside_the_layer_does_not_guard_what_is_stored() {
    let layer = pages(&Cache::memory()).public();
    let guarded = Router::new().route("/shared", get(async || "for members"));
    let wrong = guarded.clone().layer(from_fn(authorise)).layer(layer.clone());
    assert_eq!(send(&wrong, "/shared", &[]).await.status, StatusCode::UNAUTHORIZED);
    send(&wrong, "/shared", ADA).await;
    assert_eq!(send(&wrong, "/shared", ADA).await.text(), "for members");
    let leaked = send(&wrong, "/shared", &[]).await;
    assert_eq!((leaked.status, leaked.text()), (StatusCode::OK, "for members"));

    let right = guarded.layer(layer).layer(from_fn(authorise));
    send(&right, "/shared", ADA).await;
    assert!(send(&right, "/shared", BOB).await.is_hit());
    assert_eq!(send(&right, "/shared", &[]).await.status, StatusCode::UNAUTHORIZED);
}

// And without `public` the wrong order stores nothing: requests with credentials are passed on.
#[tokio::test]
async fn the_wrong_order_stores_nothing_where_routes_are_private() {
    let layer = pages(&Cache::memory());
    let app = Router::new().route("/own", get(own_page)).layer(from_fn(authorise)).layer(layer);
    for _ in 0..2 {
        assert_eq!(send(&app, "/own", ADA).await.text(), "page of ada");
        assert_eq!(send(&app, "/own", &[]).await.status, StatusCode::UNAUTHORIZED);
    }
}

/// What a server sends for requests over one connection.
async fn over_the_network(app: Router, requests: &[&str]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    for (number, request) in requests.iter().enumerate() {
        let connection = if number + 1 == requests.len() { "close" } else { "keep-alive" };
        let request = format!("{request}\r\nhost: localhost\r\nconnection: {connection}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    server.abort();
    answer
}

// Law: `Content-Length` and `Transfer-Encoding` stay right, so that many responses fit into one connection.
#[tokio::test]
async fn responses_are_framed_right_on_the_wire() {
    let streamed = async || {
        let parts = futures_util::stream::iter(["one ", "two"]);
        let parts = futures_util::StreamExt::then(parts, async |part| {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>(part)
        });
        Body::from_stream(parts)
    };
    let app = Router::new().route("/streamed", get(streamed)).route("/whole", get(async || "whole"));
    let app = app.layer(pages(&Cache::memory()));
    let requests = [
        "GET /streamed HTTP/1.1",
        "GET /streamed HTTP/1.1",
        "HEAD /streamed HTTP/1.1",
        "GET /whole HTTP/1.1",
        "GET /whole HTTP/1.1\r\nif-none-match: *",
        "HEAD /whole HTTP/1.1",
        "GET /whole HTTP/1.1",
    ];
    let answer = over_the_network(app, &requests).await;
    let mut rest = &*answer;
    for (body, fields) in [
        ("4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n", &["200 OK", "transfer-encoding: chunked", "fwd=miss"][..]),
        ("one two", &["200 OK", "content-length: 7"]),
        ("", &["200 OK", "content-length: 7", "hit"]),
        ("whole", &["200 OK", "content-length: 5", "fwd=miss; stored"]),
        ("", &["304 Not Modified", "hit"]),
        ("", &["200 OK", "content-length: 5", "hit"]),
        ("whole", &["200 OK", "content-length: 5", "hit"]),
    ] {
        let (head, after) = rest.split_once("\r\n\r\n").expect(&answer);
        for field in fields {
            assert!(head.contains(field), "{field} in {head}\n\n{answer}");
        }
        let has_both = head.contains("content-length") && head.contains("transfer-encoding");
        assert!(!has_both, "{head}");
        rest = after.strip_prefix(body).expect(&answer);
    }
    assert_eq!(rest, "");
}
