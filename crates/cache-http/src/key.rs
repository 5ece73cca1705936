//! The keys of pages: from a function of the application, or from the path and the query.

use std::sync::Arc;

use cache_core::FamilyName;
use cache_facade::CacheKey;
use http::Uri;
use http::request::Parts;

use crate::policy::KeyFn;

/// What a key function returns: a key, or one that may be missing.
///
/// A request without a key is passed on to the handler.
pub trait PageKey {
    /// Returns the key, if there is one.
    fn into_key(self) -> Option<CacheKey>;
}

impl PageKey for CacheKey {
    fn into_key(self) -> Option<CacheKey> {
        Some(self)
    }
}

impl PageKey for Option<CacheKey> {
    fn into_key(self) -> Option<CacheKey> {
        self
    }
}

impl<E> PageKey for Result<CacheKey, E> {
    fn into_key(self) -> Option<CacheKey> {
        self.ok()
    }
}

/// A key function of the path and the query.
pub(crate) fn by_path_and_query(family: FamilyName) -> KeyFn {
    Arc::new(move |parts| {
        let uri = whole_uri(parts);
        Some(family.key::<(String, Option<String>)>(&(uri.path(), uri.query())))
    })
}

/// The URI of a request. A router inside another one sees what is left of the path.
fn whole_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get() {
        return uri;
    }
    &parts.uri
}

#[cfg(feature = "axum")]
mod params {
    use axum::extract::{FromRequestParts, RawPathParams};
    use futures_util::FutureExt;

    use super::{Arc, KeyFn, PageKey, Parts};

    /// The parameters of the route that a request has matched.
    #[derive(Debug)]
    pub struct PathParams(Option<RawPathParams>);

    impl PathParams {
        /// Returns the parameter `name`, decoded. `None` where the route has none of that name.
        pub fn get(&self, name: &str) -> Option<&str> {
            self.0.iter().flatten().find_map(|(found, value)| (found == name).then_some(value))
        }

        /// Returns the parameter `name` as a `T`. `None` where the route has none of that name, or it is no `T`.
        pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
            self.get(name)?.parse().ok()
        }
    }

    /// A key function of the parameters of the route.
    pub(crate) fn by_params<K: PageKey>(
        key: impl Fn(&Parts, &PathParams) -> K + Send + Sync + 'static,
    ) -> KeyFn {
        Arc::new(move |parts| {
            // It waits for nothing.
            let params = RawPathParams::from_request_parts(parts, &()).now_or_never();
            key(parts, &PathParams(params.and_then(Result::ok))).into_key()
        })
    }
}

#[cfg(feature = "axum")]
pub use params::PathParams;
#[cfg(feature = "axum")]
pub(crate) use params::by_params;
