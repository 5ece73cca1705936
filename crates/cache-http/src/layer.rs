//! [`CacheLayer`] and its options.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, FamilyName, SystemClock};
use cache_facade::{Cache, KeyPart, LoadOptions, Result};
use http::StatusCode;
use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName};
use http::request::Parts;
use tower_layer::Layer;

use crate::index::union;
use crate::key::{PageKey, by_path_and_query};
use crate::policy::{Audience, KeyFn, Policy};
use crate::service::CacheService;
use crate::stored;

/// Starts to build a layer that stores responses in `cache`. The next call says which key a request has.
pub fn layer(cache: &Cache) -> LayerBuilder {
    LayerBuilder { cache: cache.clone() }
}

/// A layer without keys; made by [`layer`].
#[derive(Debug, Clone)]
#[must_use = "it is no layer before its keys are set"]
pub struct LayerBuilder {
    cache: Cache,
}

impl LayerBuilder {
    /// Takes the keys from `key`, which is called for each request. Everything that changes the response is part of the key, or
    /// named by [`per_viewer`](CacheLayer::per_viewer) or by `Vary`.
    ///
    /// The group of the key is what a change makes stale. No other value is stored at these keys.
    ///
    /// ```
    /// use cache_facade::{Cache, CacheKey};
    ///
    /// let cache = Cache::memory();
    /// let pages = cache_http::layer(&cache)
    ///     .key(|request| CacheKey::builder("report", 7).optional_part(request.uri.query()).build());
    /// ```
    pub fn key<K: PageKey>(self, key: impl Fn(&Parts) -> K + Send + Sync + 'static) -> CacheLayer {
        self.with_key(Arc::new(move |parts| key(parts).into_key()))
    }

    /// Takes the keys from `key`, which is given the parameters of axum's route, too; see [`key`](Self::key).
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use cache_facade::{Bytes, Cache, Family};
    ///
    /// # fn main() -> cache_facade::Result<()> {
    /// let cache = Cache::memory();
    /// let listings: Family<(u64, Option<String>), Bytes> = cache.family("listing")?;
    /// let pages = cache_http::layer(&cache).key_with_params(move |request, params| {
    ///     Some(listings.key((params.parse::<u64>("id")?, request.uri.query())))
    /// });
    /// let app: Router = Router::new().route("/projects/{id}/images", get(async || "[]").layer(pages));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    pub fn key_with_params<K: PageKey>(
        self,
        key: impl Fn(&Parts, &crate::PathParams) -> K + Send + Sync + 'static,
    ) -> CacheLayer {
        self.with_key(crate::key::by_params(key))
    }

    /// Names the family of the keys, which the next call makes.
    ///
    /// # Errors
    /// As for [`Cache::family`].
    pub fn family(self, name: &str) -> Result<FamilyLayerBuilder> {
        Ok(FamilyLayerBuilder { builder: self, family: FamilyName::new(name)? })
    }

    fn with_key(self, key: KeyFn) -> CacheLayer {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let statuses = [
            StatusCode::OK,
            StatusCode::NON_AUTHORITATIVE_INFORMATION,
            StatusCode::MOVED_PERMANENTLY,
            StatusCode::NOT_FOUND,
            StatusCode::GONE,
        ];
        CacheLayer {
            policy: Arc::new(Policy {
                cache: self.cache,
                key,
                audience: Audience::Private,
                statuses: statuses.into(),
                vary: union(&[ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE], &[]),
                max_body: 1 << 20,
                body_timeout: Duration::from_secs(10),
                options: LoadOptions::new().keep(stored::is_storable),
                ttl: None,
                clock,
            }),
        }
    }
}

/// A layer whose keys are of one family; made by [`LayerBuilder::family`].
#[derive(Debug, Clone)]
#[must_use = "it is no layer before its keys are set"]
pub struct FamilyLayerBuilder {
    builder: LayerBuilder,
    family: FamilyName,
}

impl FamilyLayerBuilder {
    /// Makes keys of the path and the query, as the client sent them.
    ///
    /// The path is the id of the group: with the family `page` all that is stored for `/about` is in the group of
    /// `CacheGroup::new("page", "/about")`. Host and scheme are not part of the key, so that the response must not depend on them.
    /// In a router that is nested into another one, the path is the whole one with the feature `axum` alone.
    pub fn by_path_and_query(self) -> CacheLayer {
        self.builder.with_key(by_path_and_query(self.family))
    }
}

/// A layer that answers requests from the cache; made by [`layer`].
///
/// It is for services of `http` requests and responses whose errors are `Send`, and whose bodies have [`Bytes`](bytes::Bytes) as data.
/// Each service that it makes learns by itself by which request headers responses vary, and which pages are never stored. A router
/// of axum makes its services when it gets its state. `axum::serve` sees to that; a router that is called in another way needs
/// `with_state(())`, or else it makes them anew for each request, and requests for a page that is never stored wait for each other.
#[derive(Clone)]
#[must_use = "a layer does nothing unless it is added to a service"]
pub struct CacheLayer {
    policy: Arc<Policy>,
}

