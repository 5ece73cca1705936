//! [`CacheService`]: the service that a [`CacheLayer`](crate::CacheLayer) makes.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cache_facade::CacheKey;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::{BoxError, ResponseBody};
use crate::exchange::Exchange;
use crate::headers::CACHE_STATUS;
use crate::index::Learned;
use crate::passes::Passes;
use crate::policy::Policy;
use crate::request::Plan;
use crate::verdict::Verdict;
use crate::visit::Visit;

/// How long a request waits for the removal of a value.
const PATIENCE: Duration = Duration::from_millis(250);

/// What the clones of a service share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) policy: Arc<Policy>,
    pub(crate) learned: Learned,
    pub(crate) passes: Passes,
}

impl Shared {
    /// Removes what is stored at `key`, and waits for it as long as a read waits for the cache.
    pub(crate) async fn remove(&self, key: &CacheKey) {
        cache_core::log::debug!(%key, "cached value does not fit the responses of its route; it is removed");
        // The cache reports what fails.
        drop(tokio::time::timeout(PATIENCE, self.policy.cache.delete(key)).await);
    }
}

/// A service that answers requests from the cache, and by the service inside it; made by
/// [`CacheLayer`](crate::CacheLayer).
#[derive(Debug, Clone)]
pub struct CacheService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> CacheService<S> {
    pub(crate) fn new(inner: S, policy: Arc<Policy>) -> Self {
        let passes = Passes::new(Arc::clone(&policy.clock));
        Self { inner, shared: Arc::new(Shared { policy, learned: Learned::default(), passes }) }
    }
}

/// A service inside the layer.
pub(crate) trait Handler<Q>:
    Service<
        Request<Q>,
        Response = Response<<Self as Handler<Q>>::ResponseBody>,
        Error: Send + 'static,
        Future: Send + 'static,
    > + Send
    + 'static
{
    type ResponseBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

impl<S, Q, B> Handler<Q> for S
where
    S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type ResponseBody = B;
}

impl<S, Q, B> Service<Request<Q>> for CacheService<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    Q: Body + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        // The service that is ready is the one to call.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let (mut parts, body) = request.into_parts();
        let plan = self.shared.policy.plan(&mut parts, &body);
        let request = Request::from_parts(parts, body);
        match plan {
            Plan::Forward(verdict) => forward(inner, request, verdict).boxed(),
            Plan::Visit(page) => {
                let exchange = Arc::new(Exchange::new(inner, request));
                Visit { shared: Arc::clone(&self.shared), page, exchange }.answer().boxed()
            }
        }
    }
}

/// Passes a request on, and its response back.
pub(crate) async fn forward<S: Handler<Q>, Q>(
    mut service: S,
    request: Request<Q>,
    verdict: Verdict,
) -> Result<Response<ResponseBody<S::ResponseBody>>, S::Error> {
    Ok(passed(service.call(request).await?, verdict))
}

/// The handler's own response.
pub(crate) fn passed<B>(response: Response<B>, verdict: Verdict) -> Response<ResponseBody<B>> {
    with_status(response.map(ResponseBody::passed), verdict)
}

/// Adds how the request was handled, behind what caches inside have said (RFC 9211 section 2).
pub(crate) fn with_status<B>(mut response: Response<B>, verdict: Verdict) -> Response<B> {
    // It fails for a header that is full, which the response then has without this one.
    drop(response.headers_mut().try_append(&CACHE_STATUS, verdict.value()));
    response
}
