//! [`Cache`]: the handle an application holds.

mod atomic;
mod batch;
mod bytes;
mod connect;
mod insight;
mod invalidate;
mod load;
mod many;
mod miss;
mod refresh;
mod run;
mod typed;
mod verify;
mod warm;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{
    AtomicBackend, BackendKind, CacheBackend, CacheKey, CachePattern, Clock, Codec, Entry, Error, FillToken,
    Lookup, MemoryBackend, NewEntry, NullBackend, Refusal, Result, RoundTrips,
};

use self::verify::Verification;
pub use self::warm::Warmed;
use crate::asked::asked;
use crate::background::Background;
use crate::change::Changes;
use crate::config::CacheConfig;
use crate::flight::Flights;
use crate::form::Reads;
use crate::lifetime::Lifetime;
use crate::metrics::{Meter, Started};
use crate::outage::journal::Journal;
use crate::patience::{self, Patience};
use crate::pauses::Pauses;
use crate::select::Selected;
use crate::strangers::Strangers;
use crate::trouble::{Operation, Trouble};

/// How many loads in the background replace values at the same time.
const MOST_REFRESHES: usize = 64;

/// A cache: a handle that is cheap to clone and safe to share.
///
/// Make one with [`connect`](Self::connect) from a configuration, [`from_env`](Self::from_env), [`new`](Self::new) over
/// a backend of your own, [`memory`](Self::memory) or [`disabled`](Self::disabled).
///
/// Reads go through [`get_or_load`](Self::get_or_load), writes to the database through [`change`](Self::change).
///
/// # Runtime
/// Calls belong into a tokio runtime with its timer enabled, as `#[tokio::main]` makes it. Callers that are not async
/// use `tokio::runtime::Handle::block_on`.
#[derive(Clone)]
pub struct Cache {
    pub(crate) shared: Arc<Shared>,
    pub(crate) scope: Option<Arc<str>>,
    pub(crate) codec: Codec,
}

/// What all views of a cache share.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn CacheBackend>,
    pub(crate) atomic: Option<Arc<dyn AtomicBackend>>,
    /// Whether values are read and stored; otherwise everything is loaded, and invalidations go on.
    pub(crate) enabled: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flights: Arc<Flights>,
    /// Room for loads that replace a value before anybody misses it.
    pub(crate) refreshes: Arc<Background>,
    pub(crate) pauses: Pauses,
    pub(crate) verification: Verification,
    pub(crate) config: CacheConfig,
    pub(crate) round_trips: RoundTrips,
    pub(crate) strangers: Strangers,
    pub(crate) changes: Changes,
    pub(crate) journal: Arc<Journal>,
    /// What the backend was selected with, where a configuration selected it.
    pub(crate) selected: Option<Arc<Selected>>,
    pub(crate) trouble: Trouble,
    pub(crate) meter: Meter,
}

/// Builds a [`Cache`] over a backend of the caller's; made by [`Cache::builder`].
#[derive(Debug)]
#[must_use]
pub struct CacheBuilder {
    backend: Arc<dyn CacheBackend>,
    atomic: Option<Arc<dyn AtomicBackend>>,
    selected: Option<Arc<Selected>>,
    config: CacheConfig,
}

impl CacheBuilder {
    /// The store of [`Cache::increment`] and [`Cache::add`], usually the backend itself. Default: none.
    pub fn atomic(self, atomic: Arc<dyn AtomicBackend>) -> Self {
        Self { atomic: Some(atomic), ..self }
    }

    /// The settings that concern the handle: whether caching is enabled, how long values live, how long others wait for
    /// a load, and the clock, which must be the backend's. Those of stores are not used. Default: the defaults.
    pub fn config(self, config: CacheConfig) -> Self {
        Self { config, ..self }
    }

    /// The cache.
    pub fn build(self) -> Cache {
        let Self { backend, atomic, selected, config } = self;
        let journal = selected.as_ref().map(|selected| Arc::clone(&selected.journal));
        let meter = Meter::new(backend.kind());
        let shared = Shared {
            backend,
            atomic,
            journal: journal.unwrap_or_else(|| Arc::new(Journal::none())),
            selected,
            enabled: config.enabled(),
            clock: config.clock(),
            flights: Flights::new(config.load_timeout()),
            refreshes: Background::new(MOST_REFRESHES),
            pauses: Pauses::default(),
            verification: Verification::new(config.verify()),
            config,
            round_trips: RoundTrips::new(),
            strangers: Strangers::default(),
            changes: Changes::default(),
            trouble: Trouble::default(),
            meter,
        };
        Cache { shared: Arc::new(shared), scope: None, codec: Codec::default() }
    }
}

impl Cache {
    /// A cache over `backend`: any store that keeps the contract of [`CacheBackend`].
    ///
    /// What a change makes stale is not written down before it is committed: use this where a crash of the process also
    /// loses what `backend` stores, or where old values may live on after one.
    pub fn new(backend: Arc<dyn CacheBackend>) -> Self {
        Self::builder(backend).build()
    }

    /// The same with settings of its own.
    pub fn builder(backend: Arc<dyn CacheBackend>) -> CacheBuilder {
        CacheBuilder { backend, atomic: None, selected: None, config: CacheConfig::default() }
    }

    /// A cache in the memory of this process, of at most 64 MiB: for tests.
    pub fn memory() -> Self {
        let backend = Arc::new(MemoryBackend::new());
        Self::builder(backend.clone()).atomic(backend).build()
    }

    /// A cache that stores nothing: everything is loaded, by each caller for itself.
    pub fn disabled() -> Self {
        let config = CacheConfig::builder().enabled(false).build();
        let config = config.expect("the defaults do not contradict each other");
        Self::builder(Arc::new(NullBackend::new())).config(config).build()
    }

