//! Support for these tests: a console, and requests to it.

use std::panic::{AssertUnwindSafe, resume_unwind};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use cache_core::plants::{Plant, is_planted};
use cache_facade::{Cache, Family};
use futures_util::FutureExt;
use serde_json::Value;
use testkit::fails_only_if;
use tower::ServiceExt;

/// The host to which requests are sent.
pub(crate) const HOST: &str = "cache.example:8080";

/// A console in an application, at `/cache`, whose viewers may clear with the header `x-operator`.
pub(crate) struct Site {
    pub(crate) cache: Cache,
    pub(crate) app: Router,
}

/// An answer that has ended.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json", "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// Asserts that this is a refusal with this status and word, and that it says what to do.
    pub(crate) fn is_refused(&self, status: u16, error: &str) {
        let json = self.json();
        assert_eq!((self.status.as_u16(), json["error"].as_str()), (status, Some(error)), "{}", self.text);
        for text in ["message", "advice"] {
            assert!(json[text].as_str().is_some_and(|text| text.len() > 10), "{text}: {}", self.text);
        }
    }
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::of(Cache::memory())
    }

    pub(crate) fn of(cache: Cache) -> Self {
        let console = cache_http::console(cache.clone())
            .allow_changes(|request| request.headers.contains_key("x-operator"))
            .into_router();
        Self { cache, app: Router::new().nest("/cache", console) }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.app.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.send(request).await.into_parts();
        let text = to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(text.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.answer(request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    /// Sends a change as the page of an operator does.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.answer(as_page(path).header("x-operator", "ann").body(body.to_owned().into()).unwrap()).await
    }
}

/// A request to the console.
pub(crate) fn request(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(format!("/cache{path}")).header("host", HOST)
}

/// A change, with the headers that the browser adds for the console's own page.
pub(crate) fn as_page(path: &str) -> Builder {
    request(Method::POST, path)
        .header("origin", format!("http://{HOST}"))
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/json")
}

/// Runs `test`, which must succeed, or fail with a message that contains `message` while `bug` is planted.
pub(crate) async fn finds(bug: Plant, message: &str, test: impl Future<Output = ()>) {
    let outcome = AssertUnwindSafe(test).catch_unwind().await;
    fails_only_if(is_planted(bug), message, || outcome.unwrap_or_else(|panic| resume_unwind(panic)));
}

/// Loads users `ids` into the cache.
pub(crate) async fn load_users(cache: &Cache, ids: std::ops::Range<u64>) -> Family<u64, String> {
    let users: Family<u64, String> = cache.family("user").unwrap();
    for id in ids {
        users.get_or_load(id, async move || Ok::<_, std::io::Error>(format!("user {id}"))).await.unwrap();
    }
    users
}
