//! [`Cache`]: the handle that an application holds.

mod insight;
mod invalidate;
mod many;
mod read;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, CachePattern, Clock, Codec, MemoryBackend,
    NullBackend, Result,
};

pub use self::many::Warmed;
pub(crate) use self::many::run_all;
use crate::config::CacheConfig;
use crate::load::engine::CacheEngine;
use crate::observe::events::Operation;
use crate::open::{self, OpenStore};

/// A cache: a handle that is cheap to clone and safe to share.
///
/// Open one with [`connect`](Self::connect) from a configuration, [`from_env`](Self::from_env), [`new`](Self::new) over
/// a backend of your own, [`memory`](Self::memory) or [`disabled`](Self::disabled).
///
/// Reads go through [`get_or_load`](Self::get_or_load), writes to the database through [`change`](Self::change).
///
/// # Runtime
/// Calls need a tokio runtime with its timer enabled, as `#[tokio::main]` makes it. For callers that are not async the feature
/// `blocking` adds `Cache::blocking` and `Family::blocking`, views whose calls wait, and the function `blocking::wait` for all other
/// calls. They need no runtime.
#[derive(Clone)]
pub struct Cache {
    engine: Arc<CacheEngine>,
    scope: Option<Arc<str>>,
    codec: Codec,
}

/// Builds a [`Cache`] over a backend of the caller's; made by [`Cache::builder`].
#[derive(Debug)]
#[must_use]
pub struct CacheBuilder {
    backend: Arc<dyn CacheBackend>,
    atomic: Option<Arc<dyn AtomicBackend>>,
    selected: Option<Arc<OpenStore>>,
    config: CacheConfig,
}

impl CacheBuilder {
    /// Sets the backend of [`Cache::increment`] and [`Cache::add`], usually the same one. Default: none.
    pub fn atomic(self, atomic: Arc<dyn AtomicBackend>) -> Self {
        Self { atomic: Some(atomic), ..self }
    }

    /// Sets the configuration of the handle: whether caching is enabled, lifetimes, the load timeout, and the clock, which
    /// must be the backend's. Settings of backends are ignored, and of the memory only the share for decoded values is
    /// used. Default: [`CacheConfig::default`].
    pub fn config(self, config: CacheConfig) -> Self {
        Self { config, ..self }
    }

    /// Builds the cache.
    pub fn build(self) -> Cache {
        let Self { backend, atomic, selected, config } = self;
        let engine = CacheEngine::new(backend, atomic, selected, config);
        Cache { engine: Arc::new(engine), scope: None, codec: Codec::default() }
    }
}

impl Cache {
    /// Creates a cache over `backend`, which must keep the contract of [`CacheBackend`].
    ///
    /// Invalidations are not written down before a change is committed: use this where a crash of the process also loses
    /// the entries of `backend`, or where old values may be served after one.
    pub fn new(backend: Arc<dyn CacheBackend>) -> Self {
        Self::builder(backend).build()
    }

    /// Starts to build a cache over `backend`; see [`new`](Self::new).
    pub fn builder(backend: Arc<dyn CacheBackend>) -> CacheBuilder {
        CacheBuilder { backend, atomic: None, selected: None, config: CacheConfig::default() }
    }

    /// Creates a cache in the memory of this process, of at most 64 MiB: for tests.
    pub fn memory() -> Self {
        let backend = Arc::new(MemoryBackend::new());
        Self::builder(backend.clone()).atomic(backend).build()
    }

    /// Creates a cache as [`memory`](Self::memory) does, whose values expire by `clock`: a
    /// [`ManualClock`](crate::ManualClock) that a test advances.
    pub fn memory_with_clock(clock: Arc<dyn Clock>) -> Self {
        let backend = Arc::new(MemoryBackend::new().clock(Arc::clone(&clock)));
        let config = CacheConfig::builder().clock(clock).build();
        let config = config.expect("the defaults do not contradict each other");
        Self::builder(backend.clone()).atomic(backend).config(config).build()
    }

    /// Creates a cache that stores nothing: every caller loads for itself.
    pub fn disabled() -> Self {
        let config = CacheConfig::builder().enabled(false).build();
        let config = config.expect("the defaults do not contradict each other");
        Self::builder(Arc::new(NullBackend::new())).config(config).build()
    }

    /// Opens the cache that `config` describes.
    ///
    /// Caches of one process over one directory share its store. Where the store cannot be used, the cache stores nothing,
    /// with a warning and a cause in [`health`](Self::health): a broken disk does not keep the application from starting.
    ///
    /// # Errors
    /// `Configuration` for settings that contradict each other or this build, and for a directory of another user;
    /// `Locked` after 45 seconds while another process holds the directory; `Io` where it holds a cache and cannot be
    /// written, because the next run could serve old values.
    ///
    /// # Cancellation
    /// Nothing stays open.
    pub async fn connect(config: CacheConfig) -> Result<Self> {
        let selected = open::open(&config).await?;
        let builder = CacheBuilder {
            atomic: selected.atomic.clone(),
            selected: Some(Arc::clone(&selected)),
            config,
            ..Self::builder(Arc::clone(&selected.backend))
        };
        Ok(builder.build())
    }

    /// Opens the cache that the environment describes; see [`CacheConfig::from_env`].
    ///
    /// # Errors
    /// `Configuration` for settings that do not parse, and as for [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self> {
        Self::connect(CacheConfig::from_env()?).await
    }

    /// Creates a view of this cache that encodes values with `codec`. Default: [`Codec::Bincode`].
    ///
    /// A value stored through a view with another codec reads as a miss.
    #[must_use]
    pub fn with_codec(&self, codec: Codec) -> Self {
        Self { codec, ..self.clone() }
    }

    /// Creates a view of this cache with a name space of its own for keys, patterns and [`clear`](Self::clear).
    ///
    /// Inside a scope the name is appended with a `/`. Clearing a scope does not clear scopes inside it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](cache_core::ErrorKind::InvalidKey) when `name` is empty, over 64 bytes, or holds white
    /// space or one of `: % * ? [ ] { } \`.
    pub fn scoped(&self, name: &str) -> Result<Self> {
        let scope = match &self.scope {
            None => name.to_owned(),
            Some(outer) => format!("{outer}/{name}"),
        };
        CachePattern::scope(&scope)?;
        Ok(Self { scope: Some(scope.into()), ..self.clone() })
    }

    /// The backend that answers now.
    pub fn backend_kind(&self) -> BackendKind {
        self.engine.kind()
    }

    /// The scope of this view, which [`scoped`](Self::scoped) checked.
    pub(crate) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Puts `key` into this view's scope.
    ///
    /// # Errors
    /// `InvalidKey` when the scope makes the key longer than 1 KiB.
    fn scoped_key<'a>(&self, key: &'a CacheKey) -> Result<Cow<'a, CacheKey>> {
        match &self.scope {
            None => Ok(Cow::Borrowed(key)),
            Some(scope) => key.in_scope(scope).map(Cow::Owned),
        }
    }

    /// Puts `key` into this view's scope; reports an error and gives `None`.
    fn readable_key<'a>(&self, key: &'a CacheKey) -> Option<Cow<'a, CacheKey>> {
        self.scoped_key(key).inspect_err(|error| self.engine.report(Operation::Place, key, error)).ok()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, scope, codec } = self;
        f.debug_struct("Cache")
            .field("backend", &engine.backend)
            .field("enabled", &engine.enabled)
            .field("scope", scope)
            .field("codec", codec)
            .finish_non_exhaustive()
    }
}
