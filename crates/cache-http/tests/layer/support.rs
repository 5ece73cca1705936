//! Support for these tests: a handler that counts its calls behind a layer, and requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cache_facade::{Cache, CacheGroup};
use cache_http::{CacheLayer, ResponseBody};
use futures_util::future::BoxFuture;
use http::request::{Builder, Parts};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

// A concrete error: with a boxed one the compiler cannot tell that a request's future is `Send`.
pub(crate) type TestBody = UnsyncBoxBody<Bytes, std::io::Error>;

type Respond = dyn Fn(Parts, usize) -> BoxFuture<'static, Response<TestBody>> + Send + Sync;

/// A handler behind a layer.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) service:
        BoxCloneSyncService<Request<Empty<Bytes>>, Response<ResponseBody<TestBody>>, Infallible>,
    calls: Arc<AtomicUsize>,
}

/// A response that was read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A layer with keys of the path and the query, in the family `page`.
pub(crate) fn pages(cache: &Cache) -> CacheLayer {
    cache_http::layer(cache).family("page").unwrap().by_path_and_query()
}

/// The group of everything that is stored for a path.
pub(crate) fn group(path: &str) -> CacheGroup {
    CacheGroup::new("page", path)
}

/// A response whose fields are given by name.
pub(crate) fn response(status: u16, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Response<TestBody> {
    let fields = fields
        .iter()
        .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
    fields.body(full(body)).unwrap()
}

pub(crate) fn full(body: impl Into<Bytes>) -> TestBody {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn get(path: &str) -> Builder {
    Request::builder().method(Method::GET).uri(path)
}

impl Site {
    /// A handler that responds at once. It is given the request and the number of calls before.
    pub(crate) fn new(
        layer: &CacheLayer,
        respond: impl Fn(&Parts, usize) -> Response<TestBody> + Send + Sync + 'static,
    ) -> Self {
        Self::slow(layer, move |request, call| {
            let response = respond(&request, call);
            Box::pin(async move { response })
        })
    }

    /// A handler that always responds with these fields, and a body that names the call.
    pub(crate) fn with(
        layer: &CacheLayer,
        status: u16,
        fields: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::new(layer, move |_, call| response(status, fields, format!("call {call}")))
    }

    /// A handler that may wait.
    pub(crate) fn slow(
        layer: &CacheLayer,
        respond: impl Fn(Parts, usize) -> BoxFuture<'static, Response<TestBody>> + Send + Sync + 'static,
    ) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let (counted, respond): (_, Arc<Respond>) = (Arc::clone(&calls), Arc::new(respond));
        let handler = service_fn(move |request: Request<Empty<Bytes>>| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            let response = respond(request.into_parts().0, call);
            async move { Ok::<_, Infallible>(response.await) }
        });
        Self { service: BoxCloneSyncService::new(layer.layer(handler)), calls }
    }

    /// How often the handler was called.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Sends a request, and returns the response with its body to be read.
    pub(crate) async fn open(&self, request: Builder) -> Response<ResponseBody<TestBody>> {
        let mut service = self.service.clone();
        let Ok(ready) = service.ready().await;
        let Ok(response) = ready.call(request.body(Empty::new()).unwrap()).await;
        response
    }

    /// Sends a request and reads the response.
    pub(crate) async fn send(&self, request: Builder) -> Reply {
        Reply::read(self.open(request).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(get(path)).await
    }
}

impl Reply {
    pub(crate) async fn read<B: http_body::Body<Data = Bytes>>(response: Response<B>) -> Self
    where
        B::Error: std::fmt::Debug,
    {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body is read").to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// How the layer handled the request.
    pub(crate) fn cache_status(&self) -> &str {
        self.header("cache-status").strip_prefix("cache-http; ").expect("every response says it")
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status().starts_with("hit")
    }
}

/// Lets the other tasks run.
pub(crate) async fn let_others_run() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