    /// A view of this cache that encodes values with `codec`. Default: [`Codec::Bincode`].
    ///
    /// A value that was stored through a view with another codec reads as a miss.
    #[must_use]
    pub fn with_codec(&self, codec: Codec) -> Self {
        Self { codec, ..self.clone() }
    }

    /// A view of this cache with a name space of its own: its keys, patterns and [`clear`](Self::clear) stay inside.
    ///
    /// Inside a scope the name is appended with a `/`. Clearing a scope does not clear those made inside it.
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

    /// The store that answers now.
    pub fn backend_kind(&self) -> BackendKind {
        self.shared.kind()
    }

    /// `key` as the store knows it: inside this view's scope.
    ///
    /// # Errors
    /// `InvalidKey` when the scope makes the key longer than 1 KiB.
    pub(crate) fn place<'a>(&self, key: &'a CacheKey) -> Result<Cow<'a, CacheKey>> {
        match &self.scope {
            None => Ok(Cow::Borrowed(key)),
            Some(scope) => key.in_scope(scope).map(Cow::Owned),
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, scope, codec } = self;
        f.debug_struct("Cache")
            .field("backend", &shared.backend)
            .field("enabled", &shared.enabled)
            .field("scope", scope)
            .field("codec", codec)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn kind(&self) -> BackendKind {
        if self.enabled { self.backend.kind() } else { BackendKind::Null }
    }

    /// Looks `key` up while `patience` lasts. Trouble is a miss without a token.
    pub(crate) async fn lookup(&self, key: &CacheKey, patience: &mut Patience) -> Lookup {
        let started = self.started();
        let found = patience.wait(asked(self.backend.lookup(key))).await;
        self.took(Operation::Lookup, started);
        self.settled(Operation::Lookup, key, found).unwrap_or_else(|| self.nothing())
    }

    /// What a lookup is taken for that gave no answer.
    pub(crate) fn nothing(&self) -> Lookup {
        Lookup { entry: None, token: FillToken::never(), backend: self.kind() }
    }

    /// The beginning of an operation of the store.
    pub(crate) fn started(&self) -> Started {
        self.meter.start(self.clock.as_ref())
    }

    /// The end of it.
    pub(crate) fn took(&self, operation: Operation, started: Started) {
        self.meter.took(self.clock.as_ref(), self.kind(), operation, started);
    }

    /// What an operation on `key` gave; an error or a time-out is reported and gives `None`.
    pub(crate) fn settled<T>(
        &self,
        operation: Operation,
        key: &CacheKey,
        outcome: Option<Result<T>>,
    ) -> Option<T> {
        match outcome {
            Some(Ok(value)) => Some(value),
            Some(Err(error)) => {
                self.report(operation, key, &error);
                None
            }
            None => {
                self.report(operation, key, &operation.timed_out(patience::LONGEST));
                None
            }
        }
    }

    /// Tells the owner of trouble that the caller does not hear of.
    pub(crate) fn report(&self, operation: Operation, key: &CacheKey, error: &Error) {
        self.trouble.report(self.flights.number(), operation, key.family(), error);
        self.meter.error(self.kind(), operation);
    }

    /// Counts and warns of a value that is not stored, once for its type.
    pub(crate) fn refused(&self, key: &CacheKey, Refusal { error, is_first }: &Refusal) {
        if *is_first {
            self.trouble.report_type(key.family(), error);
            self.meter.error(self.kind(), Operation::Encode);
        }
    }

    /// The value of `entry`, if the entry is there and is one of `T`.
    pub(crate) fn decoded<T, V: Reads<T>>(&self, form: V, key: &CacheKey, entry: Option<Entry>) -> Option<T> {
        let Entry { payload, codec, shape, .. } = entry?;
        let value = if codec == form.codec() { form.decode(&payload, shape).ok() } else { None };
        if value.is_none() {
            // Another type, codec or build stored it: the next load replaces it.
            cache_core::log::emit(
                || tracing::debug!(%key, stored = ?codec, "a cached value is of another type; it is loaded again"),
            );
            self.strangers.saw(key);
        }
        value
    }

    /// The same, counted as the hit or the miss of a caller.
    pub(crate) fn hit<T, V: Reads<T>>(&self, form: V, key: &CacheKey, entry: Option<Entry>) -> Option<T> {
        let value = self.decoded(form, key, entry);
        match value {
            Some(_) => {
                cache_core::log::emit(|| tracing::trace!(%key, "cache hit"));
                self.meter.hit(self.kind(), key);
            }
            None => self.meter.miss(self.kind(), key),
        }
        value
    }

    /// `entry`, unless its time is over: what is kept for longer is for those who ask for it.
    pub(crate) fn fresh(&self, entry: Option<Entry>) -> Option<Entry> {
        // Most entries have no such time, and cost no look at the clock.
        entry.filter(|entry| entry.fresh_until.is_none() || entry.is_fresh(self.clock.now()))
    }

    /// The times that hold for `key`: what the caller said, else what the configuration says of the key's family.
    pub(crate) fn lifetime(&self, key: &CacheKey, said: Lifetime) -> Lifetime {
        said.or(self.config.lifetime(key.family()))
    }

    /// `entry` with the time that values of its key's family may live, where the caller names none: for values that no
    /// load made, so that none can replace them when they are old.
    pub(crate) fn timed(&self, key: &CacheKey, entry: NewEntry, expires_in: Option<Duration>) -> NewEntry {
        let said = Lifetime { expire: expires_in, ..Lifetime::new() };
        self.lifetime(key, said).without_stale().timed(entry)
    }
}