impl CacheLayer {
    /// Stores a response for each viewer, whose name `viewer` takes from the request: from what the authorisation has left in the
    /// extensions, never from what a client can set. A request without a viewer is handled as by default.
    ///
    /// The name is part of the key as a hash. A response with `Cache-Control: private` is stored, too. Default: requests with
    /// `Authorization` or `Cookie` are passed on, and the others share responses.
    pub fn per_viewer<V: KeyPart>(
        self,
        viewer: impl Fn(&Parts) -> Option<V> + Send + Sync + 'static,
    ) -> Self {
        let viewer = move |parts: &Parts| viewer(parts).map(|viewer| viewer.to_string());
        self.with(|policy| policy.audience = Audience::PerViewer(Arc::new(viewer)))
    }

    /// Declares that responses are the same for all clients, also for those that send `Authorization` or `Cookie`.
    ///
    /// The layer must then be inside the authorisation, which it would answer before otherwise.
    pub fn public(self) -> Self {
        self.with(|policy| policy.audience = Audience::Public)
    }

    /// Sets the largest body that is stored, in bytes. Default: 1 MiB.
    ///
    /// As much memory is needed for each response while it is loaded.
    pub fn max_body(self, bytes: usize) -> Self {
        self.with(|policy| policy.max_body = bytes)
    }

    /// Sets how long a body may take, after its header, to be stored. Default: 10 seconds.
    ///
    /// Other callers wait for a body as long. After that each calls the handler.
    pub fn body_timeout(self, timeout: Duration) -> Self {
        self.with(|policy| policy.body_timeout = timeout)
    }

    /// Sets the statuses of responses that are stored. Default: 200, 203, 301, 404 and 410.
    ///
    /// Statuses below 200, 206 and 304 are never stored.
    pub fn statuses(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        let is_whole = |status: &StatusCode| {
            !status.is_informational()
                && ![StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED].contains(status)
        };
        self.with(|policy| policy.statuses = statuses.into_iter().filter(is_whole).collect())
    }

    /// Adds request headers by which a response may vary. Default: `Accept`, `Accept-Encoding` and `Accept-Language`.
    ///
    /// A response whose `Vary` names another one is not stored. Each value of these headers has a response of its own.
    pub fn allow_vary(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        // Not a name: the response depends on more than the request.
        let names: Vec<HeaderName> = names.into_iter().filter(|name| name != "*").collect();
        self.with(|policy| policy.vary = union(&policy.vary, &names))
    }

    /// Sets how long a response may be served; see [`LoadOptions::ttl`]. Default: that of the family's settings, else until it is
    /// invalidated or evicted.
    ///
    /// Responses then have `Age`, as they are valid by their time.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|policy| policy.ttl = Some(ttl)).options(|options| options.ttl(ttl))
    }

    /// Shortens the time to live by a random share; see [`LoadOptions::jitter`].
    pub fn jitter(self, share: f64) -> Self {
        self.options(|options| options.jitter(share))
    }

    /// Serves a response after its time while the handler makes a new one in the background; see
    /// [`LoadOptions::stale_while_revalidate`]. Not one with `must-revalidate`, `proxy-revalidate`, `no-cache` or `s-maxage`.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.options(|options| options.stale_while_revalidate(window))
    }

    /// Serves a response after its time where the handler fails, panics or answers with a server error; see
    /// [`LoadOptions::stale_if_error`] and, for the exceptions, [`stale_while_revalidate`](Self::stale_while_revalidate).
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.options(|options| options.stale_if_error(window))
    }

    /// Calls the handler in the background near the end of a response's time; see [`LoadOptions::refresh_ahead`].
    pub fn refresh_ahead(self, share: f64) -> Self {
        self.options(|options| options.refresh_ahead(share))
    }

    /// Waits where another instance is making the response; see [`LoadOptions::wait_for_others`].
    pub fn wait_for_others(self, longest: Duration) -> Self {
        self.options(|options| options.wait_for_others(longest))
    }

    /// Sets the clock of `Age`, which must be that of the cache. Default: the system's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|policy| policy.clock = clock)
    }

    fn options(self, set: impl FnOnce(LoadOptions<bytes::Bytes>) -> LoadOptions<bytes::Bytes>) -> Self {
        self.with(|policy| policy.options = set(std::mem::take(&mut policy.options)))
    }

    fn with(mut self, set: impl FnOnce(&mut Policy)) -> Self {
        set(Arc::make_mut(&mut self.policy));
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> CacheService<S> {
        CacheService::new(inner, Arc::clone(&self.policy))
    }
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer").field("policy", &self.policy).finish()
    }
}
