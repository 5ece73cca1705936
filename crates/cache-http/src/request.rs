//! [`Plan`]: what the layer does with a request, by its method and its headers.

use cache_facade::{BackendKind, CacheKey};
use http::Method;
use http::header::{AUTHORIZATION, COOKIE, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, UPGRADE};
use http::request::Parts;
use http_body::Body;

use crate::cache_control::RequestControl;
use crate::conditions::Conditions;
use crate::policy::{Audience, Policy};
use crate::verdict::{Reason, Verdict};

/// What the layer does with a request.
pub(crate) enum Plan {
    /// Passes it on.
    Forward(Verdict),
    /// Looks for its page in the cache.
    Visit(Page),
}

/// A request as the cache sees it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) key: CacheKey,
    pub(crate) viewer: Option<String>,
    pub(crate) is_head: bool,
    /// The request wants no response that is stale.
    pub(crate) no_cache: bool,
    /// The request wants a stored response or none.
    pub(crate) only_if_cached: bool,
    pub(crate) conditions: Conditions,
}

impl Policy {
    /// Decides what to do with a request.
    pub(crate) fn plan<B: Body>(&self, parts: &mut Parts, body: &B) -> Plan {
        self.page(parts, body).map_or_else(Plan::Forward, Plan::Visit)
    }

    fn page<B: Body>(&self, parts: &mut Parts, body: &B) -> Result<Page, Verdict> {
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return Err(Verdict::Method);
        }
        if self.cache.backend_kind() == BackendKind::Null {
            return Err(Verdict::Bypass(Reason::Disabled));
        }
        // Ranges are cut by the handler. The other conditions are not those of a cache (RFC 9110 section 13.1.1).
        let special = [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE];
        if special.iter().any(|name| parts.headers.contains_key(name)) {
            return Err(Verdict::Bypass(Reason::Special));
        }
        // The response may depend on it, and the key does not.
        if !body.is_end_stream() && body.size_hint().exact() != Some(0) {
            return Err(Verdict::Bypass(Reason::Content));
        }
        let control = RequestControl::of(&parts.headers);
        if control.no_store {
            return Err(Verdict::NoStore);
        }
        let viewer = match &self.audience {
            Audience::PerViewer(viewer) => viewer(parts),
            Audience::Private | Audience::Public => None,
        };
        let has_credentials =
            || parts.headers.contains_key(AUTHORIZATION) || parts.headers.contains_key(COOKIE);
        if viewer.is_none() && !matches!(self.audience, Audience::Public) && has_credentials() {
            return Err(Verdict::Bypass(Reason::Credentials));
        }
        Ok(Page {
            key: (self.key)(parts).ok_or(Verdict::Bypass(Reason::NoKey))?,
            viewer,
            is_head: parts.method == Method::HEAD,
            no_cache: control.no_cache,
            only_if_cached: control.only_if_cached,
            conditions: Conditions::of(&parts.headers),
        })
    }
}
