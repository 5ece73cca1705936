//! A layer for tower and axum that answers requests from the cache, and by their handler: a response is served until a
//! change makes it stale.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use cache_facade::{Bytes, Cache, Family};
//!
//! let cache = Cache::memory(); // in production: Cache::from_env().await?
//! let posts: Family<u64, Bytes> = cache.family("post")?; // keys post:1, post:2, ...
//!
//! // The key of a request, by the parameters of its route. A request without a key is passed on.
//! let keys = posts.clone();
//! let pages = cache_http::layer(&cache)
//!     .key_with_params(move |_request, params| Some(keys.key(params.parse::<u64>("id")?)));
//! let app: Router = Router::new().route("/posts/{id}", get(async || "hello").layer(pages));
//!
//! // The first request calls the handler, and later ones are answered from the cache.
//! # use tower::ServiceExt;
//! # let request = || axum::extract::Request::get("/posts/7").body(axum::body::Body::empty());
//! let first = app.clone().oneshot(request()?).await?;
//! assert_eq!(first.headers()["cache-status"], "cache-http; fwd=miss; stored");
//! let second = app.clone().oneshot(request()?).await?;
//! assert_eq!(second.headers()["cache-status"], "cache-http; hit");
//!
//! // A change goes through the cache: every request after this calls the handler.
//! cache.change(posts.at(7), async || Ok::<_, std::io::Error>(())).await?;
//! let third = app.clone().oneshot(request()?).await?;
//! assert_eq!(third.headers()["cache-status"], "cache-http; fwd=miss; stored");
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//! The authorisation runs before the layer, which would answer before it otherwise: it is outside, and so is added **after** the layer
//! with axum's `Router::layer`.
//!
//! # What is stored
//! Responses to `GET` with status 200, 203, 301, 404 or 410. Private by default:
//!
//! | never stored | unless |
//! | --- | --- |
//! | a request with `Authorization` or `Cookie` | [`per_viewer`](CacheLayer::per_viewer) gives a viewer, or the route is [`public`](CacheLayer::public) |
//! | a response with `Cache-Control: private` | `per_viewer` gives a viewer |
//! | a response with `Set-Cookie`, `no-store`, `Vary: *`, trailers or a part of the page | |
//! | a response whose `Vary` names other headers than `Accept`, `Accept-Encoding` and `Accept-Language` | they are [allowed](CacheLayer::allow_vary) |
//! | another status | it is one of [`statuses`](CacheLayer::statuses) |
//! | a body over 1 MiB | [`max_body`](CacheLayer::max_body) is larger |
//! | a body that takes over 10 seconds, or `text/event-stream` and its like | [`body_timeout`](CacheLayer::body_timeout) is longer |
//!
//! These are passed through as they come. `Cache-Status` says why (RFC 9211). A response that is or was stored has the
//! [`BackendKind`](cache_facade::BackendKind) that answered the lookup as an extension, for logs and metrics.
//!
//! # How long
//! Until the key is invalidated or evicted, or its [time to live](CacheLayer::ttl) is over. `max-age`, `s-maxage` and `Expires` of a
//! response are for the caches of clients, which validate by `ETag`: unchanged responses are answered with 304.
//!
//! # Guarantees
//! A response whose handler was called before an invalidation is never served to a request that begins after it. One call of
//! the handler answers all requests that wait for its page. A client that goes away or reads slowly holds no other up. Where the cache
//! fails, the handler answers.
//!
//! # Handlers
//! On a miss the handler runs as a task of its own, without the task-local values of the request; the extensions of the request are
//! there. Its response's extensions are not stored. It gets the request without `If-None-Match` and `If-Modified-Since`, which the layer answers.
//!
//! # Features
//! | feature | default | gives |
//! | --- | --- | --- |
//! | `console` | no | `console()`, a router of axum that shows what a cache does |
//! | `axum` | yes | [keys from the parameters of a route](LayerBuilder::key_with_params), and whole paths inside nested routers |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod cache_control;
mod conditions;
#[cfg(feature = "console")]
mod console;
mod digest;
mod exchange;
mod headers;
mod index;
mod key;
mod layer;
mod load;
mod passes;
mod policy;
mod read;
mod request;
mod serve;
mod service;
mod stored;
mod verdict;
mod visit;

pub use body::{BoxError, ResponseBody};
#[cfg(feature = "console")]
pub use console::{Console, console};
pub use key::PageKey;
#[cfg(feature = "axum")]
pub use key::PathParams;
pub use layer::{CacheLayer, FamilyLayerBuilder, LayerBuilder, layer};
pub use service::CacheService;

// The code in the document, compiled as documentation tests.
#[cfg(all(doctest, feature = "axum"))]
mod documents {
    #[doc = include_str!("../../../docs/http.md")]
    struct Http;
}

// The code in the README, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
